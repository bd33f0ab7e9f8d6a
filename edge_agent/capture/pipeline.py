"""The capture: sealed while it passes, durable, to be recorded whatever happens; and only then acknowledged."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from cryptography.cobblestone import Cobblestone256Encryptor

from edge_agent.audit.journal import Journal
from edge_agent.capture import grade
from edge_agent.capture.attributes import IndexReader
from edge_agent.capture.behind import WORTH_IT_BYTES, HashedBehind
from edge_agent.capture.claims import Claim, Claims, Repeated
from edge_agent.capture.registrar import Captured, Registrar
from edge_agent.examination import Examination
from edge_agent.forward.queue import Forward
from edge_agent.spool.entry import Note
from edge_agent.spool.incoming import Incoming
from edge_agent.spool.spool import Spool
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId, ObjectId, RandomBytes
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.binding import Binding, checked_uid, hash_sop_instance
from shared.sealing.hpke import Boxes, SealingPublicKey
from shared.sealing.record import record_digest
from shared.sealing.seal import Digest, EncryptorFactory, ObjectSealer, Sealing
from shared.signing import EvidenceSigner

_MAX_UID_CHARS = 64


class NoPolicyInForce(Refused):
    def __init__(self) -> None:
        super().__init__("no policy is in force, so there is no key to seal to")


@dataclass(frozen=True)
class ImageHeader:
    """What a C-STORE request says before the first byte of its data set."""

    calling_ae_title: str
    sop_instance_uid: str
    transfer_syntax: str
    sop_class_uid: str = ""


class SecondWraps(Protocol):
    def prepare(
        self,
        policy: PolicyDocument,
        routes: Sequence[str],
        binding: Binding,
        data_key: bytes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
    ) -> Forward | None:
        """Wrap the data key for this host where it serves a route itself. Raises Refused, Unavailable."""


class CapturePipeline:
    """`encryptor` and `random_bytes` are what a test replaces to see that the sealing is what protects.

    `boxes` says what seals small things to a public key: the key, or a stock that was made for it in advance.
    """

    def __init__(
        self,
        *,
        host_id: HostId,
        sop_hash_key: bytes,
        signer: EvidenceSigner,
        policy: Callable[[], PolicyDocument | None],
        spool: Spool,
        claims: Claims,
        registrar: Registrar,
        forwards: SecondWraps | None = None,
        journal: Journal,
        clock: Clock,
        examination: Examination | None = None,
        random_bytes: RandomBytes = secrets.token_bytes,
        encryptor: EncryptorFactory = Cobblestone256Encryptor,
        boxes: Callable[[SealingPublicKey], Boxes] = lambda key: key,
    ) -> None:
        self.host_id, self.signer, self.clock = host_id, signer, clock
        self.spool, self.claims, self.registrar, self.journal = spool, claims, registrar, journal
        self.forwards, self.examination, self.boxes = forwards, examination or Examination(), boxes
        self._sop_hash_key, self._policy, self._random, self._encryptor = sop_hash_key, policy, random_bytes, encryptor

    @contextmanager
    def begin(self, header: ImageHeader) -> Iterator["Capture"]:
        """Return a block in which one image arrives. It is kept only if `Capture.finish` returned in it.

        However else the block ends, nothing is kept and the journal says so, unless it cannot be written either.
        Raises NoPolicyInForce, NotRegistering, Malformed, SpoolFull, QuotaReached, SpoolUnavailable,
        DatabaseUnavailable, DatabaseDamaged.
        """
        happening = self._happening(header, ObjectId.new(self._random))
        capture: Capture | None = None
        self.examination.image_begins()
        try:
            capture = self._begun(header, happening)
            yield capture
        except BaseException as exc:
            if capture is None or not capture.is_kept:
                self._refused(happening, header, exc)
            raise
        else:
            if not capture.is_kept:
                self._refused(happening, header, None)
        finally:
            self.examination.image_ends(capture.dataset_bytes if capture is not None else 0)
            if capture is not None:
                capture.end()

    def _begun(self, header: ImageHeader, happening: Happening) -> "Capture":
        self.registrar.verify_able()
        policy = self._policy()
        if policy is None:
            raise NoPolicyInForce
        uid_hash = hash_sop_instance(self._sop_hash_key, header.sop_instance_uid)
        object_id = ObjectId.parse(happening.what[0].name)
        binding = Binding(object_id, self.host_id, uid_hash, checked_uid(header.transfer_syntax))
        incoming = self.spool.begin(object_id)
        try:
            sealer = ObjectSealer(incoming, binding, random_bytes=self._random, encryptor=self._encryptor)
            return Capture(self, header, policy, happening, incoming, sealer)
        except BaseException:
            incoming.discard()
            raise

    def _refused(self, happening: Happening, header: ImageHeader, exc: BaseException | None) -> None:
        # What was captured can be told from its sealed index; of what was not, this is all that is known.
        named = replace(happening, private={"sop_instance": header.sop_instance_uid[:_MAX_UID_CHARS]})
        self.journal.record(failure(named, Event.IMAGE_REFUSED, exc))

    def _happening(self, header: ImageHeader, object_id: ObjectId) -> Happening:
        who = (Participant("ae", header.calling_ae_title, True), Participant("host", str(self.host_id), False))
        what = (Subject("object", str(object_id)),)
        return Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, what)


class Capture:
    """One image on its way in. The policy is the one that was in force when it began."""

    def __init__(
        self,
        pipeline: CapturePipeline,
        header: ImageHeader,
        policy: PolicyDocument,
        happening: Happening,
        incoming: Incoming,
        sealer: ObjectSealer,
    ) -> None:
        self._pipeline, self._header, self._policy, self._happening = pipeline, header, policy, happening
        self.incoming, self._sealer = incoming, sealer
        self._index = IndexReader(header.transfer_syntax, policy.grading.looks_at)
        self._behind: HashedBehind | None = None
        self.dataset_bytes, self.is_kept = 0, False

    def end(self) -> None:
        """Leave no trace of an image that was not kept."""
        if self._behind is not None:
            self._behind.close()
        self.incoming.discard()

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the data set, exactly as the modality sent them.

        Raises SpoolUnavailable, SpoolFull, QuotaReached.
        """
        if self._behind is None and self.dataset_bytes >= WORTH_IT_BYTES:
            self._sealer.hash_dataset_by(self._hash_behind)
        self._sealer.update(data)
        self._index.update(data)
        self.dataset_bytes += len(data)

    def _hash_behind(self, begun: Digest) -> HashedBehind:
        self._behind = HashedBehind(begun)
        return self._behind

    def finish(self, file_sha256: bytes | None = None) -> ObjectId:
        """Return the id of the sealed object once it, and what is to be recorded of it, survive a power cut.

        `file_sha256` is the digest of the whole file where the image came as one. An image that is here already gives
        the id of the object that it is.

        Raises SpoolUnavailable, SpoolFull, QuotaReached, DatabaseUnavailable, DatabaseDamaged.
        """
        binding, digest, claims = self._sealer.binding, self._sealer.dataset_sha256(), self._pipeline.claims
        while isinstance(claim := claims.claim(binding.sop_instance_hash, digest, binding.object_id), Repeated):
            if claims.note(claim, partial(self._repeated, claim)):
                self.is_kept = True
                return claim.object_id
        try:
            self._keep(claim, file_sha256)
        finally:
            if not self.is_kept:
                self._pipeline.claims.end(claim)
        return binding.object_id

    def _keep(self, claim: Claim, file_sha256: bytes | None) -> None:
        pipeline, header = self._pipeline, self._header
        entry = self._index.finish()
        graded = grade.choose(self._policy, header.calling_ae_title, self._index.attributes)
        sealing = Sealing(
            grade=graded.grade,
            data_key=pipeline.boxes(self._policy.key_for(KeyPurpose.DATA, graded.grade)),
            index_key=pipeline.boxes(self._policy.key_for(KeyPurpose.INDEX)),
            policy_version=self._policy.version,
            captured=pipeline.clock.now(),
            routes=graded.routes,
            file_sha256=file_sha256,
        )
        forward = self._second_wrap(graded.routes)
        note = Note(
            header.calling_ae_title[:_MAX_UID_CHARS], header.sop_class_uid[:_MAX_UID_CHARS], owed=forward is not None
        )
        sealed = self._sealer.finish(sealing, entry, pipeline.signer)
        spooled = self.incoming.commit(note.encode(), sealed.small_parts_bytes)
        what = (*self._happening.what, Subject("record", record_digest(sealed.signed_record).hex()))
        image = Captured(spooled, claim, note, replace(self._happening, what=what), forward)
        if spooled.place is not None and forward is None:
            pipeline.registrar.register(image)
            self.is_kept = True
            return
        try:
            pipeline.registrar.register_now(image)
        except BaseException:
            # Then it is not acknowledged either: the modality keeps the image and will send it again.
            if pipeline.spool.catalogue.find(spooled.object_id) is None:
                pipeline.spool.revoke(spooled, note)
            raise
        self.is_kept = True

    def _second_wrap(self, routes: Sequence[str]) -> Forward | None:
        header, forwards = self._header, self._pipeline.forwards
        if forwards is None or not routes:
            return None
        return self._sealer.lend_key(
            lambda key: forwards.prepare(
                self._policy,
                routes,
                self._sealer.binding,
                key,
                sop_class_uid=header.sop_class_uid,
                sop_instance_uid=header.sop_instance_uid,
            )
        )

    def _repeated(self, claim: Repeated) -> None:
        repeated = replace(self._happening, event=Event.IMAGE_REPEATED, what=(Subject("object", str(claim.object_id)),))
        self._pipeline.journal.record(repeated)

"""The capture: seal, fsync, rename, fsync the folder, audit; and only then is an image acknowledged."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_agent.audit.journal import Journal
from edge_agent.capture import grade
from edge_agent.capture.attributes import IndexReader
from edge_agent.capture.spool import Incoming, Spool
from shared.audit.attempt import Attempt
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId, ObjectId, RandomBytes
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.binding import Binding, checked_uid, hash_sop_instance
from shared.sealing.chunked import ChunkedEncryptor
from shared.sealing.record import record_digest
from shared.sealing.seal import EncryptorFactory, ObjectSealer, Sealing
from shared.signing import EvidenceSigner

_SLICE_BYTES = 256 << 10  # hashed and encrypted while still in the processor's cache


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


class CapturePipeline:
    """`encryptor` and `random_bytes` are what a test replaces to see that the sealing is what protects."""

    def __init__(
        self,
        *,
        host_id: HostId,
        sop_hash_key: bytes,
        signer: EvidenceSigner,
        policy: Callable[[], PolicyDocument | None],
        spool: Spool,
        journal: Journal,
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
        encryptor: EncryptorFactory = ChunkedEncryptor,
    ) -> None:
        self._host_id, self._sop_hash_key, self._signer = host_id, sop_hash_key, signer
        self._policy, self._spool, self._journal, self._clock = policy, spool, journal, clock
        self._random, self._encryptor = random_bytes, encryptor

    @contextmanager
    def begin(self, header: ImageHeader) -> Iterator["Capture"]:
        """Return a block in which one image arrives. It is kept only if `Capture.finish` returned in it.

        However else the block ends, nothing is kept and the journal says so, unless it cannot be written either.
        Raises NoPolicyInForce, Malformed, SpoolFull, SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """
        object_id = ObjectId.new(self._random)
        with self._journal.attempt(self._happening(header, object_id), failed=Event.IMAGE_REFUSED) as attempt:
            policy = self._policy()
            if policy is None:
                raise NoPolicyInForce
            binding = Binding(
                object_id,
                self._host_id,
                hash_sop_instance(self._sop_hash_key, header.sop_instance_uid),
                checked_uid(header.transfer_syntax),
            )
            incoming = self._spool.begin(object_id)
            try:
                sealer = ObjectSealer(incoming, binding, random_bytes=self._random, encryptor=self._encryptor)
                yield Capture(
                    header,
                    policy,
                    attempt=attempt,
                    incoming=incoming,
                    sealer=sealer,
                    spool=self._spool,
                    signer=self._signer,
                    clock=self._clock,
                )
            finally:
                incoming.discard()

    def _happening(self, header: ImageHeader, object_id: ObjectId) -> Happening:
        return Happening(
            Event.IMAGE_CAPTURED,
            Action.CREATE,
            Outcome.SUCCESS,
            who=(Participant("ae", header.calling_ae_title, True), Participant("host", str(self._host_id), False)),
            what=(Subject("object", str(object_id)),),
            private={"sop_instance": header.sop_instance_uid[:64]},
        )


class Capture:
    """One image on its way in. The policy is the one that was in force when it began."""

    def __init__(
        self,
        header: ImageHeader,
        policy: PolicyDocument,
        *,
        attempt: Attempt,
        incoming: Incoming,
        sealer: ObjectSealer,
        spool: Spool,
        signer: EvidenceSigner,
        clock: Clock,
    ) -> None:
        self._policy, self._attempt = policy, attempt
        self._incoming, self._sealer, self._spool = incoming, sealer, spool
        self._signer, self._clock = signer, clock
        self._index = IndexReader(header.transfer_syntax, policy.grading.looks_at)
        self._calling_ae_title = header.calling_ae_title
        self.dataset_bytes = 0

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the data set, exactly as the modality sent them. Raises SpoolUnavailable."""
        for start in range(0, len(data), _SLICE_BYTES):
            self._sealer.update(data[start : start + _SLICE_BYTES])
        self._index.update(data)
        self.dataset_bytes += len(data)

    def finish(self, file_sha256: bytes | None = None) -> ObjectId:
        """Return the id of the sealed object once object and audit record survive a power cut.

        `file_sha256` is the digest of the whole file where the image came as one.

        Raises SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """
        entry = self._index.finish()
        graded = grade.choose(self._policy, self._calling_ae_title, self._index.attributes)
        sealing = Sealing(
            grade=graded.grade,
            data_key=self._policy.key_for(KeyPurpose.DATA, graded.grade),
            index_key=self._policy.key_for(KeyPurpose.INDEX),
            policy_version=self._policy.version,
            captured=self._clock.now(),
            routes=graded.routes,
            file_sha256=file_sha256,
        )
        sealed = self._sealer.finish(sealing, entry, self._signer)
        spooled = self._incoming.commit()
        recorded = False
        try:
            self._attempt.succeeded(Subject("record", record_digest(sealed.signed_record).hex()))
            recorded = True
        finally:
            if not recorded:
                # Then it is not acknowledged either: the modality keeps the image and will send it again.
                self._spool.remove(spooled)
        self._spool.offer(spooled)
        return spooled.object_id

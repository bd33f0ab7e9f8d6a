"""The capture: seal, fsync, rename, fsync the folder, audit; and only then is an image acknowledged."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.audit.journal import Journal
from edge_agent.capture import grade
from edge_agent.capture.attributes import read_index
from edge_agent.capture.spool import Incoming, Spool, Spooled
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId, ObjectId, RandomBytes
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.binding import Binding, checked_uid, hash_sop_instance
from shared.sealing.chunked import ChunkedEncryptor
from shared.sealing.record import record_digest
from shared.sealing.seal import EncryptorFactory, ObjectSealer, Sealed, Sealing
from shared.signing import EvidenceSigner

_SLICE_BYTES = 256 << 10  # hashed and encrypted while still in the processor's cache


class NoPolicyInForce(Refused):
    def __init__(self) -> None:
        super().__init__("no policy is in force, so there is no key to seal to")


@dataclass(frozen=True)
class ReceivedImage:
    """One C-STORE request. `dataset` is exactly what the modality sent."""

    calling_ae_title: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset: memoryview


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

    def capture(self, image: ReceivedImage) -> ObjectId:
        """Return the id of the sealed object once object and audit record survive a power cut.

        If this raises, the image is not kept and the journal says so, unless the journal cannot be written either.
        Raises NoPolicyInForce, Malformed, SpoolFull, SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """
        object_id = ObjectId.new(self._random)
        with self._journal.attempt(self._happening(image, object_id), failed=Event.IMAGE_REFUSED) as attempt:
            policy = self._policy()
            if policy is None:
                raise NoPolicyInForce
            sealed, spooled = self._store(image, object_id, policy)
            recorded = False
            try:
                attempt.succeeded(Subject("record", record_digest(sealed.signed_record).hex()))
                recorded = True
            finally:
                if not recorded:
                    # Then it is not acknowledged either: the modality keeps the image and will send it again.
                    self._spool.remove(spooled)
        self._spool.offer(spooled)
        return object_id

    def _store(self, image: ReceivedImage, object_id: ObjectId, policy: PolicyDocument) -> tuple[Sealed, Spooled]:
        incoming = self._spool.begin(object_id)
        try:
            sealed = self._seal(image, object_id, policy, incoming)
            return sealed, incoming.commit()
        finally:
            incoming.discard()

    def _seal(self, image: ReceivedImage, object_id: ObjectId, policy: PolicyDocument, incoming: Incoming) -> Sealed:
        binding = Binding(
            object_id,
            self._host_id,
            hash_sop_instance(self._sop_hash_key, image.sop_instance_uid),
            checked_uid(image.transfer_syntax),
        )
        sealer = ObjectSealer(incoming, binding, random_bytes=self._random, encryptor=self._encryptor)
        for start in range(0, len(image.dataset), _SLICE_BYTES):
            sealer.update(image.dataset[start : start + _SLICE_BYTES])
        graded = grade.choose(policy)
        sealing = Sealing(
            grade=graded.grade,
            data_key=policy.key_for(KeyPurpose.DATA, graded.grade),
            index_key=policy.key_for(KeyPurpose.INDEX),
            policy_version=policy.version,
            captured=self._clock.now(),
        )
        return sealer.finish(sealing, read_index(image.dataset, image.transfer_syntax), self._signer)

    def _happening(self, image: ReceivedImage, object_id: ObjectId) -> Happening:
        return Happening(
            Event.IMAGE_CAPTURED,
            Action.CREATE,
            Outcome.SUCCESS,
            who=(Participant("ae", image.calling_ae_title, True), Participant("host", str(self._host_id), False)),
            what=(Subject("object", str(object_id)),),
            private={"sop_instance": image.sop_instance_uid[:64]},
        )

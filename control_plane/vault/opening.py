"""Opens images for a named person who says why: proved whole first, then released while it is proved again.

Whatever is refused is recorded before anyone is told, and whatever is released before its first byte.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.db.models import Object, Wrap
from control_plane.db.transactions import snapshot
from control_plane.vault import part10
from control_plane.vault.checks import Check, Name, Report
from control_plane.vault.conflicts import Conflicts
from control_plane.vault.index_service import IndexService
from control_plane.vault.key_ring import KeyNotForThis, KeyRing, key_for
from control_plane.vault.losses import Losses, is_whole
from control_plane.vault.object_store import Bodies, Body, BodyUnreadable
from control_plane.vault.receive import NOT_EVALUATED
from control_plane.vault.siblings import lines
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import CONTROL_PLANE, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing.binding import Binding
from shared.sealing.hpke import SealingPrivateKey
from shared.sealing.index import SealedIndex
from shared.sealing.open import ObjectAltered, StoredObject, open_range, open_verified, unwrap, verify_parts
from shared.sealing.record import CaptureRecord, record_digest, verify_record
from shared.signing import EvidencePublicKey

Form: TypeAlias = Literal["part10", "dataset"]
Opener: TypeAlias = Literal["person", "service"]
RANGE_SAYS = "chunk authentic, object not evaluated"
MAX_RANGE_BYTES = 16 << 20
_RELEASE_BYTES = 1 << 18


class ObjectUnknown(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the vault holds no object {object_id}")
        self.object_id = object_id


class ReasonMissing(Refused):
    def __init__(self) -> None:
        super().__init__("an image is opened only for a named person who gives a reason")


class WrapMissing(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the wrap of object {object_id} is gone, and without it nothing opens its body")
        self.object_id = object_id


class NotAsLogged(IntegrityFailure):
    """The log and the object disagree about what was captured or stored."""

    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} is not the one in the log: {why}")
        self.object_id, self.why = object_id, why


@dataclass(frozen=True)
class Opened:
    """An image on its way out: `pieces` raises where the second pass finds what the first did not."""

    checks: tuple[Check, ...]
    size_bytes: int
    transfer_syntax: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class RangeRead:
    """A part of a dataset; `says` is all that a range can prove."""

    data: bytes
    says: str


@dataclass(frozen=True)
class Verified:
    """An object of which everything held; `pieces` is its dataset, and raises where the second pass finds otherwise."""

    record: CaptureRecord
    record_sha256: bytes
    transfer_syntax: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class _Held:
    """An object's rows, nothing of them believed."""

    stored: StoredObject
    host: str
    sealed_index: bytes
    index_state: str


@dataclass(frozen=True)
class _Proved:
    held: _Held
    binding: Binding
    record: CaptureRecord
    host_key: EvidencePublicKey
    key: SealingPrivateKey


class VaultOpener:
    def __init__(
        self,
        database: sessionmaker[Session],
        store: Bodies,
        hosts: EvidenceKeys,
        keys: KeyRing,
        index: IndexService,
        journal: CentreJournal,
        log: AuditProof,
        conflicts: Conflicts,
        losses: Losses,
    ) -> None:
        self._database, self._store, self._hosts, self._keys = database, store, hosts, keys
        self._index, self._journal, self._log, self._conflicts = index, journal, log, conflicts
        self._losses = losses

    def checks(self, object_id: ObjectId) -> tuple[Check, ...]:
        """Verify the whole object and release nothing of it. Raises ObjectUnknown, Unavailable."""
        with snapshot(self._database) as session:
            _verify_known(session, object_id)
        report = Report()
        try:
            self._prove(self._held(object_id), report)
        except (Refused, IntegrityFailure) as exc:
            return report.checks(exc)
        self._report_siblings(object_id, report)
        return report.checks()

    def open(self, object_id: ObjectId, person: str, reason: str, form: Form, *, kind: Opener = "person") -> Opened:
        """Return the image once it was verified whole and the opening is recorded.

        `person` is a service of the centre's own where `kind` says so: what it does unasked is recorded no less.

        Raises ReasonMissing, ObjectUnknown, NoPart10, Unavailable, and for what does not hold an IntegrityFailure:
        WrongSigner, SignatureInvalid, NotCertified, ObjectAltered, WrapMissing, BoxNotAuthentic, NotAuthentic,
        BodyMissing, IndexMismatch, NotAsLogged, AuditAltered. Every one of them is recorded.
        """
        happening = _happening(object_id, person, {"reason": reason, "form": form}, kind=kind)
        with self._recording_refusals(happening):
            _verify_named(person, reason)
            report = Report()
            proved = self._prove(self._held(object_id), report)
            head = self._head(proved) if form == "part10" else b""
            self._report_siblings(object_id, report)
            self._journal.record(happening)
        size = len(head) + proved.record.dataset_bytes
        return Opened(report.checks(), size, proved.binding.transfer_syntax, self._release(proved, head, happening))

    def verified(self, object_id: ObjectId) -> Verified:
        """Return an object for work of the centre's own, once it was verified whole. Whoever asks records the outcome.

        Raises what `open` does, ReasonMissing and NoPart10 apart.
        """
        proved = self._prove(self._held(object_id), Report())
        stored = proved.held.stored
        return Verified(
            proved.record, record_digest(stored.record), proved.binding.transfer_syntax, self._pieces(proved)
        )

    def read_range(self, object_id: ObjectId, person: str, reason: str, start: int, length: int) -> RangeRead:
        """Return up to `length` bytes of the dataset from `start`, their chunks authentic, the object not evaluated.

        Raises what `open` does, and Malformed: no such range, or one of more than 16 MiB.
        """
        happening = _happening(object_id, person, {"reason": reason, "range": [start, length]}, RANGE_SAYS)
        with self._recording_refusals(happening):
            _verify_named(person, reason)
            if start < 0 or not 0 <= length <= MAX_RANGE_BYTES:
                raise Malformed("range", f"starts at 0 or later and has at most {MAX_RANGE_BYTES} bytes")
            proved = self._prove_parts(self._held(object_id), Report())
            stored = proved.held.stored
            with self._noting_loss(proved.record), self._store.open(object_id) as body:
                data = open_range(stored, _reader(body), proved.host_key, proved.key, start, length)
            self._journal.record(happening)
        return RangeRead(data, RANGE_SAYS)

    def _held(self, object_id: ObjectId) -> _Held:
        with snapshot(self._database) as session:
            row = _verify_known(session, object_id)
            wrap = session.get(Wrap, str(object_id))
        if wrap is None:
            raise WrapMissing(object_id)
        stored = StoredObject(object_id, row.binding, wrap.wrap, row.record)
        return _Held(stored, row.host_id, row.sealed_index, row.index_state)

    def _prove(self, held: _Held, report: Report) -> _Proved:
        proved = self._prove_parts(held, report)
        self._prove_body(proved, report)
        self._prove_logged(proved, report)
        return proved

    def _prove_parts(self, held: _Held, report: Report) -> _Proved:
        stored = held.stored
        with _as_altered(stored.object_id, "the capture record"):
            host_key = self._hosts.for_statement(held.host, stored.record)
            record = verify_record(stored.record, host_key)
        if str(record.host_id) != held.host:
            raise ObjectAltered(stored.object_id, "the capture record (it names another host)")
        report.passed(Name.HOST_SIGNATURE, f"{held.host}, evidence key {host_key.key_id}")
        with _as_altered(stored.object_id, "the binding"):
            binding, record = verify_parts(stored, host_key)
        report.passed(Name.BINDING, f"transfer syntax {binding.transfer_syntax}")
        with _as_altered(stored.object_id, "the wrap"):
            key = key_for(self._keys, stored.wrap, KeyPurpose.DATA, record.grade)
            unwrap(stored, key)
        report.passed(Name.DATA_KEY, f"grade {record.grade}, key {key.public.key_id}")
        return _Proved(held, binding, record, host_key, key)

    def _prove_body(self, proved: _Proved, report: Report) -> None:
        stored, record = proved.held.stored, proved.record
        chunks = 0
        try:
            with self._noting_loss(record), self._store.open(stored.object_id) as body:
                for _ in open_verified(stored, body, proved.host_key, proved.key):
                    chunks += 1
        except ObjectAltered as exc:
            report.passed(Name.CHUNKS, f"{chunks} chunks authentic")
            if exc.what.endswith("dataset"):
                report.passed(Name.SEALED_BODY, f"{record.body_bytes} bytes")
            raise
        index_states = (proved.held.index_state, NOT_EVALUATED)
        lost = self._losses.regained(proved.binding, record.dataset_sha256, index_states)
        self._losses.ended(lost, stored.object_id)
        report.passed(Name.CHUNKS, f"{chunks} chunks authentic")
        report.passed(Name.SEALED_BODY, f"{record.body_bytes} bytes, SHA-256 {record.body_sha256.hex()}")
        report.passed(Name.DATASET, f"{record.dataset_bytes} bytes, SHA-256 {record.dataset_sha256.hex()}")

    def _prove_logged(self, proved: _Proved, report: Report) -> None:
        """Hold the object against our own record of storing it and the host's of capturing it."""
        stored, host = proved.held.stored, proved.held.host
        subject, digest = Subject("object", str(stored.object_id)), record_digest(stored.record).hex()
        kept = self._log.about(subject, Event.OBJECT_STORED, CONTROL_PLANE)
        if not any(digest in _records_named(entry) for entry in kept):
            raise NotAsLogged(stored.object_id, "the vault never recorded that it stored this capture record")
        captured = self._log.about(subject, Event.IMAGE_CAPTURED, host)
        if not captured:
            report.not_evaluated(Name.LOG_ENTRY, "stored as logged; no capture record in the log yet")
            return
        named = {name for entry in captured for name in _records_named(entry)}
        if named and digest not in named:
            raise NotAsLogged(stored.object_id, "the host recorded that it captured another")
        report.passed(Name.LOG_ENTRY, f"captured as record {captured[0].seq} of {host}, stored as record {kept[0].seq}")

    def _report_siblings(self, object_id: ObjectId, report: Report) -> None:
        """Say whether other objects claim to be this image. It opens all the same: which one is true, nobody knows."""
        siblings = self._conflicts.of([str(object_id)]).get(str(object_id))
        if siblings is None:
            report.not_evaluated(Name.INSTANCE, "its attributes were not evaluated at capture")
            return
        said = "; ".join(lines(siblings))
        if siblings.conflicts_with:
            report.conflict(Name.INSTANCE, said)
        elif siblings.not_compared:
            report.not_evaluated(Name.INSTANCE, said)
        else:
            report.passed(Name.INSTANCE, said or "no other object claims its SOP Instance UID")

    def _head(self, proved: _Proved) -> bytes:
        stored = proved.held.stored
        with _as_altered(stored.object_id, "the sealed index"):
            index = SealedIndex(proved.held.sealed_index, proved.record.index_commitment)
            entry = self._index.open(index, proved.binding)
        return part10.head(proved.binding, entry)

    def _release(self, proved: _Proved, head: bytes, happening: Happening) -> Iterator[bytes]:
        stored, gathered = proved.held.stored, bytearray(head)
        with self._recording_refusals(happening), self._store.open(stored.object_id) as body:
            for piece in open_verified(stored, body, proved.host_key, proved.key):
                gathered += piece
                if len(gathered) >= _RELEASE_BYTES:
                    yield bytes(gathered)
                    gathered.clear()
        # The rest leaves only when the whole has been proved again.
        yield bytes(gathered)

    def _pieces(self, proved: _Proved) -> Iterator[bytes]:
        stored = proved.held.stored
        with self._store.open(stored.object_id) as body:
            for piece in open_verified(stored, body, proved.host_key, proved.key):
                yield bytes(piece)

    @contextmanager
    def _noting_loss(self, record: CaptureRecord) -> Iterator[None]:
        """A block that reads the body of an object of which everything else has held.

        It is looked at again: a body that is just as the host signed it is no loss, whatever the host put into it.
        """
        try:
            yield
        except (IntegrityFailure, BodyUnreadable) as exc:
            if not is_whole(self._store, record.object_id, record.body_bytes, record.body_sha256):
                self._losses.found(record.object_id, str(exc))
            raise

    @contextmanager
    def _recording_refusals(self, happening: Happening) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            refused = failure(happening, Event.OPEN_REFUSED, exc)
            try:
                self._journal.record(refused)
            except Malformed:  # the reason that was given cannot be kept; that somebody tried is, without it
                self._journal.record(replace(refused, private=None))
            raise


def _happening(
    object_id: ObjectId, person: str, private: dict[str, Json], says: str = "", *, kind: Opener = "person"
) -> Happening:
    """`private` holds the person's reason: free text about somebody's care has its place in the sealed part only."""
    who, what = (Participant(kind, person, True),), (Subject("object", str(object_id)),)
    return Happening(Event.OBJECT_OPENED, Action.READ, Outcome.SUCCESS, who, what, says, private)


def _verify_named(person: str, reason: str) -> None:
    if not person.strip() or not reason.strip():
        raise ReasonMissing


def _verify_known(session: Session, object_id: ObjectId) -> Object:
    row = session.get(Object, str(object_id))
    if row is None:
        raise ObjectUnknown(object_id)
    return row


def _records_named(entry: AuditRecord) -> set[str]:
    return {subject.name for subject in entry.what if subject.kind == "record"}


@contextmanager
def _as_altered(object_id: ObjectId, what: str) -> Iterator[None]:
    """What was well-formed on arrival and is not now, was altered here."""
    try:
        yield
    except (Malformed, KeyNotForThis) as exc:
        raise ObjectAltered(object_id, f"{what} ({exc})") from exc


def _reader(body: Body) -> Callable[[int, int], bytes]:
    def read_at(offset: int, size: int) -> bytes:
        buffer, filled = memoryview(bytearray(size)), 0
        body.seek(offset)
        while filled < size and (count := body.readinto(buffer[filled:])):
            filled += count
        return bytes(buffer[:filled])

    return read_at

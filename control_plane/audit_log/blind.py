"""Holds what leads from patients and studies to records against what is sealed: a row taken out there hides records.

What is sealed beside records and images is opened, each part once, and what it is about compared with the rows. Memory
stays constant. Where somebody was erased the rows are gone by right: a record of the log has to say that it was done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain, islice
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from control_plane.audit_log import objects, sql
from control_plane.audit_log.index import all_there
from control_plane.audit_log.objects import OBJECT
from control_plane.audit_log.quick_reader import record_reader
from control_plane.audit_log.verify import HeldRecord, KeyOf
from control_plane.db import driver
from control_plane.db.models import AuditRow, AuditSubject, BlindIndex, Object, SubjectKey
from control_plane.erasure.erasing import FINDS_THE_PATIENT
from control_plane.erasure.private_parts import SUBJECT, PrivateParts
from control_plane.erasure.resealing import resealed_below
from control_plane.erasure.subject_box import SubjectBox, is_subject_box
from control_plane.erasure.subjects import asked_for
from control_plane.vault.index_service import Token
from control_plane.vault.receive import INDEXED
from shared import canonical
from shared.audit.events import Event, Subject
from shared.audit.record import SALT_BYTES, AuditRecord, StoredRecord
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import CONTROL_PLANE, ObjectId
from shared.sealing.index import SealedIndex
from shared.sealing.open import StoredObject, verify_parts

_AT_ONCE = 200
_TOKEN = ("attribute", "token", "entry")
_HELD = AuditRow.__table__.c
_RECORDS = select(_HELD.entry, _HELD.source, _HELD.public, _HELD.sealed)
_IMAGES = select(
    Object.object_id, Object.host_id, Object.binding, Object.record, Object.sealed_index, Object.index_state
)
_STORED = f'"{Event.OBJECT_STORED.value}"'.encode()
_FINDS_THE_PATIENT = {attribute.value for attribute in FINDS_THE_PATIENT}
_Row = tuple[str, bytes]
"""Of the blind index: an attribute and a token."""


class SubjectKeyGone(IntegrityFailure):
    def __init__(self, key_id: str) -> None:
        super().__init__(f"the key {key_id} of somebody whom it is about is gone, and no record says who destroyed it")
        self.key_id = key_id


class NotOpenedHere(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the centre has no key for it")


class BlindVerdict(NamedTuple):
    """`first_bad` is the entry of a record; None where none is, or where it is an image that `why` names.

    All are looked at: what one host seals badly is not to hide what comes behind it.
    """

    compared: int
    is_whole: bool
    first_bad: int | None
    why: str


class _Fault(NamedTuple):
    entry: int | None
    why: str


def verify_blind_index(session: Session, private: PrivateParts, key_of: Callable[[str], KeyOf]) -> BlindVerdict:
    """Compare every private part and every image; `key_of` returns the evidence keys of a source."""
    walk = _Walk(session, private, key_of)
    faults = chain(walk.records(), walk.images(), walk.lost_images())
    first = next(faults, None)
    if first is None:
        return BlindVerdict(walk.compared, True, None, "; ".join(walk.said()))
    more = sum(1 for _ in faults)
    return BlindVerdict(walk.compared, False, first.entry, first.why + f"; and {more} more" * bool(more))


class _Walk:
    def __init__(self, session: Session, private: PrivateParts, key_of: Callable[[str], KeyOf]) -> None:
        self._session, self._private, self._index = session, private, private.index
        self._new_key_of, self._keys = key_of, dict[str, KeyOf]()
        self._resealed_below = resealed_below(session)
        erased = select(func.max(AuditRow.entry)).where(AuditRow.event == Event.KEY_DESTROYED.value)
        self._last_erased = session.scalar(erased) or 0
        self._destroyed = dict[str, bool]()
        self.compared, self._unopened, self._erased = 0, 0, 0

    def said(self) -> Iterator[str]:
        """Yield what could not be compared."""
        if self._unopened:
            yield f"private parts of hosts that do not open here: {self._unopened}"
        if self._erased:
            yield f"images to which no patient leads, as after an erasure: {self._erased}"

    def records(self) -> Iterator[_Fault]:
        sealed = _RECORDS.where(_HELD.sealed.is_not(None), _HELD.entry >= 0).order_by(_HELD.entry)
        with self._session.execute(sealed, execution_options={"yield_per": _AT_ONCE}) as held:
            for rows in held.partitions():
                wanted = list[driver.Values]()
                for entry, source, public, box in rows:
                    if not isinstance(entry, int):
                        continue  # the Merkle log misses it
                    try:
                        tokens = self._asked_for(entry, StoredRecord(public, box))
                    except (Malformed, Refused, IntegrityFailure) as exc:
                        if source != CONTROL_PLANE and not is_subject_box(box):
                            self._unopened += 1  # it may be as it came, for a host seals whatever it likes
                            continue
                        why = f"what is sealed beside it, a record of {source}, is not what it committed to: {exc}"
                        yield _Fault(entry, why)
                        continue
                    wanted += [(token.attribute.value, token.value, entry) for token in tokens]
                if not all_there(self._session, "audit_tokens", _TOKEN, wanted):
                    lost = {one[2] for one in wanted if not all_there(self._session, "audit_tokens", _TOKEN, [one])}
                    for number in sorted(int(str(one)) for one in lost):
                        yield _Fault(number, "whoever asks for a patient or study that it is about misses it")

    def images(self) -> Iterator[_Fault]:
        with self._session.execute(
            _IMAGES.order_by(Object.object_id), execution_options={"yield_per": _AT_ONCE}
        ) as held:
            for rows in held.partitions():
                found_by = self._found_by([row.object_id for row in rows])
                for row in rows:
                    self.compared += 1
                    try:
                        why = self._compared(row, found_by.get(row.object_id, set()))
                    except (Malformed, Refused, IntegrityFailure) as exc:
                        why = f"whose it is cannot be told: {exc}"
                    if why:
                        yield _Fault(None, f"image {row.object_id}: {why}")

    def lost_images(self) -> Iterator[_Fault]:
        with closing(sql.records(self._session, CONTROL_PLANE)) as records:
            stored = _stored(records)
            while names := list(islice(stored, _AT_ONCE)):
                there = set(self._session.scalars(select(Object.object_id).where(Object.object_id.in_(names))))
                for name in (one for one in names if one not in there):
                    why = f"image {name}: a record says that it was stored, and it is not held; nobody finds it"
                    yield _Fault(None, why)

    def _asked_for(self, entry: int, stored: StoredRecord) -> Sequence[Token]:
        """Return by what a record has to be found. Raises what opening does, SubjectKeyGone, NotOpenedHere."""
        opened, box = self._private.open(self._session, stored), stored.sealed or b""
        is_to_subjects = is_subject_box(box)
        if opened.salted is None:
            if not is_to_subjects:
                raise NotOpenedHere
            self._verify_destroyed(box)
            return ()
        self.compared += 1
        private = canonical.parse(opened.salted[SALT_BYTES:], "audit private part")
        # A host's is not found by what stands in it until it is sealed anew.
        if not isinstance(private, dict) or not (is_to_subjects or entry < self._resealed_below):
            return ()
        return asked_for(self._index, AuditRecord.parse(stored.public).what, private)

    def _verify_destroyed(self, box: bytes) -> None:
        """Raises SubjectKeyGone."""
        wanted = {key_id.hex() for key_id in SubjectBox.parse(box).key_ids}
        there = select(SubjectKey.key_id).where(SubjectKey.key_id.in_(wanted))
        for key_id in sorted(wanted - set(self._session.scalars(there))):
            if key_id not in self._destroyed:
                self._destroyed[key_id] = self._is_destroyed(key_id)
            if not self._destroyed[key_id]:
                raise SubjectKeyGone(key_id)

    def _is_destroyed(self, key_id: str) -> bool:
        """Whether a record says so; the row that leads to it is none."""
        here = and_(AuditRow.source == AuditSubject.source, AuditRow.seq == AuditSubject.seq)
        named = select(AuditRow.public).join(AuditSubject, here).where(
            AuditSubject.kind == SUBJECT, AuditSubject.name == key_id, AuditSubject.source == CONTROL_PLANE,
            AuditSubject.event == Event.KEY_DESTROYED.value,
        )  # fmt: skip
        records = (AuditRecord.parse(public) for public in self._session.scalars(named))
        return any(one.event is Event.KEY_DESTROYED and Subject(SUBJECT, key_id) in one.what for one in records)

    def _found_by(self, names: Sequence[str]) -> dict[str, set[_Row]]:
        found = dict[str, set[_Row]]()
        theirs = select(BlindIndex.object_id, BlindIndex.attribute, BlindIndex.token)
        for name, attribute, token in self._session.execute(theirs.where(BlindIndex.object_id.in_(names))):
            found.setdefault(name, set()).add((attribute, token))
        return found

    def _compared(self, row: Any, found_by: set[_Row]) -> str:
        """Return what is wrong with that by which an image is found; empty where nothing is."""
        stored = StoredObject(ObjectId.parse(str(row.object_id)), row.binding, b"", row.record)
        if row.host_id not in self._keys:
            self._keys[row.host_id] = self._new_key_of(row.host_id)
        binding, record = verify_parts(stored, self._keys[row.host_id](row.record))
        entry = self._index.open(SealedIndex(row.sealed_index, record.index_commitment), binding)
        if (row.index_state == INDEXED) != entry.evaluated:
            return f"the row says that it is {row.index_state}, and it is not"
        wanted = _rows(self._index.tokens(entry)) if entry.evaluated else set()
        if found_by == wanted:
            return ""
        if found_by == {one for one in wanted if one[0] not in _FINDS_THE_PATIENT} and self._is_of_before(row):
            self._erased += 1
            return ""
        return "it is not found by the patient and study that it is of"

    def _is_of_before(self, row: Any) -> bool:
        """Whether an image was stored before somebody was erased last."""
        led_to = objects.led_to(self._session, [row.object_id], Event.OBJECT_STORED, CONTROL_PLANE)
        first = next((one.entry for one in led_to if one.names is None or row.object_id in one.names), None)
        return first is not None and first < self._last_erased


def _stored(records: Iterable[HeldRecord]) -> Iterator[str]:
    """Yield every object that one of these records says was stored."""
    read = record_reader()
    for held in records:
        if _STORED in held.stored.public:
            with suppress(Malformed):
                record = read(held.stored.public)
                stored = record.what if record.event is Event.OBJECT_STORED else ()
                yield from (what.name for what in stored if what.kind == OBJECT)


def _rows(tokens: Iterable[Token]) -> set[_Row]:
    return {(token.attribute.value, token.value) for token in tokens}

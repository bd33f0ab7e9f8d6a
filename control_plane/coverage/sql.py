"""What the vault holds, as rows: by the token of a SOP Instance UID, and by the day on which it was captured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.audit_log.objects import Nearest
from control_plane.db.models import BlindIndex, LostObject, Object
from control_plane.vault.index_service import Attribute
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure, Malformed
from shared.sealing.record import CaptureRecord

ReadRecord = Callable[[str, bytes], CaptureRecord]
"""Returns what a host, by its id, signed. Raises Malformed, IntegrityFailure."""
_AT_ONCE, _CAPTURED = 200, b'"captured":"'
# A host's clock may be ahead of ours, so that an image seems to be received before it was captured.
_CLOCKS_APART = timedelta(hours=1)


@dataclass(frozen=True)
class Captured:
    """An object that its host captured on the day asked for. `ae_title` is empty where no record here says whose.

    `record` is None where what its host signed does not hold any more: nothing else is known of it then.
    """

    object_id: str
    ae_title: str
    record: CaptureRecord | None
    binding: bytes
    sealed_index: bytes
    is_indexed: bool


def held(session: Session, tokens: Sequence[bytes]) -> set[bytes]:
    """Return those of `tokens`, of SOP Instance UIDs, under which an object is held that was not lost."""
    lost = select(LostObject.object_id).where(LostObject.object_id == BlindIndex.object_id)
    found = select(BlindIndex.token).where(
        BlindIndex.attribute == Attribute.SOP_INSTANCE_UID.value, BlindIndex.token.in_(tokens), ~lost.exists()
    )
    return set(session.scalars(found))


def captured_on(session: Session, day: date, read: ReadRecord) -> Iterator[Captured]:
    """Yield what hosts captured on `day` in UTC, by their clocks, and have delivered.

    Each is read from the record that its host signed. One that does not hold is of the day that stands in it, or of
    that on which it arrived. The AE title is that of the host's audit record as it is stored, which `audit verify`
    proves and this does not.
    """
    begins, ends = datetime.combine(day, time(), UTC), datetime.combine(day, time(), UTC) + timedelta(days=1)
    rows = (
        select(
            Object.object_id,
            Object.host_id,
            Object.record,
            Object.binding,
            Object.sealed_index,
            Object.index_state,
            Object.received,
        )
        .where(Object.received >= begins - _CLOCKS_APART)
        .order_by(Object.received, Object.object_id)
    )
    # Of other days there may be many more, so they are told by how a record is written before one is verified.
    written, captures = _CAPTURED + f"{day.isoformat()}T".encode(), Nearest(session, Event.IMAGE_CAPTURED)
    for some in session.execute(rows.execution_options(yield_per=_AT_ONCE)).partitions():
        theirs = [
            row for row in some
            if written in row.record or (_CAPTURED not in row.record and begins <= row.received < ends)
        ]  # fmt: skip
        said = captures.of({row.object_id: row.host_id for row in theirs})
        for row in theirs:
            record = _record(read, row.host_id, row.record)
            if record is None or begins <= record.captured < ends:
                title, is_indexed = _ae_title(said.get(row.object_id)), row.index_state == "indexed"
                yield Captured(row.object_id, title, record, row.binding, row.sealed_index, is_indexed)


def _record(read: ReadRecord, host_id: str, signed: bytes) -> CaptureRecord | None:
    try:
        return read(host_id, signed)
    except (Malformed, IntegrityFailure):
        return None


def _ae_title(public: bytes | None) -> str:
    if public is None:
        return ""
    try:
        record = AuditRecord.parse(public)
    except Malformed:
        return ""
    return next((who.name for who in record.who if who.kind == "ae"), "")

"""Which order has a certificate, or a destroyed drive: where a record of the centre's says so, whatever rows say."""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject, WipeCertificateRow
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import AuditRecord
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE
from shared.sanitization.destruction import Destruction


def statement_subject(statement: bytes) -> Subject:
    return Subject("fact", f"statement: {sha256(statement).hexdigest()}")


def statement_record(session: Session, order_id: str) -> AuditRow | None:
    """Return the record of an order's certificate, None where there is none, or none of the statement that is held."""
    held = session.get(WipeCertificateRow, order_id)
    if held is None:
        return None
    return _record(session, order_id, Event.WIPE_CERTIFIED, {statement_subject(held.statement)})


def is_recorded(session: Session, order_id: str, destruction: str) -> bool:
    """Return whether a record says that these people said so of the order's drive."""
    try:
        told = Destruction.parse(destruction)
    except Malformed:
        return False
    row = _record(session, order_id, Event.DRIVE_DESTROYED, set(told.subjects()))
    return row is not None and any(who.name == told.recorded_by for who in AuditRecord.parse(row.public).who)


def _record(session: Session, order_id: str, event: Event, wanted: set[Subject]) -> AuditRow | None:
    named = (
        select(AuditRow)
        .join(AuditSubject, (AuditSubject.source == AuditRow.source) & (AuditSubject.seq == AuditRow.seq))
        .where(
            AuditSubject.kind == "order",
            AuditSubject.name == order_id,
            AuditSubject.event == event.value,
            AuditSubject.source == CONTROL_PLANE,
        )
    )
    wanted = {Subject("order", order_id), *wanted}
    return next((row for row in session.scalars(named) if wanted <= _subjects(row.public, event)), None)


def _subjects(public: bytes, event: Event) -> set[Subject]:
    try:
        record = AuditRecord.parse(public)
    except Malformed:
        return set()
    is_good = record.event is event and record.outcome is Outcome.SUCCESS
    return set(record.what) if is_good else set()

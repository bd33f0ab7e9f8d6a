"""Which order has a certificate: one whose statement a record of the centre's names, whatever its row says."""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject, WipeCertificateRow
from shared.audit.record import AuditRecord, Event, Subject
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE


def statement_subject(statement: bytes) -> Subject:
    return Subject("fact", f"statement: {sha256(statement).hexdigest()}")


def statement_record(session: Session, order_id: str) -> AuditRow | None:
    """Return the record of an order's certificate, None where there is none, or none of the statement that is held."""
    held = session.get(WipeCertificateRow, order_id)
    if held is None:
        return None
    named = (
        select(AuditRow)
        .join(AuditSubject, (AuditSubject.source == AuditRow.source) & (AuditSubject.seq == AuditRow.seq))
        .where(
            AuditSubject.kind == "order",
            AuditSubject.name == order_id,
            AuditSubject.event == Event.WIPE_CERTIFIED.value,
            AuditSubject.source == CONTROL_PLANE,
        )
    )
    wanted = {Subject("order", order_id), statement_subject(held.statement)}
    return next((row for row in session.scalars(named) if wanted <= _subjects(row.public)), None)


def _subjects(public: bytes) -> set[Subject]:
    try:
        record = AuditRecord.parse(public)
    except Malformed:
        return set()
    return set(record.what) if record.event is Event.WIPE_CERTIFIED else set()

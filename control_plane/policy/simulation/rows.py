"""What was captured lately, as the rows of vault and audit log tell it: counted by kind, nothing opened.

It is read as it is stored. Signatures are proved when something is acted on (`audit verify`, `open`), and nothing is
acted on here.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject, Object
from control_plane.policy.simulation.captures import Captured
from control_plane.vault.receive import INDEXED
from shared.audit.record import AuditRecord, Event
from shared.errors import Malformed
from shared.sealing.record import CaptureRecord
from shared.signing import claimed_payload

_AT_ONCE = 500


@dataclass(frozen=True)
class Lately:
    """`unreadable` counts objects whose row is none that we wrote; `left_out` those beyond the most to be looked at."""

    counts: Counter[Captured]
    unreadable: int
    left_out: int


def captured_since(session: Session, since: datetime, most: int) -> Lately:
    """Count what arrived in the vault from `since` on, the newest first and `most` objects at most."""
    says = and_(
        AuditSubject.kind == "object",
        AuditSubject.name == Object.object_id,
        AuditSubject.event == Event.IMAGE_CAPTURED.value,
        AuditSubject.source == Object.host_id,
    )
    arrived = Object.received >= since
    newest = select(Object.object_id).where(arrived).order_by(Object.received.desc(), Object.object_id).limit(most)
    rows = (
        select(Object.object_id, Object.host_id, Object.record, Object.index_state, AuditRow.public)
        .where(Object.object_id.in_(newest))
        .outerjoin(AuditSubject, says)
        .outerjoin(AuditRow, and_(AuditRow.source == AuditSubject.source, AuditRow.seq == AuditSubject.seq))
        .order_by(Object.object_id)
    )
    counts, unreadable, previous = Counter[Captured](), 0, ""
    for row in session.execute(rows.execution_options(yield_per=_AT_ONCE)):
        if row.object_id == previous:
            continue  # two records of one capture: the first is enough
        previous = row.object_id
        try:
            record = CaptureRecord.parse(claimed_payload(row.record))
        except Malformed:
            unreadable += 1
            continue
        is_read = row.index_state == INDEXED
        title = ae_title(row.public)
        counts[Captured(row.host_id, title, record.grade, record.routes, record.policy_version, is_read)] += 1
    total = session.scalar(select(func.count()).select_from(Object).where(arrived)) or 0
    return Lately(counts, unreadable, max(0, total - most))


def ae_title(public: bytes | None) -> str:
    """Return who sent the image that an audit record is about; empty where it does not say."""
    try:
        record = None if public is None else AuditRecord.parse(public)
    except Malformed:
        return ""
    return "" if record is None else next((who.name for who in record.who if who.kind == "ae"), "")

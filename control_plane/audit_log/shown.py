"""A record as people see it: its public part as it stands, not proved."""

from control_plane.db.models import AuditRow
from shared import clock as clocks
from shared.audit.events import Outcome
from shared.audit.record import AuditRecord
from shared.canonical import Json
from shared.errors import Malformed


def shown(row: AuditRow) -> dict[str, Json]:
    """Return a record's public part for people. One that no longer reads as a record is shown as just that."""
    facts: dict[str, Json] = {"source": row.source, "seq": row.seq, "received": clocks.text(row.received)}
    try:
        record = AuditRecord.parse(row.public)
    except Malformed as exc:
        unreadable = {"time": facts["received"], "event": "unreadable", "outcome": int(Outcome.MAJOR_FAILURE)}
        return {**facts, **unreadable, "action": "", "who": [], "what": [], "reason": str(exc), "private": False}
    return {
        **facts,
        "time": clocks.text(record.time),
        "event": record.event.value,
        "action": record.action.value,
        "outcome": int(record.outcome),
        "who": [participant.json() for participant in record.who],
        "what": [subject.json() for subject in record.what],
        "reason": record.reason,
        "private": row.sealed is not None,
    }

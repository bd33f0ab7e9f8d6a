"""A record as people see it: its public part as it stands, and whether it is the one that was entered in its place.

That is told by the leaf at its entry, in tiles that nobody proved: `audit verify` proves those too.
"""

from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow
from control_plane.tlog import rows as tiles
from shared import clock as clocks
from shared.audit.events import Outcome
from shared.audit.record import AuditRecord, leaf_hash
from shared.audit.tlog.tiles import WIDTH
from shared.audit.tlog.tree import HASH_BYTES
from shared.canonical import Json
from shared.errors import Malformed


class Showing:
    """Shows the rows of one page, each held against its entry; a tile is read once."""

    def __init__(self, session: Session) -> None:
        self._hashes = tiles.reader(session)

    def row(self, row: AuditRow) -> dict[str, Json]:
        """Return a record's public part for people. One that no longer reads as a record is shown as just that."""
        try:
            return self.record(row, AuditRecord.parse(row.public))
        except Malformed as exc:
            facts = self._facts(row, is_its_own=False)
            unreadable = {"time": facts["received"], "event": "unreadable", "outcome": int(Outcome.MAJOR_FAILURE)}
            return {**facts, **unreadable, "action": "", "who": [], "what": [], "reason": str(exc), "private": False}

    def record(self, row: AuditRow, record: AuditRecord) -> dict[str, Json]:
        """Return what `row` does, of a row that was read already."""
        return {
            **self._facts(row, is_its_own=(row.source, row.seq) == (record.source, record.seq)),
            "time": clocks.text(record.time),
            "event": record.event.value,
            "action": record.action.value,
            "outcome": int(record.outcome),
            "who": [participant.json() for participant in record.who],
            "what": [subject.json() for subject in record.what],
            "reason": record.reason,
            "private": row.sealed is not None,
        }

    def _facts(self, row: AuditRow, *, is_its_own: bool) -> dict[str, Json]:
        altered = not is_its_own or not self.is_entered(row.entry, row.public)
        return {"source": row.source, "seq": row.seq, "received": clocks.text(row.received), "altered": altered}

    def is_entered(self, entry: int | None, public: bytes) -> bool:
        """Return whether this is what was entered in the log as `entry`."""
        if not isinstance(entry, int) or entry < 0:
            return False
        number, place = divmod(entry, WIDTH)
        at = place * HASH_BYTES
        return self._hashes(0, number)[at : at + HASH_BYTES] == leaf_hash(public)

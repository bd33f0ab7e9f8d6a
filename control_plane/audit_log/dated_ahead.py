"""Names sources of whose records some are dated later than they arrived: a clock that is ahead, or a lie about when.

A record is proved all the same: its source signed that time. Where it came from is what has to be looked into.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import extract, func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.pieces import LONGEST_US
from control_plane.db.models import AuditPiece, AuditRow, Host
from control_plane.db.transactions import snapshot
from shared import clock as clocks
from shared.clock import Clock

TOLERATED = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ahead:
    """`first` is the lowest number among `count` records that are."""

    count: int
    first: int

    def text(self) -> str:
        minutes = TOLERATED // timedelta(minutes=1)
        return f"{self.count} dated more than {minutes} minutes later than they arrived, the first is {self.first}"


def dated_ahead(session: Session) -> dict[str, Ahead]:
    """Return of which sources some records are dated ahead of their arrival; it looks at every record."""
    arrived_s = extract("epoch", AuditRow.received)
    ahead = AuditRow.happened > (arrived_s + TOLERATED.total_seconds()) * 1_000_000
    found = select(AuditRow.source, func.count(), func.min(AuditRow.seq)).where(ahead).group_by(AuditRow.source)
    return {source: Ahead(count, first) for source, count, first in session.execute(found)}


class DatedAhead:
    """Says it while the time that they name is still to come, which the pieces of the log answer at once."""

    def __init__(self, database: sessionmaker[Session], clock: Clock) -> None:
        self._database, self._clock = database, clock

    def gaps(self) -> list[str]:
        """Raises DatabaseUnavailable."""
        to_come = clocks.microseconds(self._clock.now() + TOLERATED)
        # Pieces may overlap where somebody wrote such rows, so each entry counts once.
        count = func.count(AuditRow.entry.distinct())
        newest = select(AuditRow.source, Host.asset, func.max(AuditRow.happened), count)
        newest = newest.select_from(AuditPiece).where(AuditPiece.since > to_come - LONGEST_US)
        newest = newest.join(AuditRow, AuditRow.entry.between(AuditPiece.first, AuditPiece.last))
        newest = newest.join(Host, Host.host_id == AuditRow.source, isouter=True).where(AuditRow.happened > to_come)
        with snapshot(self._database) as session:
            found = session.execute(newest.group_by(AuditRow.source, Host.asset).order_by(AuditRow.source)).all()
        return [_words(asset or source, happened, count) for source, asset, happened, count in found]


def _words(name: str, happened: int | None, count: int) -> str:
    until = clocks.text(_EPOCH + timedelta(microseconds=happened or 0))
    return f"{name}: {count} of its audit records are dated up to {until}, which is to come; look at its clock"

"""Names hosts whose audit records were refused lately: a gap that stays, a fork, a forgery, records of somebody else.

Each refusal is a record (`intake.py`); this is for whoever looks at the status and not into the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.intake import BatchOfAnotherHost
from control_plane.audit_log.pieces import EVENT, LONGEST_US
from control_plane.db.models import AuditName, AuditPiece, AuditRow, Host
from control_plane.db.transactions import snapshot
from shared import clock as clocks
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.clock import Clock
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE

LOOKED_BACK = timedelta(days=7)
# Its own records, which come all the time, settle nothing of those of another; and it is recorded once.
_OF_ANOTHER = f"{BatchOfAnotherHost.__name__}: "
_MOST = 1000  # of the newest: a host may be refused for ever other reasons


@dataclass(frozen=True)
class _Refusal:
    host: str
    time: datetime
    entry: int
    is_serious: bool  # evidence was another than it has to be; what comes afterwards does not settle that
    reason: str


class RefusedBatches:
    def __init__(self, database: sessionmaker[Session], clock: Clock) -> None:
        self._database, self._clock = database, clock

    def gaps(self) -> list[str]:
        """Say of each host the last refusal that nothing has settled, serious ones first, in words a person can act on.

        One that says that the host told two stories, that somebody signed for it, or that it sent records of another,
        stays for a week; any other until records of that host are taken again. Raises DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            serious, other, last = dict[str, str](), dict[str, str](), dict[str, int]()
            for refusal in _refusals(session, clocks.microseconds(self._clock.now() - LOOKED_BACK)):
                if refusal.host not in last:
                    last[refusal.host] = _last_entry(session, refusal.host)
                said = serious if refusal.is_serious else other
                if refusal.host not in said and (refusal.is_serious or last[refusal.host] < refusal.entry):
                    said[refusal.host] = _words(session, refusal)
            return list((other | serious).values())


def _refusals(session: Session, since: int) -> Iterator[_Refusal]:
    """Yield them, the newest first; the index leads to their pieces, however long the log is."""
    refused = Event.AUDIT_REFUSED.value
    query = select(AuditRow.entry, AuditRow.public).select_from(AuditName)
    query = query.join(AuditPiece, AuditPiece.first == AuditName.entry)
    query = query.join(AuditRow, AuditRow.entry.between(AuditPiece.first, AuditPiece.last))
    named = and_(AuditName.kind == EVENT, AuditName.name == refused, AuditName.happened >= since - LONGEST_US)
    theirs = and_(AuditRow.source == CONTROL_PLANE, AuditRow.event == refused, AuditRow.happened >= since)
    for entry, public in session.execute(query.where(named, theirs).order_by(AuditRow.entry.desc()).limit(_MOST)):
        try:
            record = AuditRecord.parse(public)
            host = record.who[0].name
        except (Malformed, IndexError):
            continue  # it was altered, and verification names it
        is_serious = record.outcome >= Outcome.SERIOUS_FAILURE or record.reason.startswith(_OF_ANOTHER)
        yield _Refusal(host, record.time, entry or 0, is_serious, record.reason)


def _last_entry(session: Session, host: str) -> int:
    last = select(AuditRow.entry).where(AuditRow.source == host).order_by(AuditRow.seq.desc()).limit(1)
    return session.scalar(last) or -1


def _words(session: Session, refusal: _Refusal) -> str:
    asset = session.scalar(select(Host.asset).where(Host.host_id == refusal.host))
    return (
        f"{asset or refusal.host}: audit records that it sent were refused at {clocks.text(refusal.time)}: "
        f"{refusal.reason}; look at that machine"
    )

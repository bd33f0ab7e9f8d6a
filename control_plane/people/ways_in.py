"""Who was given a way in lately by somebody else: so one person alone could act as two.

Whoever may add people holds the token of each that they add or reset, and may bind them to an identity of their own.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject
from shared import clock as clocks
from shared.audit.record import AuditRecord, Event
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE

LATELY = timedelta(days=7)
_GIVES = (Event.PERSON_ADDED.value, Event.TOKEN_MADE.value, Event.FACTOR_ADDED.value)


@dataclass(frozen=True)
class WayIn:
    person: str
    given_by: str
    given: datetime

    def __str__(self) -> str:
        return f"{self.given_by} gave {self.person} a way in at {clocks.text(self.given)}"


def given_lately(session: Session, person: str, instant: datetime) -> WayIn | None:
    """Return the newest way in that another one gave `person` in the days before `instant`, None where nobody did."""
    named = (AuditSubject.kind == "person", AuditSubject.name == person, AuditSubject.event.in_(_GIVES))
    held = (AuditRow.source == AuditSubject.source) & (AuditRow.seq == AuditSubject.seq)
    rows = select(AuditRow.public).join(AuditSubject, held).where(*named, AuditSubject.source == CONTROL_PLANE)
    for public in session.scalars(rows.order_by(AuditRow.seq.desc())):
        try:
            record = AuditRecord.parse(public)
        except Malformed:
            continue  # altered; the log's own verification says so
        if record.time <= instant - LATELY:
            return None
        by = next((who.name for who in record.who if who.requestor), person)
        if by != person and record.time <= instant:
            return WayIn(person, by, record.time)
    return None


def perhaps_one(session: Session, asker: str, approver: str, instant: datetime) -> str:
    """Say why two persons may have been one at `instant`; empty: nothing says so."""
    ways = (given_lately(session, person, instant) for person in (asker, approver))
    return "; ".join(str(way) for way in ways if way is not None)

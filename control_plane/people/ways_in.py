"""Who was given a way in lately by somebody else: so one person alone could act as two.

Whoever may add people holds the token of each that they add or reset, may bind them to an identity of their own, and
says which provider tells who is who. So such an account is nobody's second person for a week, or until a third one, who
gave it nothing, has vouched for it.  docs/adr/0030-one-administrator-is-one-person.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject, Person, ProviderBinding
from shared import clock as clocks
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE

LATELY = timedelta(days=7)
_KEPT_CHARS = 200  # of a name in a record; an issuer's may be longer
_COUNTS = (
    Event.PERSON_ADDED.value,
    Event.TOKEN_MADE.value,
    Event.FACTOR_ADDED.value,
    Event.PERSON_VOUCHED.value,
)


@dataclass(frozen=True)
class WayIn:
    person: str
    given_by: str
    given: datetime

    def __str__(self) -> str:
        return f"{self.given_by} gave {self.person} a way in at {clocks.text(self.given)}"

    @property
    def counts_again(self) -> datetime:
        return self.given + LATELY


def given_lately(session: Session, person: str, instant: datetime) -> WayIn | None:
    """Return the newest way in that another one gave `person` in the days before `instant`, None where nobody did.

    One does not count for which somebody else than who gave it has vouched since. A clock that ran ahead or
    behind hides none.
    """
    vouched = set[str]()
    for record in _records(session, person):
        if record.time <= instant - LATELY:
            continue
        by = next((who.name for who in record.who if who.requestor), person)
        if by == person:
            continue
        if record.event is Event.PERSON_VOUCHED:
            vouched.add(by)
        elif not vouched - {by}:
            return WayIn(person, by, record.time)
    return None


def roles_taken_lately(session: Session, instant: datetime) -> Iterator[str]:
    """Yield the roles of whose accounts were ended, or that were changed, in the days before `instant`."""
    yield from session.scalars(select(Person.role).where(Person.removed > instant - LATELY))
    changed = (AuditSubject.kind == "before", AuditSubject.event == Event.PERSON_CHANGED.value)
    held = (AuditRow.source == AuditSubject.source) & (AuditRow.seq == AuditSubject.seq)
    rows = select(AuditSubject.name, AuditRow.public).join(AuditRow, held)
    for role, public in session.execute(rows.where(AuditSubject.source == CONTROL_PLANE, *changed)):
        if _time_of(public) > instant - LATELY:
            yield role


def _time_of(public: bytes) -> datetime:
    try:
        return AuditRecord.parse(public).time
    except Malformed:
        return datetime.max.replace(tzinfo=UTC)  # altered; it lets nobody act alone


def _records(session: Session, person: str) -> Iterator[AuditRecord]:
    """Yield what gave `person` a way in, or vouched for them, the newest first."""
    named = and_(AuditSubject.kind == "person", AuditSubject.name == person, AuditSubject.event.in_(_COUNTS))
    issuers = select(func.substr(ProviderBinding.issuer, 1, _KEPT_CHARS)).where(ProviderBinding.person == person)
    provided = and_(
        AuditSubject.kind == "issuer", AuditSubject.name.in_(issuers), AuditSubject.event == Event.PROVIDER_SET.value
    )
    held = (AuditRow.source == AuditSubject.source) & (AuditRow.seq == AuditSubject.seq)
    rows = select(AuditRow.public).join(AuditSubject, held).where(AuditSubject.source == CONTROL_PLANE)
    for public in session.scalars(rows.where(or_(named, provided)).order_by(AuditRow.seq.desc())):
        try:
            yield AuditRecord.parse(public)
        except Malformed:
            continue  # altered; the log's own verification says so

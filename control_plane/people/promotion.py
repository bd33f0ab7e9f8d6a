"""Makes somebody an administrator, where there are two already: what two persons do together."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from control_plane.db.models import PasswordRow, Person, ProviderBinding, SecondFactor
from control_plane.people.accounts import end_everything
from control_plane.people.decide import ADMINISTRATOR
from control_plane.people.people import PersonUnknown
from control_plane.people.two_persons import Journal, Request
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused

PROMOTE = "make-administrator"


class NotYetAdministrator(Refused):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} cannot become an administrator: {why}")
        self.name, self.why = name, why


class Promotion:
    """Nobody is handed a token: whoever becomes an administrator comes in by what they alone can show."""

    action, kind = PROMOTE, "person"

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal, self._clock = journal, clock

    def verify(self, session: Session, subject: str) -> None:
        """Raises PersonUnknown, NotYetAdministrator."""
        person = session.get(Person, subject)
        if person is None or person.removed is not None:
            raise PersonUnknown(subject)
        if person.role == ADMINISTRATOR:
            raise NotYetAdministrator(subject, "they are one already")
        password = exists().where(PasswordRow.person == subject)
        factor = exists().where(SecondFactor.person == subject, SecondFactor.confirmed.is_not(None))
        bound = exists().where(ProviderBinding.person == subject)
        if not session.scalar(select((password & factor) | bound)):
            why = "they have no password and second factor of their own yet, with which they would come in"
            raise NotYetAdministrator(subject, why)

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises PersonUnknown, NotYetAdministrator."""
        self.verify(session, request.subject)
        person = session.get_one(Person, request.subject)
        before, person.role = person.role, ADMINISTRATOR
        end_everything(session, person.name, self._clock.now())
        who = (Participant("person", approver, True), Participant("person", request.asked_by, False))
        what = (Subject("person", person.name), Subject("role", ADMINISTRATOR), Subject("before", before))
        self._journal.append(
            session,
            Happening(Event.PERSON_CHANGED, Action.UPDATE, Outcome.SUCCESS, who, what,
                      private={"reason": request.reason}),
        )  # fmt: skip

    def afterwards(self, subject: str) -> None:
        """Nothing is left to do."""

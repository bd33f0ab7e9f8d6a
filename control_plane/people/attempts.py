"""One attempt to prove who somebody is: counted before it is judged, forgotten if it was right, else recorded."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.transactions import in_one_commit
from control_plane.people import failures
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.clock import Clock
from shared.errors import Refused

T = TypeVar("T")


class Wrong(StrEnum):
    """What was wrong, for the audit log alone."""

    PERSON = "unknown person"
    PASSWORD = "wrong password"  # noqa: S105 (a reason)
    FACTOR = "wrong second factor"
    NO_FACTOR = "no second factor set up"
    STEP = "sign-in took too long"
    PROVIDER = "the identity provider's word does not hold"


class NotProved(Refused):
    """One wording for an unknown person, a wrong password and a wrong code; `wrong` is not for whoever asks."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__("name, password or second factor is not right")
        self.wrong = wrong


class Attempts:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def judged(self, name: str, address: str, judge: Callable[[Session], T]) -> T:
        """Return what `judge` does in one commit. Raises TooManyFailures: it is too early; what `judge` raises."""
        return self.judged_after(name, address, self.count(name, address), judge)

    def verify_in_time(self, name: str, address: str) -> None:
        """Raises TooManyFailures: it is too early for another attempt. Counts nothing."""
        with self._database() as session:
            failures.verify_in_time(session, name, address, self._clock.now())

    def count(self, name: str, address: str) -> datetime | None:
        """Count an attempt that `judged_after` is to judge, before anything costly is done for it.

        Raises TooManyFailures: it is too early.
        """
        return in_one_commit(
            self._database, lambda session: failures.count_attempt(session, name, address, self._clock.now())
        )

    def judged_after(self, name: str, address: str, before: datetime | None, judge: Callable[[Session], T]) -> T:
        """Return what `judge` does in one commit, for an attempt that was counted. Raises what `judge` raises."""

        def judge_and_forget(session: Session) -> T:
            judged = judge(session)
            failures.forget(session, name, address, before)
            return judged

        try:
            return in_one_commit(self._database, judge_and_forget)
        except NotProved as exc:
            # A name that nobody has is not written down: people type passwords there.
            who = () if exc.wrong in (Wrong.PERSON, Wrong.STEP) else (Participant("person", name, True),)
            refused = Happening(Event.SIGN_IN_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, (), exc.wrong)
            self._journal.record(refused)
            raise

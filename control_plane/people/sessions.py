"""Sessions of browsers as people see and end them."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import PersonSession
from control_plane.db.transactions import in_one_commit
from control_plane.people.accounts import SignedIn, valid_session
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused


class SessionUnknown(Refused):
    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id} that you could end")
        self.session_id = session_id


class Sessions:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def listed(self, person: str | None) -> tuple[dict[str, Json], ...]:
        """Return the sessions that go on, of one person or everybody, the newest first."""
        asked = select(PersonSession).where(valid_session(self._clock.now())).order_by(PersonSession.began.desc())
        if person is not None:
            asked = asked.where(PersonSession.person == person)
        with self._database() as session:
            return tuple(_json(row) for row in session.scalars(asked))

    def end(self, person: SignedIn, session_id: str, *, of_anybody: bool) -> None:
        """Have a session open nothing from the next request on. Raises SessionUnknown: also where it is another's."""

        def end(session: Session) -> None:
            row = session.get(PersonSession, session_id)
            if row is None or row.ended is not None or not (of_anybody or row.person == person.name):
                raise SessionUnknown(session_id)
            self._end(session, row, person.name, self._clock.now())

        in_one_commit(self._database, end)

    def end_all(self, person: SignedIn) -> int:
        """End every session of whoever asks, this one too, and return how many there were."""

        def end(session: Session) -> int:
            now = self._clock.now()
            rows = session.scalars(
                select(PersonSession).where(PersonSession.person == person.name, valid_session(now))
            ).all()
            for row in rows:
                self._end(session, row, person.name, now)
            return len(rows)

        return in_one_commit(self._database, end)

    def _end(self, session: Session, row: PersonSession, by: str, now: datetime) -> None:
        row.ended = now
        who, what = (
            (Participant("person", by, True),),
            (Subject("person", row.person), Subject("session", row.session_id)),
        )
        self._journal.append(session, Happening(Event.SESSION_ENDED, Action.EXECUTE, Outcome.SUCCESS, who, what))


def _json(row: PersonSession) -> dict[str, Json]:
    return {
        "session": row.session_id,
        "person": row.person,
        "how": row.how,
        "began": clocks.text(row.began),
        "used": clocks.text(row.used),
        "expires": clocks.text(row.expires),
    }

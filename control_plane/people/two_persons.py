"""What takes two persons: one asks, another one approves, and only then it is done, in the commit of the approval."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Person, TwoPersonRequest
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.people.decide import Permission, decide
from control_plane.people.ways_in import WayIn, given_lately, roles_taken_lately
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused

LIFE = timedelta(days=7)
_ID_BYTES = 4
_ALONE = "by the only administrator, alone"


class Journal(Protocol):
    def record(self, happening: Happening) -> None: ...

    def append(self, session: Session, happening: Happening) -> None: ...


class OnePerson(Refused):
    def __init__(self, person: str) -> None:
        super().__init__(
            f"this takes two persons, and nobody but {person} has an account here that may approve it; give another "
            "person an account first"
        )
        self.person = person


class RequestUnknown(Refused):
    def __init__(self, request_id: str) -> None:
        super().__init__(f"there is no request {request_id}")
        self.request_id = request_id


class AlreadyAsked(Refused):
    def __init__(self, request_id: str) -> None:
        super().__init__(f"request {request_id} asks for just this and is still open")
        self.request_id = request_id


class RequestOver(Refused):
    def __init__(self, request_id: str, why: str) -> None:
        super().__init__(f"request {request_id} cannot be decided: {why}")
        self.request_id, self.why = request_id, why


class OwnRequest(Refused):
    def __init__(self, request_id: str, person: str) -> None:
        super().__init__(f"{person} asked for {request_id} and cannot approve it; that takes another person")
        self.request_id, self.person = request_id, person


class PerhapsOne(Refused):
    """Two accounts, one of which somebody else got into lately."""

    def __init__(self, way: WayIn) -> None:
        super().__init__(
            f"{way.person} does not count as another person yet: {way}. That ends at {clocks.text(way.counts_again)}, "
            f"or when an administrator other than {way.given_by} says who {way.person} is: `leadglass-server person "
            f"vouch '{way.person}'`"
        )
        self.way = way


@dataclass(frozen=True)
class Request:
    request_id: str
    action: str
    subject: str
    reason: str
    asked_by: str
    asked: datetime
    expires: datetime
    decided: datetime | None

    @classmethod
    def of(cls, row: TwoPersonRequest) -> "Request":
        return cls(
            row.request_id, row.action, row.subject, row.reason, row.asked_by, row.asked, row.expires, row.decided
        )

    def json(self) -> dict[str, Json]:
        return {
            "request": self.request_id,
            "action": self.action,
            "subject": self.subject,
            "reason": self.reason,
            "asked_by": self.asked_by,
            "asked": clocks.text(self.asked),
            "expires": clocks.text(self.expires),
            "done": self.decided is not None,
        }


class TwoPersonAct(Protocol):
    """Something that two persons do together to one host, or about one person: `kind` says which."""

    @property
    def action(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def verify(self, session: Session, subject: str) -> None:
        """Raise what is in the way of it already, before anybody is asked."""

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Do it and record it within `session`. Raises what `verify` does."""

    def afterwards(self, subject: str) -> None:
        """Do what follows from it, once it is durable."""


def verify_decidable(request: Request, person: str, entitled: Sequence[str], now: datetime) -> None:
    """Raises RequestOver, OwnRequest: `person` cannot approve it now. `entitled` are those who may approve."""
    if request.decided is not None:
        raise RequestOver(request.request_id, "it has been already")
    if request.expires <= now:
        raise RequestOver(request.request_id, f"it ended at {clocks.text(request.expires)}; ask again")
    if request.asked_by not in entitled:
        raise RequestOver(request.request_id, f"{request.asked_by}, who asked, may not any more")
    if request.asked_by == person:
        raise OwnRequest(request.request_id, person)


class TwoPersons:
    def __init__(
        self, database: sessionmaker[Session], journal: Journal, clock: Clock, acts: Iterable[TwoPersonAct]
    ) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._acts = {act.action: act for act in acts}

    def ask(self, person: str, action: str, subject: str, reason: str) -> Request:
        """Raises OnePerson, AlreadyAsked, and what the act itself refuses. Every attempt leaves an audit record."""
        now = self._clock.now()
        request = Request(secrets.token_hex(_ID_BYTES), action, subject, reason, person, now, now + LIFE, None)
        happening = self._happening(Event.REQUEST_MADE, request, person)

        def work(session: Session) -> None:
            if set(_entitled(session)) <= {person}:
                raise OnePerson(person)
            for row in session.scalars(_open(now)):
                if (row.action, row.subject) == (action, subject):
                    raise AlreadyAsked(row.request_id)
            self._acts[action].verify(session, subject)
            session.add(
                TwoPersonRequest(
                    request_id=request.request_id, action=action, subject=subject, reason=reason, asked_by=person,
                    asked=now, expires=request.expires,
                )
            )  # fmt: skip
            self._journal.append(session, happening)

        self._recorded(happening, work)
        return request

    def ask_unless_alone(self, person: str, action: str, subject: str, reason: str) -> Request:
        """Do at once what takes two persons, where `person` is and lately was the only one who may approve; else ask.

        For what nobody is protected by who is not there. Raises what `ask` does.
        """
        now = self._clock.now()
        with snapshot(self._database) as session:
            is_alone = _is_alone(session, person, now)
        if not is_alone:
            return self.ask(person, action, subject, reason)
        request = Request(secrets.token_hex(_ID_BYTES), action, subject, reason, person, now, now, now)
        happening = replace(self._happening(Event.REQUEST_APPROVED, request, person), reason=_ALONE)

        def work(session: Session) -> None:
            if not _is_alone(session, person, now):
                raise RequestOver(request.request_id, "somebody else has come who may approve it; ask again")
            self._acts[action].verify(session, subject)
            self._journal.append(session, happening)
            self._acts[action].perform(session, request, person)

        self._recorded(happening, work)
        self._acts[action].afterwards(subject)
        return request

    def approve(self, person: str, request_id: str) -> Request:
        """Do what was asked for.

        Raises RequestUnknown, RequestOver, OwnRequest, PerhapsOne, and what the act itself refuses.
        """
        row = self._found(request_id)
        happening = self._happening(Event.REQUEST_APPROVED, row, person)

        def work(session: Session) -> None:
            request = self._decide(session, request_id, person, approved=True)
            self._journal.append(session, happening)
            self._acts[request.action].perform(session, request, person)

        self._recorded(happening, work)
        self._acts[row.action].afterwards(row.subject)
        return row

    def refuse(self, person: str, request_id: str) -> Request:
        """Close a request undone; whoever made it may take it back so. Raises RequestUnknown, RequestOver."""
        row = self._found(request_id)
        happening = self._happening(Event.REQUEST_REFUSED, row, person)

        def work(session: Session) -> None:
            self._decide(session, request_id, person, approved=False)
            self._journal.append(session, happening)

        self._recorded(happening, work)
        return row

    def open(self) -> list[Request]:
        with snapshot(self._database) as session:
            return [Request.of(row) for row in session.scalars(_open(self._clock.now()))]

    def not_yet_another(self) -> list[str]:
        """Say which of those who may approve do not count as another person yet."""
        with snapshot(self._database) as session:
            ways = [given_lately(session, person, self._clock.now()) for person in _entitled(session)]
        return [str(PerhapsOne(way)) for way in ways if way is not None]

    def _decide(self, session: Session, request_id: str, person: str, *, approved: bool) -> Request:
        row = session.get(TwoPersonRequest, request_id, with_for_update=True)
        if row is None:
            raise RequestUnknown(request_id)
        request, now = Request.of(row), self._clock.now()
        if approved:
            verify_decidable(request, person, _entitled(session), now)
            for one in (request.asked_by, person):
                if (way := given_lately(session, one, now)) is not None:
                    raise PerhapsOne(way)
        elif row.decided is not None:
            raise RequestOver(request_id, "it has been already")
        row.decided, row.decided_by, row.approved = now, person, approved
        return request

    def _found(self, request_id: str) -> Request:
        with snapshot(self._database) as session:
            row = session.get(TwoPersonRequest, request_id)
        if row is None:
            raise RequestUnknown(request_id)
        return Request.of(row)

    def _recorded(self, happening: Happening, work: Callable[[Session], None]) -> None:
        try:
            in_one_commit(self._database, work)
        except Refused as exc:
            self._journal.record(failure(happening, happening.event, exc))
            raise

    def _happening(self, event: Event, request: Request, person: str) -> Happening:
        who = [Participant("person", person, True)]
        if request.asked_by != person:
            who.append(Participant("person", request.asked_by, False))
        what = (
            Subject("request", request.request_id),
            Subject("act", request.action),
            Subject(self._acts[request.action].kind, request.subject),
        )
        private: dict[str, Json] = {"reason": request.reason}
        return Happening(event, Action.EXECUTE, Outcome.SUCCESS, tuple(who), what, private=private)


def _entitled(session: Session) -> list[str]:
    people = session.execute(select(Person.name, Person.role).where(Person.removed.is_(None)).order_by(Person.created))
    return [name for name, role in people if decide(role, Permission.REQUEST_DECIDE).allowed]


def _is_alone(session: Session, person: str, now: datetime) -> bool:
    """Return whether nobody else may approve, nor might until lately: whoever ends the others' accounts waits too."""
    return _entitled(session) == [person] and not any(
        decide(role, Permission.REQUEST_DECIDE).allowed for role in roles_taken_lately(session, now)
    )


def _open(now: datetime) -> Select[TwoPersonRequest]:
    undecided = TwoPersonRequest.decided.is_(None), TwoPersonRequest.expires > now
    return select(TwoPersonRequest).where(*undecided).order_by(TwoPersonRequest.asked)


def gaps(requests: Iterable[Request]) -> Iterator[str]:
    """Say what waits for a second person."""
    for request in requests:
        name, until = request.request_id, clocks.text(request.expires)
        yield (
            f"request {name} of {request.asked_by}: {request.action} of {request.subject} waits for another person "
            f"until {until}: `leadglass-server requests approve {name}`"
        )

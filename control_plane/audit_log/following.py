"""A live tail: whoever follows is told of each record once it is an entry of the log, a few people at a time.

That somebody begins to follow is a record; what they are told then is not one each, or it would never end.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event as Signal
from threading import Lock

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.shown import Showing
from control_plane.db.models import AuditRow
from control_plane.db.transactions import snapshot
from control_plane.tlog import rows
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused

MOST_FOLLOWERS = 3  # each may hold one of the door's threads
LONGEST = timedelta(hours=1)
_SILENT = timedelta(seconds=60)
_WAITS, _WAIT_S = 40, 0.25
_AT_ONCE = 200


class TooManyFollow(Refused):
    def __init__(self) -> None:
        super().__init__(f"{MOST_FOLLOWERS} follow the log already; ask again when one has ended, or use `audit find`")


class FollowingOver(Refused):
    def __init__(self) -> None:
        super().__init__("this is followed no more: it took an hour, was silent, or was somebody else's; begin again")


@dataclass(frozen=True)
class Told:
    """`after` is what to ask with next."""

    records: list[dict[str, Json]]
    after: int


@dataclass(frozen=True)
class _Follower:
    """`first` is the entry that it begins with: what was there before is asked for, and that is a record."""

    person: str
    first: int
    began: datetime
    asked: datetime
    question: int = 0


class Following:
    def __init__(
        self,
        database: sessionmaker[Session],
        journal: CentreJournal,
        clock: Clock,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._wait = wait or Signal().wait
        self._lock, self._followers = Lock(), dict[str, _Follower]()

    def begin(self, person: str) -> tuple[str, int]:
        """Return by what to follow from now on, once it is recorded, and after which entry. Raises TooManyFollow."""
        now, name = self._clock.now(), secrets.token_hex(16)
        with self._lock:
            self._followers = {one: by for one, by in self._followers.items() if not _is_over(by, now)}
            if len(self._followers) >= MOST_FOLLOWERS:
                raise TooManyFollow
            # Nobody has its name before this is recorded.
            self._followers[name] = _Follower(person, 0, now, now)
        who, what = (Participant("person", person, True),), (Subject("log", "follow"),)
        self._journal.record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, who, what))
        first = self._size()
        with self._lock:
            self._followers[name] = _Follower(person, first, now, now)
        return name, first

    def more(self, person: str, name: str, after: int) -> Told:
        """Return what was entered from entry `after` on, and since it began; wait some seconds where nothing was.

        A question ends the wait of the one before it, so that whoever follows holds one thread.

        Raises FollowingOver.
        """
        question, first = self._asks(person, name)
        after = max(after, first)
        for _ in range(_WAITS):
            if self._size() > after or not self._go_on(person, name, question):
                break
            self._wait(_WAIT_S)
        with snapshot(self._database) as session:
            new = select(AuditRow).where(AuditRow.entry >= after).order_by(AuditRow.entry).limit(_AT_ONCE)
            found, showing = session.scalars(new).all(), Showing(session)
            records: list[dict[str, Json]] = [{**showing.row(row), "entry": row.entry} for row in found]
        last = after if not found else (found[-1].entry or 0) + 1
        return Told(records, last)

    def _asks(self, person: str, name: str) -> tuple[int, int]:
        """Return the number of this question, and the entry that this follower begins with. Raises FollowingOver."""
        with self._lock:
            follower = self._held(person, name)
            self._followers[name] = replace(follower, asked=self._clock.now(), question=follower.question + 1)
            return follower.question + 1, follower.first

    def _go_on(self, person: str, name: str, question: int) -> bool:
        """Return whether nobody asked again meanwhile. Raises FollowingOver."""
        with self._lock:
            follower = self._held(person, name)
            self._followers[name] = replace(follower, asked=self._clock.now())
            return follower.question == question

    def _held(self, person: str, name: str) -> _Follower:
        follower = self._followers.get(name)
        if follower is None or follower.person != person or _is_over(follower, self._clock.now()):
            raise FollowingOver
        return follower

    def _size(self) -> int:
        with snapshot(self._database) as session:
            return rows.head(session)[0]


def _is_over(follower: _Follower, now: datetime) -> bool:
    return now - follower.asked > _SILENT or now - follower.began > LONGEST

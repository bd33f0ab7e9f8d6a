"""Group commit: what waits to be written while another commit goes to the disk is written together in the next one."""

from collections.abc import Callable
from threading import Event, Lock
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db import driver
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit
from shared.errors import IntegrityFailure, Refused, Unavailable

T = TypeVar("T")
# Who was answered is back within a millisecond or two; and all of it is no more than a few commits take.
_WITHIN_S, _MOST_LOOKS = 0.003, 5


class Gathered(Protocol):
    """What the members of a group do once for all of them, at its end."""

    def mark(self) -> Callable[[], None]:
        """Return what forgets all that is gathered from here on, since the member that gathered it is taken back."""

    def finish(self) -> None: ...


class GroupCommit:
    """Safe for several threads. They queue here fairly, where a database would have them poll for its lock.

    One of those who wait commits for all of them, and each is woken by itself: were they to wait for one lock, who is
    done already would get it behind who only came meanwhile, and be answered a commit later.

    Senders that are answered together come again together, one a little before the others. So whoever commits waits
    for as many as the last commit had, as long as one more comes `within_s`: a commit for one costs as much as for all.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        gather: Callable[[Session], Gathered],
        within_s: float = _WITHIN_S,
    ) -> None:
        self._database, self._gather, self._within_s = database, gather, within_s
        self._lock, self._is_committing = Lock(), False
        self._waiting, self._expected, self._are_complete = list[_Waiting](), 1, Event()

    def run(self, work: Callable[[Session], T]) -> T:
        """Do what `in_one_commit` does; what `work` raises takes back what it wrote, and nothing of the others."""
        mine, group = _Waiting(work), list[_Waiting]()
        try:
            if not self._leads_at_once(mine):
                mine.wait()
            if mine.leads:
                self._await_company()
                with self._lock:
                    group, self._waiting = self._waiting, []
                    self._expected = len(group)
                self._commit(group)
        finally:
            self._leave(mine)
            for one in group:
                one.wake()
        result: T = mine.outcome()
        return result

    def _leads_at_once(self, mine: "_Waiting") -> bool:
        with self._lock:
            self._waiting.append(mine)
            if len(self._waiting) >= self._expected:
                self._are_complete.set()
            mine.leads, self._is_committing = not self._is_committing, True
            return mine.leads

    def _await_company(self) -> None:
        """Return once as many wait as were committed the last time, or no more come."""
        came = 0
        for _ in range(_MOST_LOOKS):
            with self._lock:
                before, came = came, len(self._waiting)
                if came >= self._expected or came == before:
                    return
                self._are_complete.clear()
            self._are_complete.wait(self._within_s)

    def _leave(self, mine: "_Waiting") -> None:
        """Have whoever waits longest commit next. Also where `mine` was stopped, which would hold up the others."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            if not mine.leads:
                return
            self._is_committing = bool(self._waiting)
            for following in self._waiting[:1]:
                following.leads = True
                following.wake()

    def _commit(self, group: "list[_Waiting]") -> None:
        if len(group) > 1:
            at = list[_Waiting]()
            try:
                in_one_commit(self._database, lambda session: self._attempt(session, group, at))
            except Unavailable:
                self._without(at, group)
                return
            except Exception:  # noqa: BLE001, S110 (whosever it is, the others are tried without it)
                pass
            else:
                for one in group:
                    one.is_done = True
                return
        for one in group:
            one.alone(self._database)

    def _attempt(self, session: Session, group: "list[_Waiting]", at: "list[_Waiting]") -> None:
        """`at` holds whose work is being done: one's, then what all of them gathered, and nobody's when it is done."""
        gathered = self._gather(session)
        for one in group:
            at[:] = [one]
            one.attempt(session, gathered)
        at[:] = group
        gathered.finish()
        at.clear()

    def _without(self, at: "list[_Waiting]", group: "list[_Waiting]") -> None:
        """Try those alone in whose work the database failed: it may refuse just that. Where it fails, all fail."""
        for one in at:
            one.alone(self._database)
        if at:
            self._commit([one for one in group if one not in at])
            return
        for one in group:
            one.fail()


class _Waiting:
    def __init__(self, work: Callable[[Session], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: Exception | None = None
        self.is_done = self.leads = False
        self._asleep = Lock()
        self._asleep.acquire()

    def wait(self) -> None:
        """Return once it was done or stopped, or is to lead."""
        self._asleep.acquire()

    def wake(self) -> None:
        self._asleep.release()

    def attempt(self, session: Session, gathered: Gathered) -> None:
        """Run within a transaction that others are in too."""
        self._result, self._error = None, None
        take_back = gathered.mark()
        driver.run(session, "SAVEPOINT member")
        try:
            self._result = self._work(session)
            session.flush()
        except (Refused, IntegrityFailure) as exc:
            self._error = exc
            # What the session remembers may be of what is taken back.
            session.expunge_all()
            driver.run(session, "ROLLBACK TO SAVEPOINT member")
            take_back()
        driver.run(session, "RELEASE SAVEPOINT member")

    def alone(self, database: sessionmaker[Session]) -> None:
        self._error = None
        try:
            self._result = in_one_commit(database, self._work)
        except Exception as exc:  # noqa: BLE001 (it is raised where it was asked for)
            self._error = exc
        self.is_done = True

    def fail(self) -> None:
        # An error of its own: threads that raise one together would write over each other's traceback.
        self._error, self.is_done = DatabaseUnavailable(), True

    def outcome(self) -> Any:
        if self._error is not None:
            try:
                raise self._error
            finally:
                # By its traceback an error holds this, and all that was to be written.
                self._error = None
        if not self.is_done:
            raise DatabaseUnavailable("whoever was committing this was stopped")
        return self._result

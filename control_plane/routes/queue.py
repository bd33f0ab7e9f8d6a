"""The queues of all routes as rows: what waits where, in which order, what holds it, and the evidence of its arrival.

Whatever changes a row is one commit with the audit record of it, so the log and the queue cannot tell two stories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import CursorResult, Select, Update, and_, func, or_, select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import RouteItem, RouteState
from control_plane.db.transactions import in_one_commit, snapshot
from shared.audit.events import Happening
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import ObjectId
from shared.routes.decide import IMAGE_PAUSES
from shared.routes.queue import Item, Pause, RouteUnknown, State

T = TypeVar("T")
MOST_AGAIN = 10_000  # images that one word queues again


@dataclass(frozen=True)
class Delivered:
    """Which of the images that a route has delivered: just these, or those of a time of which `until` is no part."""

    objects: tuple[ObjectId, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


class NotDelivered(Refused):
    def __init__(self, route: str, object_id: ObjectId) -> None:
        super().__init__(
            f"object {object_id} was not delivered from here on route {route}, so nothing is sent again; what a host "
            "sends by itself cannot be"
        )
        self.route, self.object_id = route, object_id


class TooManyAgain(Refused):
    def __init__(self, route: str) -> None:
        super().__init__(f"route {route} has delivered more than {MOST_AGAIN} images in that time; ask for less of it")
        self.route = route


class RouteQueue:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def add(self, session: Session, object_id: ObjectId, routes: Sequence[str]) -> None:
        """Queue an object on `routes` in the caller's commit, the one that stores it."""
        last = session.scalar(select(func.max(RouteItem.number))) or 0
        for number, route in enumerate(routes, last + 1):
            session.add(
                RouteItem(
                    object_id=str(object_id), route=route, number=number, state=State.WAITING, queued=self._clock.now(),
                    tries=0, next_try=None, why="", delivered=None, evidence="",
                )
            )  # fmt: skip

    def next(self, route: str) -> Item | None:
        """Return the oldest item that is due, None where none is."""
        return next(iter(self.due(route, 1)), None)

    def due(self, route: str, most: int) -> tuple[Item, ...]:
        with snapshot(self._database) as session:
            return tuple(_item(row) for row in session.scalars(self._due(route).limit(most)))

    def _due(self, route: str) -> Select[RouteItem]:
        now = self._clock.now()
        # A pause that ends later than any begins is of a clock that has since been put back.
        come = or_(RouteItem.next_try <= now, RouteItem.next_try > now + IMAGE_PAUSES[1])
        mine = and_(RouteItem.route == route, or_(
            and_(RouteItem.state == State.WAITING, or_(RouteItem.next_try.is_(None), come)),
            and_(RouteItem.state == State.REFUSED, come),
        ))  # fmt: skip
        return select(RouteItem).where(mine).order_by(RouteItem.number)

    def next_try(self, route: str) -> datetime | None:
        """Return when the first item becomes due that is not, None where that takes an event."""
        with snapshot(self._database) as session:
            return session.scalar(
                select(func.min(RouteItem.next_try)).where(
                    RouteItem.route == route, RouteItem.state.in_([State.WAITING, State.REFUSED])
                )
            )

    def pause(self, route: str) -> Pause:
        with snapshot(self._database) as session:
            row = session.get(RouteState, route)
        return Pause(row.failures, row.next_try, row.why) if row else Pause(0, None, "")

    def open_routes(self) -> tuple[str, ...]:
        """Return every route that has an item which is not delivered."""
        with snapshot(self._database) as session:
            named = select(RouteItem.route).where(RouteItem.state != State.DELIVERED).distinct()
            return tuple(session.scalars(named.order_by(RouteItem.route)))

    # ---- one attempt: it begins, and has one outcome

    def begin(self, item: Item) -> None:
        self._commit(lambda session: _set(session, item, state=State.SENDING))

    def put_back(self, item: Item) -> None:
        """The attempt was ours to end: nothing is known about the archive or the image."""
        self._commit(lambda session: _set(session, item, state=State.WAITING))

    def delivered(self, item: Item, evidence: str, why: str, happening: Happening) -> None:
        """The archive has it. `why` is what it remarked, empty for nothing."""
        now = self._clock.now()

        def work(session: Session) -> None:
            _set(session, item, state=State.DELIVERED, next_try=None, why=why, delivered=now, evidence=evidence)
            state = _route(session, item.route)
            state.failures, state.failing_since, state.next_try, state.why, state.delivered = 0, None, None, "", now
            self._journal.append(session, happening)

        self._commit(work)

    def failed(
        self,
        item: Item,
        *,
        state: State,
        tries: int,
        why: str,
        next_try: datetime | None,
        route_why: str,
        route_rests: timedelta | None,
        happening: Happening | None,
    ) -> None:
        """It went wrong. `route_rests` pauses the whole route because of `route_why`, None leaves it as it is."""
        now = self._clock.now()

        def work(session: Session) -> None:
            _set(session, item, state=state, tries=tries, why=why, next_try=next_try)
            if route_rests is not None:
                row = _route(session, item.route)
                row.failures, row.why, row.next_try = row.failures + 1, route_why, now + route_rests
                row.failing_since = row.failing_since or now
            if happening is not None:
                self._journal.append(session, happening)

        self._commit(work)

    # ---- what happens to many at once

    def recover(self, route: str) -> int:
        """Put back what a stop cut off; return how many. The archive may get these twice, under the same instance."""
        cut_off = update(RouteItem).where(RouteItem.route == route, RouteItem.state == State.SENDING)
        return self._updated(cut_off.values(state=State.WAITING.value))

    def settle(self, known: Sequence[str]) -> None:
        """Mark what waits for a route that policy no longer has, and let go on what waits for one that it has again."""
        unknown = (RouteItem.state == State.WAITING, RouteItem.route.not_in(known))
        again = (RouteItem.state == State.UNKNOWN_ROUTE, RouteItem.route.in_(known))
        why = "policy has no route of this name"
        self._updated(update(RouteItem).where(*unknown).values(state=State.UNKNOWN_ROUTE.value, why=why))
        self._updated(update(RouteItem).where(*again).values(state=State.WAITING.value, why=""))

    def resume(self, route: str | None = None) -> None:
        """Try a route at once that rests, or every one: policy may have named another peer."""
        resting = update(RouteState).where(RouteState.next_try.is_not(None))
        self._updated((resting if route is None else resting.where(RouteState.route == route)).values(next_try=None))

    def retry(self, route: str, happening: Callable[[int], Happening]) -> int:
        """Let everything that was refused on a route try again now; return how many. Raises RouteUnknown."""

        def work(session: Session) -> int:
            _verify_known(session, route)
            refused = update(RouteItem).where(RouteItem.route == route, RouteItem.state == State.REFUSED)
            count = len(
                session.scalars(
                    refused.values(state=State.WAITING.value, tries=0, next_try=None).returning(RouteItem.number)
                ).all()
            )
            _route(session, route).next_try = None
            self._journal.append(session, happening(count))
            return count

        return self._commit(work)

    def again(self, route: str, which: Delivered, happening: Callable[[int], Happening]) -> int:
        """Queue once more, behind whatever waits, what was delivered on a route; return how many.

        Raises RouteUnknown, NotDelivered, TooManyAgain; then nothing is.
        """

        def work(session: Session) -> int:
            _verify_known(session, route)
            rows = session.scalars(_delivered(route, which).order_by(RouteItem.number).limit(MOST_AGAIN + 1)).all()
            if len(rows) > MOST_AGAIN:
                raise TooManyAgain(route)
            found = {row.object_id for row in rows}
            for object_id in which.objects:
                if str(object_id) not in found:
                    raise NotDelivered(route, object_id)
            last = session.scalar(select(func.max(RouteItem.number))) or 0
            for number, row in enumerate(rows, last + 1):
                row.number, row.state, row.queued = number, State.WAITING, self._clock.now()
                row.tries, row.next_try, row.why, row.delivered, row.evidence = 0, None, "", None, ""
            self._journal.append(session, happening(len(rows)))
            return len(rows)

        return self._commit(work)

    def _updated(self, statement: Update) -> int:
        def work(session: Session) -> int:
            result = session.execute(statement)
            assert isinstance(result, CursorResult)  # noqa: S101 (an UPDATE has no other)
            return result.rowcount

        return self._commit(work)

    def _commit(self, work: Callable[[Session], T]) -> T:
        return in_one_commit(self._database, work)


def _item(row: RouteItem) -> Item:
    return Item(ObjectId.parse(row.object_id), row.route, row.number, State(row.state), row.tries, row.why)


def _verify_known(session: Session, route: str) -> None:
    if session.scalar(select(RouteItem.number).where(RouteItem.route == route).limit(1)) is None:
        raise RouteUnknown(route)


def _delivered(route: str, which: Delivered) -> Select[RouteItem]:
    rows = select(RouteItem).where(RouteItem.route == route, RouteItem.state == State.DELIVERED)
    if which.objects:
        return rows.where(RouteItem.object_id.in_(list(map(str, which.objects))))
    if which.since is not None:
        rows = rows.where(RouteItem.delivered >= which.since)
    return rows if which.until is None else rows.where(RouteItem.delivered < which.until)


def _set(session: Session, item: Item, **values: object) -> None:
    row = session.get_one(RouteItem, (str(item.object_id), item.route))
    for name, value in values.items():
        setattr(row, name, value)


def _route(session: Session, route: str) -> RouteState:
    row = session.get(RouteState, route)
    if row is None:
        row = RouteState(route=route, failures=0, failing_since=None, next_try=None, why="", delivered=None)
        session.add(row)
    return row

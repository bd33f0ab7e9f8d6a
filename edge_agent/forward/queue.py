"""What this host owes archives, as rows: one for each object and route, and one box for each object.

Whatever changes a row is one transaction with the audit record of it. A box goes in the same transaction as the
evidence that the last of its archives has the image; how far it is gone from the disk is in docs/threat-model.md.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from sqlite3 import Connection
from typing import Any

from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import MAX_ERROR_CHARS, RouteState
from shared.identity import HostId, ObjectId
from shared.policy.document import PolicyDocument
from shared.policy.routes import MAX_ROUTES, Via
from shared.routes.decide import IMAGE_PAUSES
from shared.routes.queue import Item, Pause, RouteUnknown, State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS forward_box (object TEXT PRIMARY KEY, box BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS forward (
    number INTEGER PRIMARY KEY, object TEXT NOT NULL, route TEXT NOT NULL, state TEXT NOT NULL, queued TEXT NOT NULL,
    tries INTEGER NOT NULL, next_try TEXT, why TEXT NOT NULL, delivered TEXT, evidence TEXT NOT NULL,
    UNIQUE (object, route)
) STRICT;
CREATE INDEX IF NOT EXISTS forward_owed ON forward (route, number) WHERE state <> 'delivered';
CREATE TABLE IF NOT EXISTS forward_route (
    route TEXT PRIMARY KEY, failures INTEGER NOT NULL, failing_since TEXT, next_try TEXT, why TEXT NOT NULL,
    delivered TEXT
) STRICT;
"""
# Every query says `state <> 'delivered'`, because SQLite takes the index of what is owed for nothing less.
UNKNOWN_ROUTE = "policy has no route of this name"
_OWED = "SELECT 1 FROM forward WHERE state <> 'delivered' AND object = ?"


@dataclass(frozen=True)
class Forward:
    """One image that this host owes archives: its routes here, and its data key in a box."""

    object_id: ObjectId
    routes: tuple[str, ...]
    box: bytes


class NoBox(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is owed to an archive and its second wrap is gone")
        self.object_id = object_id


class NothingOwed(Refused):
    def __init__(self, route: str) -> None:
        super().__init__(f"nothing of that waits here for route {route}")
        self.route = route


class ForwardQueue:
    """For any thread. `on_added` is called within the transaction of a capture; whoever looks then waits for its end.

    Every method raises DatabaseUnavailable, DatabaseDamaged.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        host_id: HostId,
        clock: Clock,
        on_added: Callable[[], None] = lambda: None,
    ) -> None:
        self._database, self._journal, self._clock, self._on_added = database, journal, clock, on_added
        self._host = Participant("host", str(host_id), True)
        self._wakes: list[Callable[[], None]] = []
        self._deleted = threading.Event()
        self._deleted.set()  # what an agent of before deleted may still stand in the log
        database.create(_SCHEMA)

    # ---- for capture and spool

    def add(self, connection: Connection, forward: Forward) -> None:
        now, name = clocks.text(self._clock.now()), str(forward.object_id)
        connection.execute("INSERT INTO forward_box VALUES (?, ?)", (name, forward.box))
        connection.executemany(
            "INSERT INTO forward (object, route, state, queued, tries, why, evidence) VALUES (?, ?, ?, ?, 0, '', '')",
            [(name, route, State.WAITING.value, now) for route in forward.routes],
        )
        self._on_added()

    def holds(self, object_id: ObjectId) -> bool:
        return bool(self._database.read(_OWED, (str(object_id),)))

    def on_let_go(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def announce(self) -> None:
        for wake in self._wakes:
            wake()

    def box(self, object_id: ObjectId) -> bytes:
        """Raises NoBox."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT box FROM forward_box WHERE object = ?", (str(object_id),)).fetchone()
        if row is None:
            raise NoBox(object_id)
        return bytes(row[0])

    # ---- what is due

    def next(self, route: str) -> Item | None:
        return next(iter(self.due(route, 1)), None)

    def due(self, route: str, most: int) -> tuple[Item, ...]:
        now = self._clock.now()
        # A pause that ends later than any begins is of a clock that has since been put back.
        query = (
            "SELECT object, route, number, state, tries, why FROM forward WHERE state <> 'delivered' "
            "AND route = :route AND ((state = 'waiting' AND next_try IS NULL) "
            "OR (state IN ('waiting', 'refused') AND (next_try <= :now OR next_try > :latest))) "
            "ORDER BY number LIMIT :most"
        )
        values = {
            "route": route,
            "now": clocks.text(now),
            "latest": clocks.text(now + IMAGE_PAUSES[1]),
            "most": most,
        }
        with self._database.transaction() as connection:
            return tuple(_item(row) for row in connection.execute(query, values).fetchall())

    def next_try(self, route: str) -> datetime | None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT min(next_try) FROM forward WHERE state <> 'delivered' AND route = ? "
                "AND state IN ('waiting', 'refused')",
                (route,),
            ).fetchone()
        return _instant(row[0])

    def pause(self, route: str) -> Pause:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT failures, next_try, why FROM forward_route WHERE route = ?", (route,)
            ).fetchone()
        return Pause(row[0], _instant(row[1]), row[2]) if row else Pause(0, None, "")

    def owed_routes(self) -> tuple[str, ...]:
        """Return every route that has an image which its archive does not have."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT DISTINCT route FROM forward WHERE state <> 'delivered' ORDER BY route")
            return tuple(route for (route,) in rows.fetchall())

    # ---- one attempt: it begins, and has one outcome

    def begin(self, item: Item) -> None:
        self._set_state(item, State.SENDING)

    def put_back(self, item: Item) -> None:
        self._set_state(item, State.WAITING)

    def delivered(self, item: Item, evidence: str, why: str, happening: Happening) -> None:
        """The archive has it, and where it was the last one, nothing here opens the image any more."""
        now = clocks.text(self._clock.now())
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE forward SET state = 'delivered', next_try = NULL, why = ?, delivered = ?, evidence = ? "
                "WHERE object = ? AND route = ?",
                (why, now, evidence, str(item.object_id), item.route),
            )
            connection.execute(
                "INSERT INTO forward_route VALUES (:route, 0, NULL, NULL, '', :now) ON CONFLICT DO UPDATE "
                "SET failures = 0, failing_since = NULL, next_try = NULL, why = '', delivered = :now",
                {"route": item.route, "now": now},
            )
            self._journal.record(happening)
            let_go = self._let_go(connection, str(item.object_id))
        if let_go:
            self.announce()

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
        now = self._clock.now()
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE forward SET state = ?, tries = ?, why = ?, next_try = ? WHERE object = ? AND route = ?",
                (state.value, tries, why, _text(next_try), str(item.object_id), item.route),
            )
            if route_rests is not None:
                connection.execute(
                    "INSERT INTO forward_route VALUES (:route, 1, :now, :next, :why, NULL) ON CONFLICT DO UPDATE "
                    "SET failures = failures + 1, failing_since = coalesce(failing_since, :now), next_try = :next, "
                    "why = :why",
                    {
                        "route": item.route,
                        "now": clocks.text(now),
                        "next": clocks.text(now + route_rests),
                        "why": route_why,
                    },
                )
            if happening is not None:
                self._journal.record(happening)

    # ---- what happens to many at once

    def recover(self, route: str) -> None:
        """Put back what a stop cut off. The archive may get these twice, under the same instance."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE forward SET state = 'waiting' WHERE state <> 'delivered' AND route = ? AND state = 'sending'",
                (route,),
            )

    def settle(self, known: Sequence[str]) -> None:
        """Hold what waits for a route that policy no longer has, with a record of it; let go on what it has again."""
        names = (json.dumps(list(known)),)
        with self._database.transaction() as connection:
            lost = connection.execute(
                "SELECT route, count(*) FROM forward WHERE state <> 'delivered' AND state IN ('waiting', 'refused') "
                "AND route NOT IN (SELECT value FROM json_each(?)) GROUP BY route",
                names,
            ).fetchall()
            for route, count in lost:
                connection.execute(
                    "UPDATE forward SET state = 'unknown-route', why = ?, next_try = NULL "
                    "WHERE state <> 'delivered' AND state IN ('waiting', 'refused') AND route = ?",
                    (UNKNOWN_ROUTE, route),
                )
                reason = f"{UNKNOWN_ROUTE}; {count} images wait on this host until a person decides"
                what = (Subject("route", route),)
                self._journal.record(
                    Happening(Event.ROUTE_FAILED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, (self._host,), what, reason)
                )
            connection.execute(
                "UPDATE forward SET state = 'waiting', why = '', tries = 0 WHERE state <> 'delivered' "
                "AND state = 'unknown-route' AND route IN (SELECT value FROM json_each(?))",
                names,
            )

    def resume(self, route: str | None = None) -> None:
        """Try a route at once that rests, or every one: policy may have named another peer."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE forward_route SET next_try = NULL WHERE next_try IS NOT NULL AND route = coalesce(?, route)",
                (route,),
            )

    def retry(self, route: str, person: str) -> int:
        """Let everything that was refused on a route try again now; return how many. Raises RouteUnknown."""
        with self._database.transaction() as connection:
            if connection.execute("SELECT 1 FROM forward WHERE route = ? LIMIT 1", (route,)).fetchone() is None:
                raise RouteUnknown(route)
            count = connection.execute(
                "UPDATE forward SET state = 'waiting', tries = 0, next_try = NULL "
                "WHERE state <> 'delivered' AND route = ? AND state = 'refused'",
                (route,),
            ).rowcount
            connection.execute("UPDATE forward_route SET next_try = NULL WHERE route = ?", (route,))
            who, what = (Participant("person", person, True), self._host), (Subject("route", route),)
            self._journal.record(
                Happening(Event.ROUTE_RETRIED, Action.EXECUTE, Outcome.SUCCESS, who, what, f"{count} images")
            )
        return count

    def drop(self, route: str, object_id: ObjectId | None, person: str, reason: str) -> int:
        """Owe an archive one image, or all that wait for it, no longer; return how many.

        The vault has them or gets them as before; one that is on its way at this moment may still arrive. `reason` is
        sealed, because people write names into reasons. Raises NothingOwed.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT object FROM forward WHERE state <> 'delivered' AND route = ? AND coalesce(object = ?, 1) "
                "ORDER BY number",
                (route, str(object_id) if object_id else None),
            ).fetchall()
            if not rows:
                raise NothingOwed(route)
            for (name,) in rows:
                connection.execute("DELETE FROM forward WHERE object = ? AND route = ?", (name, route))
                self._let_go(connection, name)
                who = (Participant("person", person, True), self._host)
                what = (Subject("object", name), Subject("route", route))
                private: dict[str, Json] = {"reason": reason}
                self._journal.record(
                    Happening(Event.ROUTE_DROPPED, Action.DELETE, Outcome.SUCCESS, who, what, private=private)
                )
        self.announce()
        return len(rows)

    def tidy(self) -> None:
        """See to it that deleted boxes stand in no page of the database's log either."""
        if not self._deleted.is_set():
            return
        # Noted first: what is deleted from here on is the next call's.
        self._deleted.clear()
        emptied = False
        try:
            emptied = self._database.empty_log()
        finally:
            if not emptied:
                self._deleted.set()

    # ---- for the status

    def openable(self) -> int:
        """Return how many images the forwarding key opens."""
        with self._database.transaction() as connection:
            return int(connection.execute("SELECT count(*) FROM forward_box").fetchone()[0])

    def states(self, policy: PolicyDocument | None) -> tuple[RouteState, ...]:
        """Return how the routes stand that policy serves by way of its hosts, and every other that is owed images."""
        ours = [route.name for route in policy.routes if route.via is Via.HOST] if policy else []
        with self._database.transaction() as connection:
            return read_routes(connection, ours)

    def _set_state(self, item: Item, state: State) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE forward SET state = ? WHERE object = ? AND route = ?",
                (state.value, str(item.object_id), item.route),
            )

    def _let_go(self, connection: Connection, name: str) -> bool:
        if _is_owed(connection, name):
            return False
        self._deleted.set()
        return connection.execute("DELETE FROM forward_box WHERE object = ?", (name,)).rowcount > 0


def read_routes(connection: Connection, routes: Sequence[str] = ()) -> tuple[RouteState, ...]:
    owed = dict(
        connection.execute("SELECT route, count(*) FROM forward WHERE state <> 'delivered' GROUP BY route").fetchall()
    )
    names = list(dict.fromkeys((*sorted(owed, key=lambda name: (-owed[name], name)), *routes)))[:MAX_ROUTES]
    return tuple(RouteState(name, owed.get(name, 0), _error(connection, name)) for name in sorted(names))


def _error(connection: Connection, route: str) -> str:
    row = connection.execute("SELECT why FROM forward_route WHERE route = ?", (route,)).fetchone()
    if row is None or not row[0]:
        row = connection.execute(
            "SELECT why FROM forward WHERE state <> 'delivered' AND route = ? AND why <> '' "
            "GROUP BY why ORDER BY count(*) DESC LIMIT 1",
            (route,),
        ).fetchone()
    return str(row[0])[:MAX_ERROR_CHARS] if row else ""


def _is_owed(connection: Connection, name: str) -> bool:
    return connection.execute(_OWED, (name,)).fetchone() is not None


def _item(row: tuple[Any, ...]) -> Item:
    name, route, number, state, tries, why = row
    return Item(ObjectId.parse(name), route, number, State(state), tries, why)


def _instant(value: str | None) -> datetime | None:
    return clocks.parse(value) if value else None


def _text(instant: datetime | None) -> str | None:
    return clocks.text(instant) if instant else None

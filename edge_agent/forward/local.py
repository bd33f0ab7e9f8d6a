"""What `leadglass-agent forward` shows and does: from the folder alone, whether or not an agent is running in it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass

from edge_agent.beside import opened
from edge_agent.config import AgentFolder, load_enrolment
from edge_agent.database import DatabaseUnavailable
from edge_agent.forward.queue import ForwardQueue
from shared.canonical import Json
from shared.clock import SystemClock
from shared.errors import Refused


class NothingForwarded(Refused):
    def __init__(self) -> None:
        super().__init__("no image ever waited here for an archive")


@dataclass(frozen=True)
class OwedRow:
    """An image that its archive does not have. Times are RFC 3339; `next_try` is None where that takes an event."""

    object: str
    route: str
    state: str
    queued: str
    tries: int
    next_try: str | None
    why: str


@dataclass(frozen=True)
class RouteRow:
    """How a route went on its last attempts; `why` is empty where the last one was good."""

    route: str
    failing_since: str | None
    next_try: str | None
    why: str
    last_delivered: str | None
    delivered: int


@dataclass(frozen=True)
class Listing:
    openable_here: int
    routes: tuple[RouteRow, ...]
    owed: tuple[OwedRow, ...]

    def json(self) -> dict[str, Json]:
        return {
            "openable_here": self.openable_here,
            "routes": [asdict(route) for route in self.routes],
            "owed": [asdict(row) for row in self.owed],
        }


def read_listing(folder: AgentFolder) -> Listing:
    """Return everything that waits here for an archive, oldest first. Raises NotEnrolled, DatabaseUnavailable."""
    load_enrolment(folder)
    if not folder.database.exists():
        return Listing(0, (), ())
    try:
        with closing(sqlite3.connect(f"{folder.database.as_uri()}?mode=ro", uri=True)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'forward'").fetchone():
                return Listing(0, (), ())
            (openable,) = connection.execute("SELECT count(*) FROM forward_box").fetchone()
            routes = connection.execute(
                "SELECT named.route, failing_since, next_try, coalesce(why, ''), delivered, "
                "(SELECT count(*) FROM forward WHERE forward.route = named.route AND state = 'delivered') "
                "FROM (SELECT route FROM forward UNION SELECT route FROM forward_route) AS named "
                "LEFT JOIN forward_route USING (route) ORDER BY named.route"
            ).fetchall()
            owed = connection.execute(
                "SELECT object, route, state, queued, tries, next_try, why FROM forward WHERE state <> 'delivered' "
                "ORDER BY number"
            ).fetchall()
    except sqlite3.Error as exc:
        raise DatabaseUnavailable(str(exc)) from exc
    return Listing(openable, tuple(RouteRow(*row) for row in routes), tuple(OwedRow(*row) for row in owed))


@contextmanager
def opened_queue(folder: AgentFolder) -> Iterator[ForwardQueue]:
    """Yield the queue for a person's command; what they do is recorded in this host's journal.

    Raises NotEnrolled, NothingForwarded, DatabaseUnavailable, DatabaseDamaged.
    """
    load_enrolment(folder)
    if not folder.database.exists():
        raise NothingForwarded
    clock = SystemClock()
    with opened(folder, clock) as beside:
        queue = ForwardQueue(beside.database, beside.journal, beside.enrolment.config.host_id, clock)
        yield queue
        queue.tidy()

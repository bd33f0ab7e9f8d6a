"""Appends records to a log in a process of its own, and says each one's name once it is durable."""

from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from control_plane.db.transactions import DatabaseUnavailable
from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.database import DatabaseUnavailable as HostsDatabaseUnavailable
from shared.audit.events import Action, Event, Happening, Outcome, Subject
from shared.clock import SystemClock
from tests.control_plane.vault.bench import Bench
from tests.shared import made

HOST, CENTRE = "host", "centre"


def hosts_journal(folder: Path) -> Journal:
    return Journal(Database(folder / "agent.sqlite"), made.HOST, key=lambda: None, clock=SystemClock())


def append(side: str, folder: Path, name: str, told: Connection, ahead: int = 0) -> None:
    """Go on without end; what is told last is what stopped it.

    `ahead` is of how many it says so before that is true, which is what the tests have to find.
    """
    record: Callable[[Happening], object]
    record = hosts_journal(folder).record if side == HOST else Bench(folder).journal.record
    try:
        for number in count():
            what = (Subject("thing", f"{name}-{number}"),)
            record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, (), what))
            told.send(f"{name}-{number + ahead}")
    except (DatabaseUnavailable, HostsDatabaseUnavailable) as exc:
        told.send(f"stopped: {exc}")

"""Appends records to a log from a process of its own, and says each one's name once it is durable.

python -m tests.faults.journaling host|centre FOLDER NAME [AHEAD]     (without end; the last line is what stopped it)

AHEAD is of how many it says so before that is true, which is what the tests have to find.
"""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from control_plane.db.transactions import DatabaseUnavailable
from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.database import DatabaseUnavailable as HostsDatabaseUnavailable
from shared.audit.record import Action, Event, Happening, Outcome, Subject
from shared.clock import SystemClock
from tests.control_plane.vault.bench import Bench
from tests.shared import made

HOST, CENTRE = "host", "centre"


def hosts_journal(folder: Path) -> Journal:
    return Journal(Database(folder / "agent.sqlite"), made.HOST, key=lambda: None, clock=SystemClock())


def main(side: str, folder: Path, name: str, ahead: int = 0) -> None:
    record: Callable[[Happening], object]
    record = hosts_journal(folder).record if side == HOST else Bench(folder).journal.record
    try:
        for number in count():
            what = (Subject("thing", f"{name}-{number}"),)
            record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, (), what))
            print(f"{name}-{number + ahead}", flush=True)
    except (DatabaseUnavailable, HostsDatabaseUnavailable) as exc:
        print(f"stopped: {exc}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))

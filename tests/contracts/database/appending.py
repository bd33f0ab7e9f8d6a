"""Appends records to the centre's journal from a process of its own.

python -m tests.contracts.database.appending FOLDER URL COUNT      (prints the number of each once it is durable)
"""

import sys
from pathlib import Path

from shared.audit.events import Action, Event, Happening, Outcome, Subject
from tests.control_plane.vault.bench import Bench


def main(folder: Path, url: str, count: int) -> None:
    bench = Bench(folder, url=url)
    for number in range(count):
        what = (Subject("thing", f"{folder.name}-{number}"),)
        bench.journal.record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, (), what))
        print(f"{folder.name}-{number}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""The agent with one of its parts replaced: what a fault test must go red for, or a limit that a test can wait for.

Whole, it is the agent of a small disk: it writes one segment in advance.

python -m tests.faults.standin PART run --data DIR --dicom-port 0 --ready-file FILE
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_agent.agent import Agent, Settings, locked
from edge_agent.capture.listener import Address
from edge_agent.capture.pipeline import CapturePipeline, ImageHeader
from edge_agent.config import AgentFolder
from edge_agent.deliver.receipts import Receipts
from edge_agent.log import JsonLog
from shared.clock import Clock, SystemClock
from shared.identity import ObjectId
from tests.faults import inside

# Names a file that holds how many seconds the agent's clock is ahead.
OFFSET_FILE = "LEADGLASS_TEST_CLOCK_OFFSET"
SOON_S, IMPATIENT_S, ENDLESS_S = 0.3, 1.0, 3600.0


class OffsetClock:
    """The machine's clock, set wrong by as much as a file says."""

    def __init__(self, file: Path) -> None:
        self._file, self._real = file, SystemClock()

    def now(self) -> datetime:
        return self._real.now() + timedelta(seconds=float(self._file.read_text()))


class EagerPipeline:
    """Says that an image is safe, and begins only then, after `later_s`, to make it so."""

    def __init__(self, real: CapturePipeline, later_s: float) -> None:
        self._real, self.examination, self._later_s = real, real.examination, later_s

    @contextmanager
    def begin(self, header: ImageHeader) -> Iterator[Any]:
        gathered = bytearray()

        def later() -> None:
            with self._real.begin(header) as capture:
                capture.update(memoryview(gathered))
                capture.finish()

        def finish(file_sha256: bytes | None = None) -> ObjectId:
            threading.Timer(self._later_s, later).start()
            return ObjectId(bytes(16))

        yield SimpleNamespace(update=gathered.extend, finish=finish, dataset_bytes=0)


class Credulous(Receipts):
    """Holds that the vault has whatever one asks about."""

    def holds(self, object_id: ObjectId) -> bool:
        return True


PARTS: dict[str, Callable[[Agent], None]] = {
    "whole": lambda agent: None,
    "eager": lambda agent: inside.give_pipeline(agent, lambda real: EagerPipeline(real, SOON_S)),
    "eager and slow": lambda agent: inside.give_pipeline(agent, lambda real: EagerPipeline(real, ENDLESS_S)),
    "credulous": lambda agent: inside.give_receipts(agent, Credulous(agent.database)),
    "by-the-clock": inside.give_the_time_of_day,
    "unlimited": inside.give_no_limits,
    "unreserved": inside.give_no_reserve,
    "impatient": lambda agent: inside.give_doors(agent, IMPATIENT_S),
    "endless": lambda agent: inside.give_doors(agent, ENDLESS_S),
}


def begin(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Be the agent in a process that was forked for it, with what it logs at the end of `log`."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    main(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dicom-port", type=int, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    arguments = parser.parse_args(argv)
    folder = AgentFolder(arguments.data)
    offset = os.environ.get(OFFSET_FILE)
    clock: Clock = OffsetClock(Path(offset)) if offset else SystemClock()
    address = Address("127.0.0.1", arguments.dicom_port, "LEADGLASS")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    with locked(folder):
        agent = Agent(Settings(folder, address, arguments.ready_file), clock, JsonLog(clock))
        inside.give_a_small_disk(agent)
        PARTS[arguments.part](agent)
        agent.run(stop)


if __name__ == "__main__":
    main()

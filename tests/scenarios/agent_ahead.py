"""An agent in a process of its own whose clock a test puts forward, by the seconds that a file says."""

from datetime import datetime, timedelta
from pathlib import Path

from edge_agent.agent import Settings, run
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from shared.clock import SystemClock
from tests.fakes.log import MemoryLog


class ClockAhead:
    """The machine's clock, put forward: what tells a clone waits for a minute between two reports."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        return SystemClock().now() + timedelta(seconds=int(self._file.read_text()))

    def put_forward(self, by: timedelta) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(str(int(self._file.read_text()) + int(by.total_seconds())))
        draft.replace(self._file)


def main(folder: str, ready_file: str, clock_file: str) -> None:
    settings = Settings(AgentFolder(Path(folder)), Address("127.0.0.1", 0, "LEADGLASS"), Path(ready_file))
    run(settings, ClockAhead(Path(clock_file)), MemoryLog())

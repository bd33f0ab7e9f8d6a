"""A process that wipes a drive with one random pass and reads it back whole, and goes on where it was killed.

    python -m tests.edge_agent.sanitize.engine.wiping NODE STATE FLUSH_BYTES

It says each chunk that is written as a line, and goes on once it has read a line or there is none to come. At last it
says what came of it.
"""

import json
import os
import re
import secrets
import sys
from pathlib import Path

from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import write_pass
from shared.clock import SystemClock
from shared.policy.wipe import ReadBack
from shared.sanitization.stream import Content
from tests.fakes.watch import Watched

CLOCK = SystemClock()


class Told(Watched):
    def at(self, done: int, total: int) -> None:
        super().at(done, total)
        print("written", done, flush=True)
        sys.stdin.readline()


class Kept:
    """The state of a pass in a file, as a wipe keeps it: replaced whole, and synced."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self, size_bytes: int) -> PassState:
        if self._file.exists():
            return PassState.parse(self._file.read_bytes()).resuming()
        return PassState.begin(Content.random(secrets.token_bytes(32)), "", size_bytes, CLOCK.now())

    def store(self, state: PassState) -> None:
        beside = self._file.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(state.encode())
            os.fsync(file.fileno())
        beside.replace(self._file)


def main(node: Path, file: Path, flush_bytes: int) -> None:
    kept = Kept(file)
    with open_drive(node, None) as drive:
        state = kept.load(drive.size_bytes)
        step = write_pass(drive, state, Told(), CLOCK, kept.store, flush_bytes=flush_bytes)
        found = read_back(drive, state.content, ReadBack.WHOLE, bytes(32), Watched(), CLOCK)
    # Not getrusage: what the process had that began this one is in there too.
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) << 10
    equal = found.bytes_equal == found.bytes_to_read == drive.size_bytes
    said = {"completed": step.completed, "resumed": step.resumed, "equal": equal, "peak_bytes": peak}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

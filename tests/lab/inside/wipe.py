"""Inside the guest: overwrite a drive with zeros or a random stream, read all of it back, and say what came of it.

    python3 wipe.py NODE {00|random} [NUMBER]

A line for each chunk that is written or read, then one of JSON.
"""

import json
import secrets
import sys
from pathlib import Path

from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import write_pass
from shared.clock import SystemClock
from shared.policy.wipe import ReadBack
from shared.sanitization.report import Extents
from shared.sanitization.stream import RANDOM, Content


class Told:
    is_stopped = False

    def at(self, done: int, total: int) -> None:
        print("at", done, "of", total, flush=True)


def listed(extents: Extents) -> list[list[int]]:
    return [[one.first, one.count] for one in extents.listed]


def main(node: str, pattern: str, number: str | None) -> None:
    clock = SystemClock()
    content = Content.random(secrets.token_bytes(32)) if pattern == RANDOM else Content.byte(pattern)
    with open_drive(Path(node), number) as drive:
        state = PassState.begin(content, "", drive.size_bytes, clock.now())
        step = write_pass(drive, state, Told(), clock, lambda _: None, flush_bytes=8 << 20)
        found = read_back(drive, content, ReadBack.WHOLE, bytes(32), Told(), clock)
    said = {
        "outcome": step.outcome.value,
        "completed": step.completed,
        "detail": step.detail,
        "bytes_written": step.bytes_written,
        "unwritable": listed(step.unwritable),
        "bytes_equal": found.bytes_equal,
        "different": listed(found.different),
        "unreadable": listed(found.unreadable),
        "has_ended": found.ended is not None,
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)

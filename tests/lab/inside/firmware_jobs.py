"""Inside the guest: has our own code do what a drive's firmware offers, one drive after another, and tells all of it.

    firmware_jobs.py '[{"node": "/dev/sda", "kind": "ata-ssd", "technique": "ata-sanitize-block"}, ...]'

Prints a line of JSON for each: the step, and how many bytes of what was on the drive are still there. Beside that:
`"mode": {"/run/A.mode": "lie"}` is how the disk shall be, `"exit": ["hdparm", ...]` is done first, as by a program that
trusts exit codes, and `"asks": true` tells what was considered and what is hidden. `"opens": true` alone opens what is.
"""

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.sanitize.capabilities import considered
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.engine.before import Before, read_changed, sample_before
from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.hidden import hidden_areas, remove_hidden
from shared.clock import SystemClock
from shared.sanitization.medium import Medium, MediumKind, SerialSource
from shared.sanitization.report import Checked, StepOutcome
from shared.sanitization.technique import Technique

PATIENT = b"PATIENT!" * 64  # of each sector
SECTOR = 512


class NeverStopped:
    is_stopped = False

    def __init__(self) -> None:
        self.heard = 0

    def at(self, done: int, total: int) -> None:
        self.heard += 1


def drive_at(node: str, kind: str) -> Drive:
    sysfs = Path("/sys/class/block", Path(node).name)
    size = int((sysfs / "size").read_text()) * SECTOR
    medium = Medium(
        MediumKind(kind), "", "", "", Path(node).name, SerialSource.KERNEL, "", size, SECTOR, SECTOR, rotational=False
    )
    return Drive(Path(node), (sysfs / "dev").read_text().strip(), sysfs, medium)


@contextmanager
def opened(drive: Drive, mode: int) -> Iterator[tuple[int, mmap.mmap]]:
    descriptor = os.open(drive.node, mode | os.O_DIRECT)
    try:
        yield descriptor, mmap.mmap(-1, drive.medium.size_bytes)
    finally:
        os.close(descriptor)


def fill(drive: Drive) -> None:
    with opened(drive, os.O_WRONLY) as (descriptor, buffer):
        buffer[:] = PATIENT * (drive.medium.size_bytes // SECTOR)
        os.pwritev(descriptor, [buffer], 0)
        os.fsync(descriptor)


def left(drive: Drive) -> int:
    """Return how many bytes are what they were, past every cache."""
    with opened(drive, os.O_RDONLY) as (descriptor, buffer):
        if os.preadv(descriptor, [buffer], 0) != len(buffer):
            raise RuntimeError("the kernel has another size of it")
        return sum(SECTOR for at in range(0, len(buffer), SECTOR) if buffer[at : at + SECTOR] == PATIENT)


def not_looked_at(disk: Disk) -> Answer:
    return Answer(disk.number, (), None, "a look takes a process more")


def size_of(drive: Drive) -> int:
    return int((drive.sysfs / "size").read_text()) * SECTOR


def read_back_of(drive: Drive, before: Before) -> Checked | None:
    """Return what our own read back says; None where the kernel takes the drive for empty."""
    if not size_of(drive):
        return None
    with open_drive(drive.node, drive.number) as device:
        return read_changed(device, before, NeverStopped(), SystemClock())


def opened_up(drive: Drive, tools: Tools) -> dict[str, object]:
    before, size = hidden_areas(drive, tools), size_of(drive)
    after = remove_hidden(drive, tools)
    return {
        "before": {one.kind.value: [one.state.value, one.sectors] for one in before},
        "after": {one.kind.value: [one.state.value, one.sectors] for one in after},
        "sizes": [size, size_of(drive)],
    }


def done(job: dict[str, Any]) -> dict[str, object]:
    drive, tools, watch = drive_at(job["node"], job["kind"]), Tools(), NeverStopped()
    if "opens" in job:
        return opened_up(drive, tools)
    for file, mode in job.get("mode", {}).items():
        Path(file).write_text(mode)
    fill(drive)
    told: dict[str, object] = {}
    if "exit" in job:
        trusted = subprocess.run(job["exit"], capture_output=True, check=False)
        told |= {
            "exit": trusted.returncode,
            "exit_err": trusted.stderr.decode("ascii", "replace"),
            "exit_left": left(drive),
        }
    if "asks" in job:
        found, hidden = considered(drive, tools, not_looked_at), hidden_areas(drive, tools)
        told["considered"] = {one.technique.value: [one.available.value, one.why] for one in found}
        told["hidden"] = {one.kind.value: [one.state.value, one.detail] for one in hidden}
    commands = Commands(tools, SystemClock(), time.sleep)
    noted = commands.begin(Technique(job["technique"]), drive)
    with open_drive(drive.node, drive.number) as device:
        before = sample_before(device, bytes(32), NeverStopped())
    step = commands.run(noted, drive, watch)
    # A drive whose sanitize failed lets nothing be read, and every sector would be tried for a while.
    checked = None if step.outcome is StepOutcome.FAILED else read_back_of(drive, before)
    return told | {
        "outcome": step.outcome.value,
        "accepted": step.accepted,
        "progress_seen": step.progress_seen,
        "completed": step.completed,
        "detail": step.detail,
        "tool": step.tool,
        "facts": dict(step.facts),
        "heard": watch.heard,
        "size": size_of(drive),
        "changed": checked and checked.bytes_equal == checked.bytes_read > 0 and not checked.different.sectors,
        "left": left(drive) if checked else None,
    }


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        try:
            print(json.dumps(done(job)), flush=True)
        except Exception as exc:  # noqa: BLE001 (the test shows what it was)
            print(json.dumps({"error": repr(exc)}), flush=True)

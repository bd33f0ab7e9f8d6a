"""Looks at one disk, and prints what it saw.

    python -m edge_agent.media.child MAJOR:MINOR [--sequence DISKSEQ] [--set read-only | read-write]

A process of its own, because a dying stick makes every call wait and what is read may be made to attack its reader.
Once the disk is open, and read-only or writable as was asked, the rights of root are given up before a byte is read.
"""

import argparse
import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from edge_agent.media.answer import MAX_DEVICES, NUMBER_PATTERN, Answer
from edge_agent.media.block import DEV, SYS, BlockDevice, opened, partitions
from edge_agent.media.survey import survey
from shared.devices.printable import printable
from shared.devices.verdict import Access
from shared.errors import Refused, Unavailable

NOBODY = 65_534
_MOST_MEMORY_BYTES = 256 << 20


def look(
    number: str,
    access: Access | None,
    sequence: str = "",
    *,
    sys: Path = SYS,
    dev: Path = DEV,
    before_reading: Callable[[], None] = lambda: None,
) -> Answer:
    """Return what there is to say of a disk, also where it could not be read. `access` None: leave it as it is.

    `sequence` is the kernel's number of the disk and its medium that is meant; empty: whatever is there.
    """
    flags: tuple[tuple[str, bool], ...] = ()
    with ExitStack() as open_devices:
        try:
            disk = open_devices.enter_context(opened(number, sys, dev))
            disk.verify_sequence(sequence)
            kernel = partitions(number, sys)
            others = [open_devices.enter_context(opened(own, sys, dev)) for own, _ in kernel[: MAX_DEVICES - 1]]
            flags = tuple((device.number, _flag(device, access)) for device in (disk, *others))
            size, sector = disk.size_bytes, disk.sector_bytes
            before_reading()
            looked_at = survey(disk.read_at, size, sector, tuple(part for _, part in kernel))
            disk.verify_sequence(sequence)
            return Answer(number, flags, looked_at)
        except (Refused, Unavailable) as exc:
            return Answer(number, flags, None, printable(str(exc), 300))
        except OSError as exc:
            return Answer(number, flags, None, printable(f"{number}: {exc.strerror}", 300))


def _flag(device: BlockDevice, access: Access | None) -> bool:
    if access is None:
        return device.is_read_only()
    return device.set_read_only(on=access is Access.READ_ONLY)


def give_up_rights() -> None:
    """Become nobody, for good, and hold little. Raises OSError."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="edge_agent.media.child", description=__doc__)
    parser.add_argument("number", metavar="MAJOR:MINOR")
    parser.add_argument(
        "--set", choices=list(Access), type=Access, help="what the disk and its partitions become first"
    )
    parser.add_argument("--sequence", default="", help="the kernel's number of the disk that is meant")
    options = parser.parse_args(arguments)
    if not re.fullmatch(NUMBER_PATTERN, options.number):
        parser.error("expected MAJOR:MINOR")
    answer = look(options.number, options.set, options.sequence, before_reading=give_up_rights)
    sys.stdout.buffer.write(answer.encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

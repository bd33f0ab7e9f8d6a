"""Block devices of this machine: opened by their number, read, and set read-only with the kernel's answer read back.

Every call here may wait for the device, which may be dying: `edge_agent.media.child` makes them, and the guard waits
for that process no longer than it wants to.

Read-only is the kernel's flag (BLKROSET). Whoever is root can take it away, and commands sent past the block layer
(SG_IO) do not ask for it.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from edge_agent.media.survey import KernelPartition
from shared.errors import Refused, Unavailable

SYS, DEV = Path("/sys"), Path("/dev")
NUMBER_PATTERN = r"[0-9]{1,6}:[0-9]{1,7}"
# linux/fs.h
_BLKROSET, _BLKROGET, _BLKSSZGET, _BLKGETSIZE64, _BLKGETDISKSEQ = 0x125D, 0x125E, 0x1268, 0x80081272, 0x80081280
_INT, _U64 = Struct("i"), Struct("Q")
_SYSFS_SECTOR = 512  # what `start` and `size` count in, whatever the disk's own is


class NotThatDevice(Refused):
    def __init__(self, number: str, why: str) -> None:
        super().__init__(f"{number} is not a block device that may be opened: {why}")


class MediumUnreadable(Unavailable):
    def __init__(self, number: str, why: str) -> None:
        super().__init__(f"block device {number} cannot be read: {why}")


@dataclass(frozen=True)
class BlockDevice:
    """An open disk or partition."""

    number: str  # major:minor
    descriptor: int

    @property
    def size_bytes(self) -> int:
        return int(_U64.unpack(fcntl.ioctl(self.descriptor, _BLKGETSIZE64, bytes(_U64.size)))[0])

    @property
    def sector_bytes(self) -> int:
        return int(_INT.unpack(fcntl.ioctl(self.descriptor, _BLKSSZGET, bytes(_INT.size)))[0])

    def is_read_only(self) -> bool:
        return bool(_INT.unpack(fcntl.ioctl(self.descriptor, _BLKROGET, bytes(_INT.size)))[0])

    def set_read_only(self, *, on: bool) -> bool:
        """Return whether it is read-only now, as the kernel says after the call. Raises OSError."""
        fcntl.ioctl(self.descriptor, _BLKROSET, _INT.pack(on))
        return self.is_read_only()

    def verify_sequence(self, sequence: str) -> None:
        """Raises NotThatDevice: it is another disk, or has another medium, than when it had this number. Empty: any."""
        if sequence and str(_U64.unpack(fcntl.ioctl(self.descriptor, _BLKGETDISKSEQ, bytes(_U64.size)))[0]) != sequence:
            raise NotThatDevice(self.number, f"it is no longer the disk with number {sequence}")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return fewer bytes only at the end. Raises MediumUnreadable."""
        parts, left = [], size
        try:
            while left and (part := os.pread(self.descriptor, left, offset + size - left)):
                parts.append(part)
                left -= len(part)
        except OSError as exc:
            raise MediumUnreadable(self.number, f"at {offset}: {exc.strerror}") from exc
        return b"".join(parts)


@contextmanager
def opened(number: str, sys: Path = SYS, dev: Path = DEV) -> Iterator[BlockDevice]:
    """Open by the kernel's number, for reading, with nothing waited for and no link followed.

    Raises NotThatDevice: no such number, or the node is of another device. Raises MediumUnreadable.
    """
    if not re.fullmatch(NUMBER_PATTERN, number):
        raise NotThatDevice(number[:20], "expected major:minor")
    node = dev / _name(number, sys)
    try:
        descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError as exc:
        raise NotThatDevice(number, "it has no node") from exc
    except OSError as exc:
        raise MediumUnreadable(number, str(exc.strerror)) from exc
    try:
        found = os.fstat(descriptor)
        # Between sysfs and the node the device may have gone and another one come.
        if not stat.S_ISBLK(found.st_mode) or f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" != number:
            raise NotThatDevice(number, f"{node} is another one")
        yield BlockDevice(number, descriptor)
    finally:
        os.close(descriptor)


def partitions(number: str, sys: Path = SYS) -> tuple[tuple[str, KernelPartition], ...]:
    """Return the partitions that the kernel has of a disk, each with its own number. One that goes away is left out."""
    found = []
    for folder in sorted((sys / "dev" / "block" / number).glob("*/partition")):
        try:
            own, *rest = (_text(folder.parent / name) for name in ("dev", "partition", "start", "size"))
            place, start, size = map(int, rest)
        except (OSError, ValueError):
            continue
        found.append((own, KernelPartition(place, start * _SYSFS_SECTOR, size * _SYSFS_SECTOR)))
    return tuple(found)


def _name(number: str, sys: Path) -> str:
    """Return the name of its node. Raises NotThatDevice."""
    try:
        lines = _text(sys / "dev" / "block" / number / "uevent").splitlines()
    except OSError as exc:
        raise NotThatDevice(number, "the kernel has no such device") from exc
    name = next((line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME=")), "")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise NotThatDevice(number, "its name is not one of a node")
    return name


def _text(file: Path) -> str:
    return file.read_text(encoding="latin-1").strip()

"""A block device, or a file that stands for one, opened for itself alone and with O_DIRECT.

O_EXCL keeps everybody else from mounting or claiming a block device as long as it is open, and is refused where
somebody has. What was written through the page cache before is written out and forgotten first, lest it come later.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.sanitize.engine.device import described
from shared.errors import Refused, Unavailable

# As much as a drive takes at once, and enough of it under way that neither thread waits for the other.
CHUNK_BYTES, DEPTH = 1 << 20, 4

_BLKROGET, _BLKFLSBUF, _BLKSSZGET, _BLKGETSIZE64, _BLKGETDISKSEQ = 0x125E, 0x1261, 0x1268, 0x80081272, 0x80081280
_LARGEST_SECTOR_BYTES, _SMALLEST_SECTOR_BYTES = 4096, 512
_REFUSED = {
    errno.EBUSY: "it is in use; unmount it and stop what uses it",
    errno.EINVAL: "it cannot be written past the page cache (O_DIRECT)",
    errno.EROFS: "it is read-only",
    errno.EACCES: "it is read-only, or we may not",
    errno.EPERM: "we may not",
}


class NotOpened(Refused):
    """The drive is not to be written by us as it is."""

    def __init__(self, node: Path, why: str) -> None:
        super().__init__(f"{node} was not opened: {why}")
        self.node, self.why = node, why


class NotThere(Unavailable):
    """The drive does not answer."""

    def __init__(self, node: Path, why: str) -> None:
        super().__init__(f"{node} is not there: {why}; see that it has power and is connected")
        self.node, self.why = node, why


class DirectDevice:
    """`descriptor` stays the same drive's, whatever becomes of the name that it was opened by."""

    def __init__(self, descriptor: int, sector_bytes: int) -> None:
        self._descriptor, self.sector_bytes = descriptor, sector_bytes
        self.size_bytes = _size(descriptor)

    def write(self, at: int, data: memoryview) -> None:
        with self._there():
            whole(lambda piece, place: os.pwrite(self._descriptor, piece, place), at, data, self.sector_bytes)

    def read(self, at: int, into: memoryview) -> None:
        with self._there():
            whole(lambda piece, place: os.preadv(self._descriptor, [piece], place), at, into, self.sector_bytes)

    def flush(self) -> None:
        os.fsync(self._descriptor)

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Tell a drive that is gone from one with bad sectors: of one that was pulled nothing is left to address."""
        try:
            yield
        except OSError as exc:
            if _size(self._descriptor) != self.size_bytes:
                raise OSError(errno.ENXIO, "nothing is left of it, or not as much as before") from exc
            raise


@contextmanager
def open_drive(node: Path, number: str | None, sequence: str = "") -> Iterator[DirectDevice]:
    """Open `node` for us alone; a block device only if it is `number` (major:minor), and that `sequence` of it.

    A file has no number.

    Raises NotOpened, NotThere.
    """
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_DIRECT | os.O_EXCL | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _REFUSED:
            raise NotOpened(node, _REFUSED[exc.errno]) from exc
        raise NotThere(node, described(exc)) from exc
    try:
        yield _opened(node, descriptor, number, sequence)
    finally:
        os.close(descriptor)


def buffers(count: int, size_bytes: int) -> list[memoryview]:
    """Return memory that begins on a page, as O_DIRECT wants it."""
    memory = memoryview(mmap.mmap(-1, count * size_bytes))
    return [memory[at * size_bytes : (at + 1) * size_bytes] for at in range(count)]


def whole(transfer: Callable[[memoryview, int], int], at: int, data: memoryview, sector_bytes: int) -> None:
    """Go on until all of `data` is transferred: a drive that fails within a request has done what lies before."""
    done = 0
    while done < len(data):
        moved = transfer(data[done:], at + done) // sector_bytes * sector_bytes
        if not moved:
            raise OSError(errno.EIO, "the drive took no part of it, and named no error")
        done += moved


def is_drive(descriptor: int, number: str, sequence: str) -> bool:
    """Return whether what was opened is the drive that was looked at before; from then on it stays that one.

    A drive that comes in another's place gets its number, and never its sequence. Raises OSError.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISBLK(found.st_mode) or f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" != number:
        return False
    told = fcntl.ioctl(descriptor, _BLKGETDISKSEQ, bytes(8)) if sequence else b""
    return not sequence or str(int.from_bytes(told, sys.byteorder)) == sequence


def _opened(node: Path, descriptor: int, number: str | None, sequence: str) -> DirectDevice:
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and number is None:
        sector = next((size for size in (_LARGEST_SECTOR_BYTES, _SMALLEST_SECTOR_BYTES) if not found.st_size % size), 0)
        if not sector:
            raise NotOpened(node, f"its size is no multiple of {_SMALLEST_SECTOR_BYTES} bytes")
        return DirectDevice(descriptor, sector)
    try:
        if not stat.S_ISBLK(found.st_mode) or (number is not None and not is_drive(descriptor, number, sequence)):
            raise NotOpened(node, f"it is not the block device {number or ''}, and a drive may have come in its place")
        (sector,) = struct.unpack("i", fcntl.ioctl(descriptor, _BLKSSZGET, bytes(4)))
        (is_read_only,) = struct.unpack("i", fcntl.ioctl(descriptor, _BLKROGET, bytes(4)))
        fcntl.ioctl(descriptor, _BLKFLSBUF)
        device = DirectDevice(descriptor, sector)
    except OSError as exc:
        raise NotThere(node, described(exc)) from exc
    if is_read_only:  # such a one can be opened for writing, which then fails
        raise NotOpened(node, _REFUSED[errno.EROFS])
    return device


def _size(descriptor: int) -> int:
    """Raises OSError."""
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    return int.from_bytes(fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8)), sys.byteorder)

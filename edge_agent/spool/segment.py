"""One segment: a file written in advance, so that a write to it changes no metadata and costs the disk one flush.

Written past the page cache where the file system can do that (O_DIRECT), and always synchronously (O_DSYNC): once
`write` has returned, what it wrote survives a power cut. Read through the page cache like any other file.
"""

import errno
import io
import os
import re
import weakref
from dataclasses import dataclass
from pathlib import Path

from edge_agent.spool.entry import EPOCH_BYTES
from edge_agent.spool.errors import SpoolUnavailable

_NAME = re.compile(r"(\d{20})-([0-9a-f]{32})\.seg")
_DIRECT: int = getattr(os, "O_DIRECT", 0)  # Linux


@dataclass(frozen=True)
class SegmentName:
    """`epoch` is drawn anew each time the file is used again: entries of other epochs are what lay there before."""

    number: int
    epoch: bytes

    def __str__(self) -> str:
        return f"{self.number:020}-{self.epoch.hex()}.seg"

    @classmethod
    def parse(cls, name: str) -> "SegmentName | None":
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), bytes.fromhex(match[2])) if match else None


class Segment:
    """Open for writing. Several threads may write at a time, each to a place of its own."""

    def __init__(self, folder: Path, name: SegmentName) -> None:
        """Raises SpoolUnavailable."""
        assert len(name.epoch) == EPOCH_BYTES  # noqa: S101 (whoever draws it)
        self.name, self.path = name, folder / str(name)
        try:
            self.size_bytes = self.path.stat().st_size
            self._descriptor = _open_direct(self.path)
        except OSError as exc:
            raise unavailable(exc) from exc
        self._finish = weakref.finalize(self, os.close, self._descriptor)

    def write(self, offset: int, entry: memoryview) -> None:
        """Make `entry` durable at `offset`; length, offset and address are multiples of 4,096.

        Raises SpoolUnavailable.
        """
        try:
            while entry:
                written = os.pwrite(self._descriptor, entry, offset)
                entry, offset = entry[written:], offset + written
            links = os.fstat(self._descriptor).st_nlink
        except OSError as exc:
            raise unavailable(exc) from exc
        if not links:
            raise SpoolUnavailable("somebody deleted the segment that is being written")

    def close(self) -> None:
        self._finish()


class EndsTooEarly(OSError):
    """A file ends before the object that is said to lie in it."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the file ends before the object does")


class Window(io.RawIOBase):
    """Part of a file as a readable, seekable stream of its own. Raises OSError like any file, and EndsTooEarly."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY)
        self._offset, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        wanted = memoryview(buffer)[: max(self._size - self._at, 0)]
        count = os.preadv(self._descriptor, [wanted], self._offset + self._at) if wanted else 0
        if wanted and not count:
            raise EndsTooEarly
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def unavailable(exc: OSError) -> SpoolUnavailable:
    return SpoolUnavailable(os.strerror(exc.errno or errno.EIO))


def _open_direct(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_DSYNC | _DIRECT)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDWR | os.O_DSYNC)  # a file system in memory, say

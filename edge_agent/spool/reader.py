"""The files of a spool for whoever changes nothing: beside a running agent, or without one.

What is read here may leave at any moment. Whoever finds an object missing or changed asks the catalogue again before
believing it: the agent changes the catalogue before it lets go of what lies on the disk.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from edge_agent.spool.catalogue import NOTE_SUFFIX, Spooled, parse_name
from edge_agent.spool.entry import BLOCK_BYTES, EntryHead
from edge_agent.spool.segment import SegmentName, Window
from edge_agent.spool.segments import Place, entries_in

_SMALL_BYTES, _LARGE_BYTES, _DROPPED_BYTES = 8 << 10, 1 << 20, 8 << 20


class PassingWindow(Window):
    """Leaves nothing of what it reads in the page cache, where an agent's own files are to stay."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__(path, offset, size)
        self._kept = 0

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        self._kept += count
        if self._kept >= _DROPPED_BYTES:  # seldom: each time may have every processor look up from its work
            self.drop(self._offset, self._at)
            self._kept = 0
        return count

    def drop(self, offset: int, size: int) -> None:
        """Have the cache forget part of the file, 0 bytes: all from there on."""
        os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if not self.closed:
            self.drop(self._offset, self._size)
        super().close()


class SpoolReader:
    """Raises OSError throughout; FileNotFoundError where an object, or the segment it lay in, is not there."""

    def __init__(self, folder: Path) -> None:
        self._files, self._segments = folder / "files", folder / "segments"
        self._names: dict[int, SegmentName] = {}
        self._fresh: Path | None = None  # of which nothing was in the page cache when reading it began

    def path(self, spooled: Spooled) -> Path:
        """Return the file in which an object lies."""
        if spooled.place is None:
            return self._files / spooled.name
        return self._segments / str(self._segment(spooled.place.segment))

    def peek(self, spooled: Spooled) -> io.BufferedReader:
        """Return the sealed object file, for a look at its small parts."""
        return io.BufferedReader(Window(*self._extent(spooled)), _SMALL_BYTES)

    def open(self, spooled: Spooled) -> io.BufferedReader:
        """Return the sealed object file, to be read whole and from the disk."""
        path, offset, size = self._extent(spooled)
        window = PassingWindow(path, offset, size)
        if path != self._fresh:
            # Once for a whole segment, or what the kernel reads ahead of one object is lost for the next.
            window.drop(0, 0)
            self._fresh = path
        return io.BufferedReader(window, _LARGE_BYTES)

    def entry_head(self, spooled: Spooled) -> EntryHead | None:
        """Return the head of the entry in which an object lies, None where there is none: it is a file, or torn."""
        if spooled.place is None:
            return None
        name = self._segment(spooled.place.segment)
        with Window(self._segments / str(name), spooled.place.offset - BLOCK_BYTES, BLOCK_BYTES) as window:
            return EntryHead.parse(window.read(BLOCK_BYTES), name.epoch)

    def note(self, spooled: Spooled) -> bytes:
        """Return the note beside an object that is a file of its own."""
        return (self._files / f"{spooled.name}{NOTE_SUFFIX}").read_bytes()

    def files(self) -> Iterator[Spooled]:
        """Yield every object that has a file of its own, as the names of the files say."""
        names = (parse_name(path.name) for path in _listed(self._files))
        return (Spooled(*name) for name in names if name is not None)

    def segments(self) -> list[SegmentName]:
        names = (SegmentName.parse(path.name) for path in _listed(self._segments))
        return [name for name in names if name is not None]

    def entries(self, name: SegmentName) -> Iterator[tuple[Place, EntryHead | None]]:
        return entries_in(self._segments, name)

    def foreign(self) -> list[str]:
        """Return what lies here under a name that the agent never gives."""
        files = (path for path in _listed(self._files) if parse_name(path.name.removesuffix(NOTE_SUFFIX)) is None)
        segments = (
            path
            for path in _listed(self._segments)
            if SegmentName.parse(path.name) is None and not path.name.startswith(("spare-", "draft-"))
        )
        return [f"{path.parent.name}/{path.name}" for path in (*files, *segments)]

    def _extent(self, spooled: Spooled) -> tuple[Path, int, int]:
        path = self.path(spooled)
        if spooled.place is None:
            # A file that is longer or shorter than it was is not the object.
            return path, 0, max(path.stat().st_size, spooled.object_bytes)
        return path, spooled.place.offset, spooled.object_bytes

    def _segment(self, number: int) -> SegmentName:
        if number not in self._names:
            self._names = {name.number: name for name in self.segments()}
        try:
            return self._names[number]
        except KeyError as exc:
            raise FileNotFoundError(f"segment {number}") from exc


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []

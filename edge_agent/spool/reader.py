"""The files of a spool for whoever changes nothing: beside a running agent, or without one.

What is read here may leave at any moment. Whoever finds an object missing or changed asks the catalogue again before
believing it: the agent changes the catalogue before it lets go of what lies on the disk.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from edge_agent.spool.catalogue import Spooled
from edge_agent.spool.entry import BLOCK_BYTES, EntryHead
from edge_agent.spool.segment import SegmentName, Window
from edge_agent.spool.segments import Place, entries_in

NOTE_SUFFIX = ".note"
_SMALL_BYTES, _LARGE_BYTES = 8 << 10, 1 << 20


class PassingWindow(Window):
    """Takes nothing from the page cache and leaves nothing there: what is judged is what the disk gives."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__(path, offset, size)
        os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_DONTNEED)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        os.posix_fadvise(self._descriptor, self._offset + self._at - count, count, os.POSIX_FADV_DONTNEED)
        return count


class SpoolReader:
    """Raises OSError throughout; FileNotFoundError where an object, or the segment it lay in, is not there."""

    def __init__(self, folder: Path) -> None:
        self._files, self._segments = folder / "files", folder / "segments"
        self._names: dict[int, SegmentName] = {}

    def path(self, spooled: Spooled) -> Path:
        """Return the file in which an object lies."""
        if spooled.place is None:
            return self._files / spooled.name
        return self._segments / str(self._segment(spooled.place.segment))

    def peek(self, spooled: Spooled) -> io.BufferedReader:
        """Return the sealed object file, for a look at its small parts."""
        return io.BufferedReader(Window(*self._extent(spooled)), _SMALL_BYTES)

    def open(self, spooled: Spooled) -> io.BufferedReader:
        """Return the sealed object file, to be read whole."""
        return io.BufferedReader(PassingWindow(*self._extent(spooled)), _LARGE_BYTES)

    def entry_head(self, spooled: Spooled) -> EntryHead | None:
        """Return the head of the entry in which an object lies, None where there is none of the segment's."""
        if spooled.place is None:
            return None
        name = self._segment(spooled.place.segment)
        with PassingWindow(self._segments / str(name), spooled.place.offset - BLOCK_BYTES, BLOCK_BYTES) as window:
            return EntryHead.parse(window.read(BLOCK_BYTES), name.epoch)

    def note(self, spooled: Spooled) -> bytes:
        """Return the note beside an object that is a file of its own."""
        return (self._files / f"{spooled.name}{NOTE_SUFFIX}").read_bytes()

    def files(self) -> Iterator[Path]:
        """Yield what lies where objects have files of their own, but for the notes beside them."""
        return (path for path in _listed(self._files) if path.suffix != NOTE_SUFFIX)

    def segments(self) -> list[SegmentName]:
        names = (SegmentName.parse(path.name) for path in _listed(self._segments))
        return sorted((name for name in names if name is not None), key=lambda name: name.number)

    def entries(self, name: SegmentName) -> Iterator[tuple[Place, EntryHead]]:
        return entries_in(self._segments, name)

    def is_there(self, name: SegmentName) -> bool:
        return (self._segments / str(name)).exists()

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

"""The segments of a spool: one that is written to, full ones whose objects wait, and spares written in advance.

    segments/<20-digit number>-<epoch>.seg   in use; never written to again after a restart
    segments/spare-<8 hex digits>.seg        zeros, or sealed bytes of objects that have left

A segment is *complete* once it is full and everything in it stands in the catalogue: no start has to look through it.
It is *retired* once its last object has left: it becomes a spare, under no epoch, or goes.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.files import make_folder, sync_folder
from edge_agent.spool.entry import BLOCK_BYTES, EPOCH_BYTES, EntryHead
from edge_agent.spool.errors import SpoolUnavailable
from edge_agent.spool.segment import Segment, SegmentName, unavailable
from shared.identity import RandomBytes

SEGMENT_BYTES = 32 << 20
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, order=True)
class Place:
    """Where an object's first byte lies, behind the head of its entry."""

    segment: int
    offset: int


@dataclass
class _Use:
    """`writing` counts entries that are not in the catalogue yet, `live` those in it whose object has not left.

    `known`: nothing lies in it that was there at the start and is not in the catalogue.
    """

    name: SegmentName
    segment: Segment | None = None  # while it is open for writing
    writing: int = 0
    live: int = 0
    full: bool = False
    known: bool = True
    noted: bool = False  # the catalogue says that it is complete


class Segments:
    """`spares` is how many are kept written in advance; `has_room` says whether the disk has room for so many bytes.

    No segment gets a number below `first_number`, so that none is taken for a lost one that the catalogue still names.
    Raises SpoolUnavailable throughout.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        spares: int = 0,
        first_number: int = 1,
        has_room: Callable[[int], bool] = lambda _size: True,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._folder, self._segment_bytes, self.spares, self._random = folder, segment_bytes, spares, random_bytes
        self._has_room = has_room
        make_folder(folder)
        self._lock = threading.Lock()
        self._uses: dict[int, _Use] = {}
        self._active: Segment | None = None
        self._next_offset = 0
        self._spare: list[Path] = []
        self.written = 0  # entries since the start
        for path in folder.iterdir():
            name = SegmentName.parse(path.name)
            if name is not None:
                self._found(name)
            elif path.name.startswith("spare-"):
                self._spare.append(path)
            elif path.name.startswith("draft-"):
                path.unlink()  # a spare that was not whole
        self._next_number = max(first_number, max(self._uses, default=0) + 1)

    def _found(self, name: SegmentName) -> None:
        """Take in a file that lies here at the start.

        Raises SpoolUnavailable: of two with one number neither is one that was never written to.
        """
        other = self._uses.get(name.number)
        if other is not None:
            empty = [each for each in (name, other.name) if not any(True for _ in self.entries(each))]
            if not empty:
                raise SpoolUnavailable(f"there are two segments {name.number}, and both hold something")
            (self._folder / str(empty[0])).unlink()
            name = other.name if empty[0] == name else name
        self._uses[name.number] = _Use(name, full=True, known=False)

    # ---- what lies here at a start

    def names(self) -> list[SegmentName]:
        return [use.name for _, use in sorted(self._uses.items())]

    def entries(self, name: SegmentName) -> Iterator[tuple[Place, EntryHead | None]]:
        """Do what `entries_in` does; a segment that cannot be opened is one block that the disk does not give."""
        try:
            yield from entries_in(self._folder, name)
        except OSError:
            yield Place(name.number, BLOCK_BYTES), None

    def found(self, number: int, live: int, *, is_read: bool = True) -> None:
        """Say how many objects of a segment have not left, once everything in it stands in the catalogue.

        One that could not be read as a whole is never complete, so that the next start looks through it again.
        """
        use = self._uses[number]
        use.live, use.writing, use.known = live, 0, is_read

    def all_known(self) -> bool:
        """Return whether everything that was in the segments at the start could be read."""
        return all(use.known for use in self._uses.values())

    def has(self, number: int) -> bool:
        return number in self._uses

    def path(self, number: int) -> Path:
        return self._folder / str(self._uses[number].name)

    # ---- one object: written, in the catalogue, gone

    def write(self, entry: Callable[[bytes], memoryview], size: int) -> Place:
        """Make durable what `entry` returns, `size` bytes, given the epoch under which it will lie.

        `size` is a multiple of 4,096, and so is the address.
        """
        with self._lock:
            segment = self._segment_with(size)
            offset, self._next_offset = self._next_offset, self._next_offset + size
            self._uses[segment.name.number].writing += 1
            self.written += 1
        written = False
        try:
            segment.write(offset, entry(segment.name.epoch))
            written = True
        finally:
            if not written:
                # Nothing is known of the file now; what lies in it stays readable.
                self._settle(segment.name.number, live=0)
                self._leave(segment)
        return Place(segment.name.number, offset + BLOCK_BYTES)

    def registered(self, number: int) -> None:
        """Say that an entry stands in the catalogue."""
        self._settle(number, live=1)

    def given_up(self, number: int) -> None:
        """Say that an entry will never stand in the catalogue."""
        self._settle(number, live=0)

    def gone(self, number: int) -> None:
        """Say that an object has left, according to the catalogue."""
        with self._lock:
            use = self._uses.get(number)
            if use is not None:  # else the segment was lost
                use.live -= 1

    def newly_complete(self) -> list[int]:
        """Return the segments that the catalogue may call complete now; each is returned until `noted`."""
        with self._lock:
            return [n for n, use in self._uses.items() if use.full and use.known and not use.writing and not use.noted]

    def noted(self, numbers: list[int]) -> None:
        with self._lock:
            for number in numbers:
                use = self._uses.get(number)
                if use is None:
                    continue  # noted by two transactions at a time, and let go of between them
                use.noted = True
                if use.segment is not None:
                    use.segment.close()
                    use.segment = None

    def retire(self) -> list[int]:
        """Let go of segments whose objects have all left; return their numbers, which nothing refers to any more."""
        with self._lock:
            empty = [use for use in self._uses.values() if use.full and use.noted and not use.live]
            for use in empty:
                del self._uses[use.name.number]
        for use in empty:
            self._retire(self._folder / str(use.name))
        return [use.name.number for use in empty]

    # ---- room

    def needs_spare(self) -> bool:
        with self._lock:
            return len(self._spare) < self.spares

    def prepare(self) -> None:
        """Write one more spare."""
        draft = self._folder / f"draft-{self._random(4).hex()}"
        try:
            with draft.open("wb", buffering=0) as file:
                for start in range(0, self._segment_bytes, len(_ZEROS)):
                    file.write(_ZEROS[: self._segment_bytes - start])
                os.fsync(file.fileno())
            self._keep_spare(draft)
        except OSError as exc:
            draft.unlink(missing_ok=True)
            raise unavailable(exc) from exc

    def drop_spares(self) -> None:
        """Give up the room that spares take."""
        with self._lock:
            dropped, self._spare = self._spare, []
        try:
            while dropped:
                dropped[-1].unlink(missing_ok=True)
                dropped.pop()
        except OSError as exc:
            raise unavailable(exc) from exc
        finally:
            with self._lock:
                self._spare += dropped

    def _keep_spare(self, path: Path) -> None:
        spare = self._folder / f"spare-{self._random(4).hex()}.seg"
        path.rename(spare)
        sync_folder(self._folder)
        with self._lock:
            self._spare.append(spare)

    def _retire(self, path: Path) -> None:
        try:
            if self.needs_spare() and path.stat().st_size == self._segment_bytes:
                self._keep_spare(path)
            else:
                path.unlink()
                sync_folder(self._folder)
        except OSError as exc:
            raise unavailable(exc) from exc

    def _segment_with(self, size: int) -> Segment:
        if self._active is None or self._next_offset + size > self._active.size_bytes:
            fresh = self._begin(max(size, self._segment_bytes))
            if self._active is not None:
                self._uses[self._active.name.number].full = True
            self._active, self._next_offset = fresh, 0
        return self._active

    def _begin(self, size: int) -> Segment:
        name = SegmentName(self._next_number, self._random(EPOCH_BYTES))
        path = self._folder / str(name)
        self._next_number += 1  # whatever comes of it: no number is given twice
        try:
            self._make(path, size)
            segment = Segment(self._folder, name)
        except SpoolUnavailable:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        self._uses[name.number] = _Use(name, segment)
        return segment

    def _make(self, path: Path, size: int) -> None:
        try:
            if not self._used_spare(path, size):
                if not self._has_room(size):
                    raise SpoolUnavailable("no room for another segment")
                _allocate(path, size)
            sync_folder(self._folder)
        except OSError as exc:
            raise unavailable(exc) from exc

    def _used_spare(self, path: Path, size: int) -> bool:
        """Return whether a spare has become the segment `path`; one that cannot is given up."""
        if not self._spare or size != self._segment_bytes:
            return False
        spare = self._spare.pop()
        try:
            spare.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                spare.unlink(missing_ok=True)
            return False
        return True

    def _settle(self, number: int, live: int) -> None:
        with self._lock:
            use = self._uses[number]
            use.writing -= 1
            use.live += live

    def _leave(self, segment: Segment) -> None:
        with self._lock:
            if self._active is segment:
                self._uses[segment.name.number].full = True
                self._active = None


def entries_in(folder: Path, name: SegmentName) -> Iterator[tuple[Place, EntryHead | None]]:
    """Yield every head of a segment's epoch and where its object lies, None where the disk does not give a block.

    Each block is looked at, also behind a head: what that says of its length may be rotten. From any process. Raises
    OSError where the segment cannot be opened.
    """
    descriptor = os.open(folder / str(name), os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        for begin in range(BLOCK_BYTES, size + 1, BLOCK_BYTES):
            place = Place(name.number, begin)
            try:
                head = EntryHead.parse(os.pread(descriptor, BLOCK_BYTES, begin - BLOCK_BYTES), name.epoch)
            except OSError:
                yield place, None
                continue
            if head is not None:
                yield place, replace(head, object_bytes=min(head.object_bytes, size - begin))
    finally:
        os.close(descriptor)


def _allocate(path: Path, size: int) -> None:
    """Make a file whose room is taken, if not written, so that only a broken disk can refuse what is written to it."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

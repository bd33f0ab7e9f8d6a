"""One sealed object on its way into the spool. Nothing of it counts before `commit` has returned.

A small one is made whole in a buffer and written to a segment at once; one that outgrows the buffer becomes a file of
its own. Which it is, is nobody's business but the spool's.
"""

import contextlib
import mmap
import os
from collections.abc import Callable
from io import RawIOBase
from pathlib import Path
from typing import Protocol

from edge_agent.files import sync_folder
from edge_agent.spool.catalogue import Spooled
from edge_agent.spool.entry import BLOCK_BYTES, EntryHead, digest_of, entry_bytes
from edge_agent.spool.errors import SpoolUnavailable
from edge_agent.spool.segment import unavailable
from edge_agent.spool.segments import Segments
from shared.identity import ObjectId

_STAGED_BYTES = 512 << 10


class Room(Protocol):
    """What an object that comes in needs of the spool."""

    segments: Segments
    incoming: Path
    files: Path

    def next_number(self) -> int: ...

    def note_path(self, spooled: Spooled) -> Path: ...

    def reserve(self, object_id: ObjectId, size_bytes: int) -> None:
        """Raises QuotaReached."""

    def reserve_on_disk(self, object_id: ObjectId, size_bytes: int) -> None:
        """Raises SpoolFull, QuotaReached, SpoolUnavailable."""


class Incoming:
    """A sink for an object's bytes: `shared.sealing.seal.Sink`. Raises SpoolUnavailable, SpoolFull, QuotaReached."""

    def __init__(
        self, object_id: ObjectId, room: Room, slot: mmap.mmap | None, on_end: Callable[["Incoming", bool], None]
    ) -> None:
        self.object_id, self._spool, self._on_end = object_id, room, on_end
        self.slot = slot
        self._staged = memoryview(bytearray(_STAGED_BYTES) if slot is None else slot)
        self._begins = 0 if slot is None else BLOCK_BYTES  # where the object's first byte stands
        self._filled = self._begins
        self._file: RawIOBase | None = None
        self._written_bytes = 0
        self._ended = False
        if slot is None:
            self._begin_file()

    @property
    def path(self) -> Path:
        return self._spool.incoming / str(self.object_id)

    @property
    def is_file(self) -> bool:
        return self._file is not None

    @property
    def size_bytes(self) -> int:
        return self._written_bytes + self._filled - self._begins

    # ---- the sink

    def room(self, size: int, /) -> memoryview:
        if self._filled + size > len(self._staged):
            self._write_staged(self._file or self._begin_file())
            if size > len(self._staged):
                self._staged = memoryview(bytearray(size))
        return self._staged[self._filled :]

    def took(self, size: int, /) -> None:
        self._filled += size

    # ---- its end

    def commit(self, note: bytes, small_parts_bytes: int) -> Spooled:
        """Make the object durable; once this returns it survives a power cut, if it raises, nothing is kept.

        The last `small_parts_bytes` of it are everything behind the body. It is delivered only once it is registered.
        """
        if self._file is None:
            try:
                spooled = self._commit_entry(note, small_parts_bytes)
            except SpoolUnavailable:
                # No room for a whole segment more, or a broken one; a file of its own may find another place.
                spooled = self._commit_file(self._begin_file(), note)
        else:
            spooled = self._commit_file(self._file, note)
        self._end(committed=True)
        return spooled

    def discard(self) -> None:
        """Leave no trace of the object unless it was committed."""
        if self._ended:
            return
        try:
            if self._file is not None:
                self._file.close()
                self.path.unlink(missing_ok=True)
        finally:
            self._end(committed=False)

    def _commit_entry(self, note: bytes, small_parts_bytes: int) -> Spooled:
        size = self.size_bytes
        self._spool.reserve(self.object_id, size)
        number = self._spool.next_number()
        digest = digest_of(note, self._staged[self._filled - small_parts_bytes : self._filled])
        entry = self._staged[: entry_bytes(size)]
        entry[self._filled :] = bytes(len(entry) - self._filled)

        def headed(epoch: bytes) -> memoryview:
            head = EntryHead(epoch, number, size, digest, note).encode()
            entry[:BLOCK_BYTES] = head + bytes(BLOCK_BYTES - len(head))
            return entry

        return Spooled(number, self.object_id, size, self._spool.segments.write(headed, len(entry)))

    def _commit_file(self, file: RawIOBase, note: bytes) -> Spooled:
        self._write_staged(file)
        spooled = Spooled(self._spool.next_number(), self.object_id, self._written_bytes)
        target = self._spool.files / spooled.name
        try:
            os.fsync(file.fileno())
            file.close()
            _write_note(self._spool.note_path(spooled), note)
            self.path.rename(target)
            sync_folder(self._spool.files)
        except OSError as exc:
            for path in (target, self._spool.note_path(spooled)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise unavailable(exc) from exc
        return spooled

    def _begin_file(self) -> RawIOBase:
        try:
            self._file = self.path.open("xb", buffering=0)
        except OSError as exc:
            raise unavailable(exc) from exc
        return self._file

    def _write_staged(self, file: RawIOBase) -> None:
        staged = self._staged[self._begins : self._filled]
        self._spool.reserve_on_disk(self.object_id, self._written_bytes + len(staged))
        try:
            write_all(file, staged)
        except OSError as exc:
            raise unavailable(exc) from exc
        self._written_bytes += len(staged)
        self._begins = self._filled = 0

    def _end(self, *, committed: bool) -> None:
        self._ended = True
        self._staged.release()
        self._on_end(self, committed)


def write_all(file: RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) or 0 :]


def _write_note(path: Path, note: bytes) -> None:
    with path.open("wb") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())

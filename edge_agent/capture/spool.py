"""The spool: sealed objects on their way to the vault.

incoming/<object id>                  being written; whatever lies here after a start was never acknowledged
ready/<20-digit number>-<object id>   whole and durable; the number keeps the order across restarts
refused/<20-digit number>-<object id> kept for a person: the vault will not take it as it is
"""

import contextlib
import io
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_agent.files import sync_folder
from shared.errors import Unavailable
from shared.identity import ObjectId

_NAME = re.compile(r"(\d{20})-([0-9a-f]{32})")
# Left free for the audit journal, so that a full disk can still be recorded.
RESERVE_BYTES = 64 << 20


class SpoolUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the spool cannot take or give an object: {why}")
        self.why = why


class SpoolFull(Unavailable):
    def __init__(self, *, free_bytes: int, reserve_bytes: int) -> None:
        super().__init__(f"the disk of the spool has {free_bytes} bytes left, {reserve_bytes} are kept in reserve")
        self.free_bytes, self.reserve_bytes = free_bytes, reserve_bytes


@dataclass(frozen=True, order=True)
class Spooled:
    """One object that lies in ready/."""

    number: int
    object_id: ObjectId

    @property
    def name(self) -> str:
        return f"{self.number:020}-{self.object_id}"


class Incoming:
    """One object being written. Nothing of it counts before `commit` has returned."""

    def __init__(self, path: Path, object_id: ObjectId, place: Callable[["Incoming"], Spooled]) -> None:
        self.path, self.object_id, self._place = path, object_id, place
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes | memoryview, /) -> None:
        """Raises SpoolUnavailable: the disk is full or broken."""
        try:
            self._file.write(data)
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc

    def commit(self) -> Spooled:
        """Make the object durable and ready. Once this returns it survives a power cut; if it raises, nothing is ready.

        It is delivered only after `Spool.offer`, so that its audit record comes first. Raises SpoolUnavailable.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            return self._place(self)
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc

    def discard(self) -> None:
        """Leave no trace of the object unless it was committed."""
        # Flushing what a full disk did not take fails again; the descriptor is closed all the same.
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Spool:
    def __init__(
        self,
        folder: Path,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._incoming, self._ready, self._refused = folder / "incoming", folder / "ready", folder / "refused"
        for path in (self._incoming, self._ready, self._refused):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reserve_bytes, self._free_bytes, self._on_ready = reserve_bytes, free_bytes, on_ready
        self._lock = threading.Lock()
        self._waiting = deque(sorted(_spooled(self._ready)))
        numbers = [spooled.number for spooled in (*self._waiting, *_spooled(self._refused))]
        self._next = max(numbers, default=0) + 1

    def begin(self, object_id: ObjectId) -> Incoming:
        """Raises SpoolFull, SpoolUnavailable."""
        try:
            free_bytes = self._free_bytes(self._incoming)
            if free_bytes < self._reserve_bytes:
                raise SpoolFull(free_bytes=free_bytes, reserve_bytes=self._reserve_bytes)
            return Incoming(self._incoming / str(object_id), object_id, self._place)
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc

    def offer(self, spooled: Spooled) -> None:
        """Let a committed object, now recorded, be delivered."""
        with self._lock:
            self._waiting.append(spooled)
            # Two associations may end in another order than they took their numbers.
            if len(self._waiting) > 1 and self._waiting[-2] > spooled:
                self._waiting = deque(sorted(self._waiting))
        self._on_ready()

    def oldest(self) -> Spooled | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def everything(self) -> tuple[Spooled, ...]:
        with self._lock:
            return tuple(self._waiting)

    def waiting(self) -> int:
        with self._lock:
            return len(self._waiting)

    def open(self, spooled: Spooled) -> io.BufferedReader:
        """Raises SpoolUnavailable."""
        try:
            return (self._ready / spooled.name).open("rb")
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc

    def remove(self, spooled: Spooled) -> None:
        """Let go of an object for good: its receipt is held, or it was never acknowledged. Raises SpoolUnavailable."""
        self._leave_ready(spooled, lambda path: path.unlink(missing_ok=True))

    def refuse(self, spooled: Spooled) -> None:
        """Put aside, for a person to look at, an object that the vault will not take. Raises SpoolUnavailable."""
        self._leave_ready(spooled, lambda path: path.rename(self._refused / spooled.name))

    def clear_incoming(self) -> tuple[str, ...]:
        """Delete what a stopped agent was still writing; return the ids of the objects it would have had.

        Raises SpoolUnavailable.
        """
        try:
            leftovers = sorted(self._incoming.iterdir())
            for path in leftovers:
                path.unlink()
            sync_folder(self._incoming)
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc
        return tuple(path.name for path in leftovers)

    def _place(self, incoming: Incoming) -> Spooled:
        with self._lock:
            spooled = Spooled(self._next, incoming.object_id)
            self._next += 1
        incoming.path.rename(self._ready / spooled.name)
        try:
            sync_folder(self._ready)
        except OSError:
            (self._ready / spooled.name).unlink(missing_ok=True)
            raise
        return spooled

    def _leave_ready(self, spooled: Spooled, move: Callable[[Path], object]) -> None:
        try:
            move(self._ready / spooled.name)
            sync_folder(self._ready)
        except OSError as exc:
            raise SpoolUnavailable(os.strerror(exc.errno or 0)) from exc
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(spooled)


def _spooled(folder: Path) -> list[Spooled]:
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return [Spooled(int(match[1]), ObjectId.parse(match[2])) for match in found if match]

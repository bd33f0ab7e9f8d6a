"""The spool: sealed objects on their way to the vault.  docs/formats/spool.md

incoming/<object id>                large objects being written; what lies here after a start was never acknowledged
files/<20-digit number>-<object id> large objects, whole and durable
segments/                           small objects (`segments.py`)
attempts                            which captures have begun and not ended (`attempts.py`)

What of it waits, and in which order, stands in the catalogue. The order of giving up, when there is too little room:
segments written in advance go first; then new images are refused; nothing that was acknowledged is ever dropped.
"""

import contextlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Protocol

from edge_agent.database import Database
from edge_agent.files import make_folder, sync_folder
from edge_agent.spool.attempts import Attempts
from edge_agent.spool.catalogue import HERE, NOTE_SUFFIX, Catalogue, Row, Spooled, State, parse_name
from edge_agent.spool.entry import Note
from edge_agent.spool.errors import QuotaReached, SpoolFull, SpoolUnavailable
from edge_agent.spool.incoming import Incoming, write_all
from edge_agent.spool.segment import Window, unavailable
from edge_agent.spool.segments import SEGMENT_BYTES, Segments
from edge_agent.spool.slots import Slots
from shared.errors import Malformed
from shared.identity import ObjectId

# Left free for the audit journal, so that a full disk can still be recorded.
RESERVE_BYTES = 64 << 20
_COPY_BYTES = 1 << 20


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Spool:
    """`quota` is how many bytes it may hold, 0: what the disk takes. `on_ready` is called when something waits anew."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        quota: Callable[[], int] = lambda: 0,
        on_ready: Callable[[], None] = lambda: None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder, self.incoming, self.files = folder, folder / "incoming", folder / "files"
        for path in (folder, self.incoming, self.files):
            make_folder(path)
        self._reserve_bytes, self._free_bytes, self._quota, self._on_ready = reserve_bytes, free_bytes, quota, on_ready
        self._database, self.catalogue = database, Catalogue(database)
        self.segments = Segments(
            folder / "segments",
            segment_bytes=segment_bytes,
            first_number=max(self.catalogue.segments(), default=0) + 1,
            has_room=lambda size: self._free() - size >= self._reserve_bytes,
        )
        self._slots = Slots()
        self.attempts = Attempts(folder / "attempts")
        self._lock = threading.Lock()
        self._coming: dict[ObjectId, int] = {}
        self._coming_bytes = 0
        self._held_bytes = sum(self.catalogue.count(state)[1] for state in State if state is not State.GONE)
        self._next_number = max(self.catalogue.last_number(), *(number for number, *_ in self._named_files()), 0) + 1

    # ---- coming in

    def begin(self, object_id: ObjectId) -> Incoming:
        """Raises SpoolFull, QuotaReached, SpoolUnavailable."""
        with self._lock:
            self._verify_quota(1)
        self._verify_free()
        self.attempts.begin(object_id)
        try:
            return Incoming(object_id, self, self._slots.take(), self._ended)
        except BaseException:
            self.attempts.end(object_id)
            raise

    def reserve(self, object_id: ObjectId, size_bytes: int) -> None:
        """Count an object at `size_bytes` before so much of it is written, so that many at a time hold to the quota.

        What is counted stays so until the object is registered, revoked or discarded. Raises QuotaReached.
        """
        with self._lock:
            more_bytes = size_bytes - self._coming.get(object_id, 0)
            self._verify_quota(more_bytes)
            self._coming[object_id] = size_bytes
            self._coming_bytes += more_bytes

    def reserve_on_disk(self, object_id: ObjectId, size_bytes: int) -> None:
        """Count it like `reserve`, for a file that grows. Raises SpoolFull, QuotaReached, SpoolUnavailable."""
        self.reserve(object_id, size_bytes)
        self._verify_free()

    def next_number(self) -> int:
        with self._lock:
            number, self._next_number = self._next_number, self._next_number + 1
        return number

    def register(self, connection: Connection, spooled: Spooled) -> None:
        """Enter a committed object in the catalogue, in the transaction that records it."""
        self.catalogue.add(connection, spooled)

    def note_complete(self, connection: Connection) -> list[int]:
        """Note in the catalogue which segments no start has to look through; `registered` wants to know them."""
        complete = self.segments.newly_complete()
        self.catalogue.complete(connection, complete)
        return complete

    def registered(self, *objects: Spooled, complete: list[int]) -> None:
        """Say that the transaction is durable: from now on the objects are delivered."""
        self.segments.noted(complete)
        with self._lock:
            self._held_bytes += sum(spooled.object_bytes for spooled in objects)
            for spooled in objects:
                self._coming_bytes -= self._coming.pop(spooled.object_id, 0)
        for spooled in objects:
            if spooled.place is not None:
                self.segments.registered(spooled.place.segment)
            self.attempts.end(spooled.object_id)
        self._on_ready()

    def revoke(self, spooled: Spooled, note: Note) -> None:
        """Let go of an object that was committed and could not be registered: nobody was told of it.

        An entry of a segment stays until the next start, which registers it where it counts unregistered.
        Raises SpoolUnavailable.
        """
        self._not_coming(spooled.object_id)
        if spooled.place is None:
            self._unlink(spooled)
        elif not note.counts_unregistered:
            self.segments.given_up(spooled.place.segment)
        if spooled.place is None or not note.counts_unregistered:
            self.attempts.end(spooled.object_id)

    # ---- what waits

    def oldest(self, after: int = 0) -> Spooled | None:
        return self.catalogue.oldest(after)

    def everything(self) -> tuple[Spooled, ...]:
        """Return what waits, oldest first. With many thousands, use `rows`."""
        return tuple(row.spooled for row in self.rows(State.WAITING))

    def rows(self, *states: State) -> Iterator[Row]:
        return self.catalogue.in_state(*states)

    def waiting(self) -> int:
        return self.catalogue.count(State.WAITING)[0]

    def amiss(self) -> int:
        """Return how many objects do not reach the vault by themselves: put aside, or not given by the disk."""
        return self.catalogue.amiss()

    def held_bytes(self) -> int:
        return self._held_bytes

    def holds(self, object_id: ObjectId) -> bool:
        return self.find(object_id) is not None

    def find(self, object_id: ObjectId) -> Spooled | None:
        """Return an object that is here, whatever its state."""
        row = self.catalogue.find(object_id)
        return row.spooled if row is not None and row.state in HERE else None

    def open(self, spooled: Spooled) -> io.BufferedReader:
        """Return the sealed object file as a stream. Reading it may raise OSError. Raises SpoolUnavailable."""
        try:
            if spooled.place is None:
                return (self.files / spooled.name).open("rb")
            path = self.segments.path(spooled.place.segment)
            return io.BufferedReader(Window(path, spooled.place.offset, spooled.object_bytes), _COPY_BYTES)
        except KeyError as exc:
            raise SpoolUnavailable("the segment it lay in is not there") from exc
        except OSError as exc:
            raise unavailable(exc) from exc

    # ---- going

    def forget(self, connection: Connection, spooled: Spooled) -> None:
        """Note that an object has left, in the transaction that keeps the vault's receipt; then call `let_go`."""
        if spooled.place is None:
            self.catalogue.forget(connection, spooled)
        else:
            self.catalogue.change(connection, spooled, State.GONE)

    def keep_owed(self, connection: Connection, spooled: Spooled) -> None:
        """Note that the vault has an object which this host still owes to an archive."""
        self.catalogue.change(connection, spooled, State.OWED)

    def deliver_again(self, connection: Connection, spooled: Spooled) -> None:
        """Note that the vault does not have an object any more that is still here."""
        self.catalogue.change(connection, spooled, State.WAITING)

    def let_go(self, spooled: Spooled) -> None:
        """Give up the room of an object that the catalogue has forgotten. Raises SpoolUnavailable."""
        with self._lock:
            self._held_bytes -= spooled.object_bytes
        if spooled.place is None:
            self._unlink(spooled)
        else:
            self.segments.gone(spooled.place.segment)
        self.retire()

    def put_aside(self, spooled: Spooled, why: str) -> None:
        """Keep, for a person to look at, an object that the vault will not take. Raises SpoolUnavailable."""
        is_copied = spooled.place is not None and self._copied(spooled)
        with self._database.transaction() as connection:
            self.catalogue.change(connection, spooled, State.PUT_ASIDE, why)
            if is_copied:
                self.catalogue.move(connection, spooled)
        if is_copied and spooled.place is not None:
            # A segment is not kept for one object that may lie there for months.
            self.segments.gone(spooled.place.segment)
            self.retire()

    def keep_aside(self, connection: Connection, spooled: Spooled, why: str) -> None:
        """Enter as put aside what a start found, within the caller's transaction."""
        self.catalogue.add(connection, spooled, State.PUT_ASIDE, why)
        with self._lock:
            self._held_bytes += spooled.object_bytes

    def note_unreadable(self, connection: Connection, spooled: Spooled, why: str) -> None:
        """Note that the disk does not give an object; it waits all the same."""
        self.catalogue.change(connection, spooled, State.WAITING, why)

    def give_up(self, spooled: Spooled, is_worthless: Callable[[], bool] = lambda: True) -> None:
        """Let go of an object that a person discarded, if `is_worthless` within the transaction that forgets it.

        Raises SpoolUnavailable.
        """
        with self._database.transaction() as connection:
            if not is_worthless():
                return
            # First: without its row a start would find it again. One of a segment may have a copy, if moving it broke
            # off.
            self._unlink(spooled)
            self.forget(connection, spooled)
        self.let_go(spooled)

    # ---- coming back

    def replace(self, row: Row, source: Readable) -> None:
        """Let a whole copy wait, under its number, for an object that is damaged here or has left.

        If this raises, also what reading `source` raised, nothing that was here is worse than before. Raises SpoolFull,
        QuotaReached, SpoolUnavailable, DatabaseUnavailable.
        """
        spooled, draft = row.spooled, self.incoming / str(row.spooled.object_id)
        try:
            object_bytes = _written(draft, source, partial(self.reserve_on_disk, spooled.object_id))
            with _own_faults():
                draft.rename(self.files / spooled.name)
                sync_folder(self.files)
            with self._database.transaction() as connection:
                self.catalogue.replace(connection, spooled, object_bytes)
        except BaseException:
            self._not_coming(spooled.object_id)
            raise
        finally:
            draft.unlink(missing_ok=True)
        was_here = row.state is not State.GONE
        with self._lock:
            self._held_bytes += object_bytes - (spooled.object_bytes if was_here else 0)
            self._coming_bytes -= self._coming.pop(spooled.object_id)
        if was_here and spooled.place is not None:
            self.segments.gone(spooled.place.segment)
            self.retire()
        self._on_ready()

    def retire(self) -> None:
        """Raises SpoolUnavailable, DatabaseUnavailable."""
        if retired := self.segments.retire():
            self.catalogue.retired(retired)

    # ---- for the start

    def number_from(self, number: int) -> None:
        """Give no number again that is up to `number`."""
        with self._lock:
            self._next_number = max(self._next_number, number + 1)

    def forget_what_is_retired(self) -> None:
        """Forget what lay in segments that were let go of just before a stop."""
        self.catalogue.retired([number for number in self.catalogue.segments() if not self.segments.has(number)])

    def note_all_complete(self) -> None:
        """Note that no start has to look again through the segments that are here now."""
        with self._database.transaction() as connection:
            complete = self.note_complete(connection)
            if self.segments.all_known():
                self.catalogue.forget_moved(connection)
        self.segments.noted(complete)

    def note_path(self, spooled: Spooled) -> Path:
        """Return where the note of an object lies that is a file of its own."""
        return self.files / f"{spooled.name}{NOTE_SUFFIX}"

    def unregistered_files(self) -> list[Spooled]:
        """Return the whole objects in files/ that the catalogue does not know, or knows to have left."""
        found = []
        for number, object_id, path in self._named_files():
            row = self.catalogue.find(object_id)
            if row is None or row.state is State.GONE:
                found.append(Spooled(number, object_id, path.stat().st_size))
        return sorted(found)

    def clear_incoming(self) -> tuple[ObjectId, ...]:
        """Delete what a stopped agent was still writing; return the ids of the objects. Raises SpoolUnavailable."""
        try:
            leftovers = {path: name for path in self.incoming.iterdir() if (name := _object_id(path.name)) is not None}
            notes = [path for path in self.files.glob(f"*{NOTE_SUFFIX}") if _is_orphaned(path)]
            for path in (*leftovers, *notes):
                path.unlink()
            sync_folder(self.incoming)
        except OSError as exc:
            raise unavailable(exc) from exc
        return tuple(sorted(leftovers.values()))

    def _named_files(self) -> Iterator[tuple[int, ObjectId, Path]]:
        for path in self.files.iterdir():
            if (name := parse_name(path.name)) is not None:
                yield *name, path

    def _ended(self, incoming: Incoming, committed: bool) -> None:  # noqa: FBT001
        if incoming.slot is not None:
            self._slots.give_back(incoming.slot)
        if not committed:
            self._not_coming(incoming.object_id)
            self.attempts.end(incoming.object_id)

    def _copied(self, spooled: Spooled) -> bool:
        """Return whether an object of a segment is a durable file of its own now; one that cannot be read is not."""
        draft, target = self.incoming / str(spooled.object_id), self.files / spooled.name
        try:
            with self.open(spooled) as source, draft.open("xb") as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
            sync_folder(self.files)
        except (OSError, SpoolUnavailable):
            for path in (draft, target):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            return False
        return True

    def _unlink(self, spooled: Spooled) -> None:
        try:
            (self.files / spooled.name).unlink(missing_ok=True)
            self.note_path(spooled).unlink(missing_ok=True)
            sync_folder(self.files)
        except OSError as exc:
            raise unavailable(exc) from exc

    def _verify_quota(self, more_bytes: int) -> None:
        """Raises QuotaReached: so many bytes more are not to be taken. Called with the lock held."""
        quota_bytes, held_bytes = self._quota(), self._held_bytes + self._coming_bytes
        if quota_bytes and held_bytes + more_bytes > quota_bytes:
            raise QuotaReached(held_bytes=held_bytes, more_bytes=more_bytes, quota_bytes=quota_bytes)

    def _verify_free(self) -> None:
        """Raises SpoolFull, SpoolUnavailable: what there is left is the journal's."""
        if self._free() < self._reserve_bytes:
            self.segments.drop_spares()
            if (free_bytes := self._free()) < self._reserve_bytes:
                raise SpoolFull(free_bytes=free_bytes, reserve_bytes=self._reserve_bytes)

    def _not_coming(self, object_id: ObjectId) -> None:
        with self._lock:
            self._coming_bytes -= self._coming.pop(object_id, 0)

    def _free(self) -> int:
        try:
            return self._free_bytes(self.folder)
        except OSError as exc:
            raise unavailable(exc) from exc


def _object_id(name: str) -> ObjectId | None:
    try:
        return ObjectId.parse(name)
    except Malformed:
        return None


def _written(path: Path, source: Readable, reserve: Callable[[int], None]) -> int:
    """Make all of `source` a new, durable file; return its size.

    Raises SpoolUnavailable, what reading raises, and what `reserve` does, told the new size before each piece.
    """
    with _own_faults():
        file = path.open("xb", buffering=0)
    with file:
        while piece := source.read(_COPY_BYTES):
            reserve(file.tell() + len(piece))
            with _own_faults():
                write_all(file, memoryview(piece))
        with _own_faults():
            os.fsync(file.fileno())
        return file.tell()


@contextmanager
def _own_faults() -> Iterator[None]:
    """Tell a fault of the spool's disk from one of what is read into it: both are OSError."""
    try:
        yield
    except OSError as exc:
        raise unavailable(exc) from exc


def _is_orphaned(note: Path) -> bool:
    return parse_name(note.stem) is not None and not note.with_suffix("").exists()

"""What is known of an attempt to wipe a drive, durable before it is needed. One folder each, root's alone.

    attempts/TICKET/ticket   the envelope as it was accepted
                    draft    the report as far as it is true
                    pass     how far the pass under way is on the drive for good (engine: PassState)
                    before   samples of the drive from before a command, for a read back that looks for change
                    ended    that the draft is final
                    reserve  room on the disk for what is still to be written here

A folder is made whole beside its place and renamed there before the first write to the drive: a ticket that has one is
used, for good, and one that has none was never begun. Each file is replaced whole. Whatever cuts this short leaves what
was true last, and never an ending that was not reached.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_agent.files import make_folder, sync_folder, write_over
from edge_agent.usb_policy.trust import FileUnreadable, read_small
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed, Refused, Unavailable
from shared.sanitization.report import MAX_BYTES, StepOutcome, WipeReport
from shared.sanitization.technique import Technique
from shared.sanitization.ticket import TicketId

_MAX_PASS_BYTES, _MAX_BEFORE_BYTES = 64 << 10, 1 << 20
_RESERVE_BYTES = 2 * (MAX_BYTES + _MAX_PASS_BYTES + _MAX_BEFORE_BYTES)


class TicketUsed(Refused):
    def __init__(self, ticket_id: TicketId) -> None:
        super().__init__(
            f"ticket {ticket_id} was begun on this host before, and holds once; what came of it: leadglass-wipe status"
        )
        self.ticket_id = ticket_id


class NotKept(Unavailable):
    """Before the first write it stops everything, and afterwards it ends what is under way."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"what is done to the drive cannot be noted in {folder}: {why}")
        self.folder, self.why = folder, why


class AlreadyAtWork(Refused):
    def __init__(self, what: str) -> None:
        super().__init__(f"another leadglass-wipe is at work on {what}")
        self.what = what


class Standing(StrEnum):
    """How an attempt stands when nobody is at work on it.

    `RESUMABLE`: it was cut short, and can be brought to an end. `INCOMPLETE`: its drive is not there, or is another.
    `UNKNOWN`: what is noted of it cannot be read, or its drive was at work by itself and is gone.
    """

    ENDED = "ended"
    RESUMABLE = "resumable"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Found:
    """What lies there of an attempt. `draft` is None where it cannot be read, and `why` says so."""

    ticket_id: TicketId
    envelope: bytes
    draft: WipeReport | None
    is_ended: bool
    why: str = ""


def standing(found: Found, *, is_drive_there: bool) -> Standing:
    """Return how an attempt stands; `is_drive_there`: the very drive, as it was found before."""
    draft = found.draft
    if draft is None:
        return Standing.UNKNOWN
    if found.is_ended:
        return Standing.ENDED
    if is_drive_there:
        return Standing.RESUMABLE
    cut = [step for step in draft.steps if step.outcome is StepOutcome.UNKNOWN]
    by_itself = any(step.technique is not Technique.OVERWRITE for step in cut)
    return Standing.UNKNOWN if by_itself else Standing.INCOMPLETE


class Attempt:
    """One that was begun, for whoever holds its lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, draft: WipeReport) -> None:
        """Put `draft` in the place of what was known. Raises NotKept."""
        self._write("draft", draft.encode())

    def end(self, final: WipeReport) -> None:
        """Keep what became of it for good. Raises NotKept."""
        self.keep(final)
        self._write("ended", b"")

    def keep_pass(self, state: bytes) -> None:
        """Raises NotKept."""
        self._write("pass", state)

    def keep_before(self, samples: bytes) -> None:
        """Raises NotKept."""
        self._write("before", samples)

    def kept_pass(self) -> bytes | None:
        return self._read("pass", _MAX_PASS_BYTES)

    def kept_before(self) -> bytes | None:
        return self._read("before", _MAX_BEFORE_BYTES)

    def _read(self, name: str, most_bytes: int) -> bytes | None:
        try:
            return read_small(self._folder / name, most_bytes)
        except (FileNotFoundError, FileUnreadable):
            return None

    def _write(self, name: str, content: bytes) -> None:
        try:
            try:
                write_over(self._folder / name, content)
            except OSError:
                # The disk filled up since: what was kept free for this is given back to it.
                (self._folder / "reserve").unlink(missing_ok=True)
                write_over(self._folder / name, content)
        except OSError as exc:
            raise NotKept(self._folder, exc.strerror or "it failed") from exc


class Attempts:
    """All attempts of this host. `state` is the program's folder, which `leadglass-provision install` makes."""

    def __init__(self, state: Path) -> None:
        self._folder, self._locks = state / "attempts", state / "locks"

    def is_used(self, ticket_id: TicketId) -> bool:
        return os.path.lexists(self._folder / str(ticket_id))

    def lock(self, ticket_id: TicketId) -> Path:
        """Return a ticket's file for `alone_on`. Raises NotKept."""
        file = self._locks / str(ticket_id)
        try:
            make_folder(self._locks)
            file.touch(mode=0o600)
        except OSError as exc:
            raise NotKept(self._locks, exc.strerror or "it failed") from exc
        return file

    def is_at_work(self, ticket_id: TicketId) -> bool:
        """Return whether another run has the ticket at this moment."""
        try:
            with alone_on(self.lock(ticket_id), ""):
                return False
        except AlreadyAtWork:
            return True

    def begin(self, ticket_id: TicketId, envelope: bytes, draft: WipeReport) -> Attempt:
        """Use the ticket up, and have room for all that will be noted. Raises TicketUsed, NotKept."""
        place, made = self._folder / str(ticket_id), self._folder / f".{ticket_id}.new"
        if self.is_used(ticket_id):
            raise TicketUsed(ticket_id)
        try:
            make_folder(self._folder)
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(mode=0o700)
            _allocate(made / "reserve", _RESERVE_BYTES)
            write_over(made / "ticket", envelope)
            write_over(made / "draft", draft.encode())
            made.rename(place)
            sync_folder(self._folder)
        except OSError as exc:
            with suppress(OSError):
                shutil.rmtree(made)
            raise NotKept(self._folder, exc.strerror or "it failed") from exc
        return Attempt(place)

    def go_on(self, ticket_id: TicketId) -> Attempt:
        return Attempt(self._folder / str(ticket_id))

    def all(self) -> tuple[Found, ...]:
        """Return what lies here, by the tickets' ids."""
        try:
            names = sorted(entry.name for entry in self._folder.iterdir())
        except FileNotFoundError:
            return ()
        return tuple(self._found(TicketId.parse(name)) for name in names if _is_ticket(name))

    def find(self, ticket_id: TicketId) -> Found | None:
        return self._found(ticket_id) if self.is_used(ticket_id) else None

    def _found(self, ticket_id: TicketId) -> Found:
        folder = self._folder / str(ticket_id)
        try:
            envelope = read_small(folder / "ticket", MAX_ENVELOPE_BYTES)
            draft = WipeReport.parse(read_small(folder / "draft", MAX_BYTES))
        except (OSError, FileUnreadable, Malformed) as exc:
            return Found(ticket_id, b"", None, is_ended=False, why=str(exc))
        return Found(ticket_id, envelope, draft, is_ended=(folder / "ended").exists())


@contextmanager
def alone_on(file: Path, what: str) -> Iterator[None]:
    """Hold the lock of a drive's node, or of a file of ours. Raises AlreadyAtWork, NotKept.

    That on a node is also what has udev look at no partition meanwhile (systemd.io/BLOCK_DEVICE_LOCKING).
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise NotKept(file, exc.strerror or "it cannot be opened") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise AlreadyAtWork(what) from exc
    try:
        yield
    finally:
        os.close(descriptor)


def _allocate(file: Path, size_bytes: int) -> None:
    with file.open("xb") as opened:
        os.posix_fallocate(opened.fileno(), 0, size_bytes)
        os.fsync(opened.fileno())


def _is_ticket(name: str) -> bool:
    with suppress(Malformed):
        return str(TicketId.parse(name)) == name
    return False

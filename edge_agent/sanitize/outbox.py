"""What the unprivileged agent may read of wipes, and brings to the centre: notes, and signed reports.

    out/TICKET.SEQ.note   what just became of a ticket (shared/sanitization/note.py); never changed
        TICKET.report     the signed report; one of a refusal is replaced by that of a later attempt

Each is there whole or not at all, 0640, of the group that the folder has.  docs/formats/wipe.md
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge_agent.files import sync_folder
from edge_agent.sanitize.attempt import NotKept
from edge_agent.usb_policy.trust import FileUnreadable, read_small
from shared.clock import Clock
from shared.devices.printable import printable
from shared.errors import Malformed
from shared.sanitization.exchange import NOTE_SUFFIX, REPORT_SUFFIX
from shared.sanitization.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.sanitization.note import MAX_DETAIL_CHARS, NoteEvent, WipeNote
from shared.sanitization.report import MAX_BYTES
from shared.sanitization.ticket import TicketId

_MAX_SIGNED_BYTES = MAX_BYTES + 1024
_NOTE = re.compile(rf"[0-9a-f]{{32}}\.([1-9][0-9]{{0,3}}){re.escape(NOTE_SUFFIX)}")


class Outbox:
    """For one ticket's run at a time, whoever holds its lock."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._folder, self._clock = state / "out", clock

    def note(self, ticket_id: TicketId, event: NoteEvent, detail: str) -> None:
        """Raises NotKept."""
        try:
            seq = 1 + max(self._numbers(ticket_id), default=0)
            note = WipeNote(ticket_id, seq, event, self._clock.now(), printable(detail, MAX_DETAIL_CHARS))
            self._write(note.file_name, note.encode())
        except OSError as exc:
            raise NotKept(self._folder, exc.strerror or "it failed") from exc

    def has_ended(self, ticket_id: TicketId) -> bool:
        """Return whether a note says so."""
        return any(note.event is NoteEvent.ENDED for note in self._notes(ticket_id))

    def report(self, ticket_id: TicketId, signed: bytes) -> Path:
        """Put a signed report there. Raises NotKept."""
        try:
            self._write(f"{ticket_id}{REPORT_SUFFIX}", signed)
        except OSError as exc:
            raise NotKept(self._folder, exc.strerror or "it failed") from exc
        return self.report_file(ticket_id)

    def report_file(self, ticket_id: TicketId) -> Path:
        return self._folder / f"{ticket_id}{REPORT_SUFFIX}"

    def signed_report(self, ticket_id: TicketId) -> bytes | None:
        """Return what lies there; None: nothing, or nothing that can be read."""
        try:
            return read_small(self.report_file(ticket_id), _MAX_SIGNED_BYTES)
        except (FileNotFoundError, FileUnreadable):
            return None

    def verify_room(self, needed_bytes: int) -> None:
        """Raises NotKept: the disk does not have this much left."""
        try:
            free = os.statvfs(self._folder)
        except OSError as exc:
            raise NotKept(self._folder, exc.strerror or "it cannot be looked at") from exc
        if free.f_bavail * free.f_frsize < needed_bytes:
            raise NotKept(self._folder, f"the disk has less than {needed_bytes} bytes left")

    def _notes(self, ticket_id: TicketId) -> Iterator[WipeNote]:
        for seq in self._numbers(ticket_id):
            with suppress(FileNotFoundError, FileUnreadable, Malformed):
                yield WipeNote.parse(read_small(self._folder / f"{ticket_id}.{seq}{NOTE_SUFFIX}", MAX_NOTE_BYTES))

    def _numbers(self, ticket_id: TicketId) -> Iterator[int]:
        for entry in self._folder.iterdir():
            if entry.name.startswith(str(ticket_id)) and (named := _NOTE.fullmatch(entry.name)):
                yield int(named[1])

    def _write(self, name: str, content: bytes) -> None:
        """Raises OSError."""
        draft, group = self._folder / f".{name}.new", self._folder.stat().st_gid
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as opened:
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o640)
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
        draft.rename(self._folder / name)
        sync_folder(self._folder)

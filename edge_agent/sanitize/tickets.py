"""Tickets as they come: from the agent's folder, in a file that somebody brings, as the text of QR codes.

Whoever wrote them may be hostile: no link, pipe or device is followed, nothing large is read, and nothing is believed.
"""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.usb_policy.trust import FileUnreadable, read_small
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed, Refused
from shared.sanitization.exchange import ASKED_FILE, MAX_ASKED_BYTES, TICKET_SUFFIX, Asked
from shared.sanitization.qr_text import from_lines, from_text, is_qr_text

_MOST_LISTED = 64
_MAX_FILE_BYTES = 4 * MAX_ENVELOPE_BYTES


class NoTicket(Refused):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"there is no ticket to be read in {file}: {why}")
        self.file, self.why = file, why


@dataclass(frozen=True)
class Offered:
    """An envelope and where it came from; nothing of it is verified."""

    where: str
    envelope: bytes


def folder_of(agent_data: Path) -> Path:
    return agent_data / "wipe-tickets"


def in_folder(folder: Path) -> tuple[Offered, ...]:
    """Return what the agent brought; what cannot be read as a small file is left out."""
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.name.endswith(TICKET_SUFFIX))[:_MOST_LISTED]
    except OSError:
        return ()
    found = list[Offered]()
    for file in files:
        try:
            found.append(Offered(file.name, read_small(file, MAX_ENVELOPE_BYTES)))
        except (FileNotFoundError, FileUnreadable):
            continue
    return tuple(found)


def in_file(file: Path) -> Offered:
    """Raises NoTicket, Malformed."""
    try:
        data = read_small(file, _MAX_FILE_BYTES)
    except FileNotFoundError as exc:
        raise NoTicket(file, "it is not there") from exc
    except FileUnreadable as exc:
        raise NoTicket(file, exc.why) from exc
    return Offered(str(file), from_text(data) if is_qr_text(data) else data)


def in_text(text: str) -> Offered:
    """Return what the text of QR codes makes. Raises Malformed."""
    return Offered("QR", from_lines(text.splitlines()))


def is_held(folder: Path) -> bool | None:
    """Return whether the centre said last that an incident holds this host; None: nobody knows."""
    try:
        return Asked.parse(read_small(folder / ASKED_FILE, MAX_ASKED_BYTES)).hold
    except (FileNotFoundError, FileUnreadable, Malformed):
        return None

"""The folder in which `leadglass-wipe` finds tickets of the centre. It verifies them itself, as bytes of a stranger's.

    wipe-tickets/TICKET.ticket   an envelope, as the centre gave it; gone once the centre gives it no more
                 centre.json     when the centre was asked last, and whether an incident holds this host

docs/formats/wipe.md
"""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.files import make_folder, write_over
from edge_agent.log import Log, why
from shared.errors import Malformed
from shared.sanitization.envelope import SignedTicket
from shared.sanitization.exchange import ASKED_FILE, TICKET_SUFFIX, Asked

FOLDER = "wipe-tickets"


class TicketInbox:
    def __init__(self, folder: Path, log: Log) -> None:
        self._folder, self._log = folder, log

    def is_empty(self) -> bool:
        """Return whether no ticket lies there. Raises OSError."""
        return not self._folder.is_dir() or not self._names()

    def keep(self, offered: Sequence[bytes], asked: Asked) -> None:
        """Have the folder hold just these tickets. Raises OSError."""
        make_folder(self._folder)
        wanted = dict(filter(None, map(self._named, offered)))
        for name in self._names() - set(wanted):
            (self._folder / name).unlink(missing_ok=True)
        for name, envelope in wanted.items():
            file = self._folder / name
            if not file.is_file() or file.read_bytes() != envelope:
                write_over(file, envelope)
        write_over(self._folder / ASKED_FILE, asked.encode())

    def _names(self) -> set[str]:
        return {file.name for file in self._folder.glob(f"*{TICKET_SUFFIX}")}

    def _named(self, envelope: bytes) -> tuple[str, bytes] | None:
        try:
            return f"{SignedTicket.parse(envelope).claimed.ticket_id}{TICKET_SUFFIX}", envelope
        except Malformed as exc:  # which keeps no other ticket from its drive
            self._log.event("wipe.ticket-unreadable", why=why(exc))
            return None

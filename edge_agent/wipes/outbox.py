"""What `leadglass-wipe` has to tell: notes and signed reports in root's folder, which this account may only read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.usb_policy.trust import read_small
from shared.sanitization.exchange import NOTE_SUFFIX, REPORT_SUFFIX
from shared.sanitization.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.sanitization.report import MAX_BYTES
from shared.sanitization.ticket import TicketId

WIPE_FOLDER, FOLDER = Path("/var/lib/leadglass-wipe"), "out"
MAX_SIGNED_REPORT_BYTES = MAX_BYTES + 256
_MOST_FILES = 10_000
_TICKET = r"(?P<ticket>[0-9a-f]{32})"
_NOTE = re.compile(rf"{_TICKET}\.(?P<seq>[1-9][0-9]{{0,3}}){re.escape(NOTE_SUFFIX)}")
_REPORT = re.compile(rf"{_TICKET}{re.escape(REPORT_SUFFIX)}")


@dataclass(frozen=True)
class Told:
    """A file that is there. `seq` is None for a report; `version` changes whenever the file does."""

    name: str
    ticket_id: TicketId
    seq: int | None
    version: int

    @property
    def order(self) -> tuple[int, int, str]:
        """The notes of a ticket in their order, and its report after them."""
        return (1, 0, self.name) if self.seq is None else (0, self.seq, self.name)


class WipeOutbox:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def changed(self) -> int:
        """Return a number that is another one once a file has come or was replaced; 0 where there is no folder."""
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0

    def files(self) -> list[Told]:
        """Return what is there, in the order in which it is to be told."""
        try:
            with os.scandir(self._folder) as entries:
                found = [told for told in map(_told, _first(entries)) if told is not None]
        except OSError:
            return []
        return sorted(found, key=lambda told: told.order)

    def read(self, told: Told) -> bytes:
        """Raises FileNotFoundError, FileUnreadable."""
        return read_small(self._folder / told.name, MAX_SIGNED_REPORT_BYTES if told.seq is None else MAX_NOTE_BYTES)


def _first(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    for number, entry in enumerate(entries):
        if number == _MOST_FILES:
            return
        yield entry


def _told(entry: os.DirEntry[str]) -> Told | None:
    found = _NOTE.fullmatch(entry.name) or _REPORT.fullmatch(entry.name)
    if found is None:
        return None
    try:
        version = entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return None
    seq = found.groupdict().get("seq")
    return Told(entry.name, TicketId.parse(found["ticket"]), None if seq is None else int(seq), version)

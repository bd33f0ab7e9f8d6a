"""A note of `leadglass-wipe`: what just became of a ticket, in its folder, for the unprivileged agent to tell.

    note = canonical JSON {"v", "ticket", "seq", "event", "time", "detail"}, in the file TICKET.SEQ.note

A note is no evidence: only the signed report is. The agent makes an audit record of each, so that the centre knows of a
beginning also where no end ever comes.
docs/formats/wipe.md
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import canonical, clock
from shared.devices.printable import FIT
from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.ticket import TicketId

MAX_BYTES = 2048
MAX_SEQ = 9999
_TEXT = rf"{FIT}*"
MAX_DETAIL_CHARS = 300


class NoteEvent(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    STARTED = "started"
    RESUMED = "resumed"
    ENDED = "ended"


@dataclass(frozen=True)
class WipeNote:
    """`seq` counts from 1, without a gap."""

    ticket_id: TicketId
    seq: int
    event: NoteEvent
    time: datetime
    detail: str

    @property
    def file_name(self) -> str:
        return f"{self.ticket_id}.{self.seq}.note"

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "ticket": str(self.ticket_id),
                "seq": self.seq,
                "event": self.event.value,
                "time": clock.text(self.time),
                "detail": self.detail,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "WipeNote":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("wipe note", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "wipe note"), "wipe note")
        fields.version()
        note = cls(
            ticket_id=TicketId.parse(fields.text("ticket")),
            seq=fields.integer("seq", least=1, most=MAX_SEQ),
            event=NoteEvent(fields.choice("event", list(NoteEvent))),
            time=fields.instant("time"),
            detail=fields.text("detail", _TEXT, max_chars=MAX_DETAIL_CHARS),
        )
        fields.done()
        return note

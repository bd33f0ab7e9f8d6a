"""What a host's agent and the hosts' door say to each other about wipes.

    listed = canonical JSON {"v", "hold", "tickets": [base64 of an envelope, ...]}
    asked  = canonical JSON {"v", "asked", "hold"}: what the agent leaves beside the tickets for `leadglass-wipe`

docs/formats/wipe.md
"""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64
from shared.sanitization.ticket import TicketId

PATH = "/api/v1/wipes"
MAX_LISTED = 16
MAX_LISTED_BYTES = MAX_LISTED * MAX_ENVELOPE_BYTES * 4 // 3 + 1024
MAX_ASKED_BYTES = 200
TICKET_SUFFIX, NOTE_SUFFIX, REPORT_SUFFIX, ASKED_FILE = ".ticket", ".note", ".report", "centre.json"


def notes_path(ticket_id: TicketId) -> str:
    return f"{PATH}/{ticket_id}/notes"


def report_path(ticket_id: TicketId) -> str:
    return f"{PATH}/{ticket_id}/report"


@dataclass(frozen=True)
class ListedWipes:
    """The envelopes that wait for a host, none of them read yet, and whether an incident holds it."""

    hold: bool
    tickets: tuple[bytes, ...]

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "hold": self.hold, "tickets": [encode_base64(one) for one in self.tickets]})

    @classmethod
    def parse(cls, data: bytes) -> "ListedWipes":
        """Raises Malformed."""
        what = "list of wipe tickets"
        if len(data) > MAX_LISTED_BYTES:
            raise Malformed(what, f"larger than {MAX_LISTED_BYTES} bytes")
        fields = Fields(canonical.parse(data, what), what)
        fields.version()
        hold, listed = fields.flag("hold"), fields.items("tickets", most=MAX_LISTED)
        fields.done()
        return cls(hold, tuple(decode_base64(one, what, MAX_ENVELOPE_BYTES) for one in listed))


@dataclass(frozen=True)
class Asked:
    """When the centre was asked last, by the agent's clock, and whether it said that an incident holds the host."""

    asked: datetime
    hold: bool

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "asked": clock.text(self.asked), "hold": self.hold})

    @classmethod
    def parse(cls, data: bytes) -> "Asked":
        """Raises Malformed."""
        what = "centre's word on wipes"
        if len(data) > MAX_ASKED_BYTES:
            raise Malformed(what, f"larger than {MAX_ASKED_BYTES} bytes")
        fields = Fields(canonical.parse(data, what), what)
        fields.version()
        asked = cls(fields.instant("asked"), fields.flag("hold"))
        fields.done()
        return asked

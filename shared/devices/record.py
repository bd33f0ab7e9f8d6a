"""What the guard writes down: numbered and chained, durable before what it says is acted on or acknowledged.

    line  = canonical JSON, the members of `GuardRecord`
    prev  = SHA-256 of the line before; 32 zero bytes before the first

The agent relays records into the audit journal under the host's name. It can withhold them, which shows as a gap in
the numbers, and it cannot change one unseen once a later one has been relayed.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

GENESIS = bytes(32)
MAX_BYTES = 4096
MAX_TEXT_CHARS = 500
OUTCOMES = (0, 4, 8, 12)  # DICOM PS3.15 A.5.1 EventOutcomeIndicator


def digest(line: bytes) -> bytes:
    """Return what the next record has as `prev`."""
    return sha256(line).digest()


class GuardEvent(StrEnum):
    STARTED = "guard.started"
    STOPPED = "guard.stopped"
    ATTACHED = "device.attached"
    DECIDED = "device.decided"
    ENFORCED = "device.enforced"
    DETACHED = "device.detached"
    DETECTED = "device.detected"  # on a bus where nothing is prevented
    GAP = "device.gap"  # events were missed; what was there afterwards was found by looking
    POLICY_ACCEPTED = "guard.policy-accepted"
    POLICY_REFUSED = "guard.policy-refused"
    PEER_REFUSED = "guard.peer-refused"  # somebody asked over the socket who may not
    CONSOLE_PINNED = "guard.console-pinned"
    RESCUE_USED = "guard.rescue-used"
    RESCUE_ENDED = "guard.rescue-ended"
    STORAGE_JUDGED = "device.storage-judged"
    FINDING = "host.finding"


@dataclass(frozen=True)
class GuardRecord:
    """`subject` is a port, a sysfs name or a check; `fields` are what the event is about, one printable line each."""

    number: int
    prev: bytes
    time: datetime
    event: GuardEvent
    outcome: int
    subject: str
    fields: dict[str, str]

    def encode(self) -> bytes:
        fields: dict[str, Json] = dict(self.fields)
        return canonical.encode(
            {
                "v": 1,
                "number": self.number,
                "prev": self.prev.hex(),
                "time": clock.text(self.time),
                "event": self.event.value,
                "outcome": self.outcome,
                "subject": self.subject,
                "fields": fields,
            }
        )

    @property
    def digest(self) -> bytes:
        return digest(self.encode())

    @classmethod
    def parse(cls, data: bytes) -> "GuardRecord":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("guard record", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "guard record"), "guard record")
        fields.version()
        named = fields.mapping("fields", most=32)
        texts = Fields(dict(named), "guard record fields")
        record = cls(
            fields.integer("number", least=1),
            fields.hex("prev", 32),
            fields.instant("time"),
            GuardEvent(fields.choice("event", list(GuardEvent))),
            fields.integer("outcome", most=12),
            fields.text("subject", max_chars=MAX_TEXT_CHARS),
            {name: texts.text(name, max_chars=MAX_TEXT_CHARS) for name in named},
        )
        fields.done()
        if record.outcome not in OUTCOMES:
            raise Malformed("guard record field 'outcome'", "expected 0, 4, 8 or 12")
        return record

"""A wipe ticket: what people allow one host to do to one drive, once and before it is too late.

    ticket   = canonical JSON, the members of `Ticket`
    envelope = canonical JSON {"v", "signed": [base64 of a signed statement, ...]}, all over the same ticket

Those sign it who approved the order, each with the key that signs policies; the centre can make none. The host holds it
against the policy that it verified itself, and needs nobody for that.
docs/formats/wipe.md
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from shared import canonical, clock
from shared.canonical import Json
from shared.devices.printable import FIT
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId, Identifier, KeyId
from shared.policy.wipe import MAX_TICKET_HOURS
from shared.sanitization.medium import MAX_TEXT_CHARS
from shared.sanitization.method import Method

MAX_BYTES = 4096
LONGEST = timedelta(hours=MAX_TICKET_HOURS)
PERSON_PATTERN = rf"{FIT}{{1,80}}"
_ASSET = rf"{FIT}{{1,80}}"
_PRINTABLE = r"[\x20-\x7e]*"


class TicketId(Identifier):
    """One ticket, for good: an enrolment starts what carries a name only once. Order and ticket share it."""


class Reason(StrEnum):
    """Why the drive is wiped; free text stays at the centre, sealed, for it may name somebody."""

    DISPOSAL = "disposal"
    RETURN = "return"
    REPAIR = "repair"
    REUSE = "reuse"
    INCIDENT = "incident"
    OTHER = "other"


class Override(StrEnum):
    """What may be lost with two persons' word; the loss is in the report."""

    INCIDENT_HOLD = "incident-hold"
    UNDELIVERED_IMAGES = "undelivered-images"


@dataclass(frozen=True)
class TargetDrive:
    """The drive that the ticket is for. `wwn` is empty where the drive has none, and then it must have none."""

    serial: str
    wwn: str
    model: str
    size_bytes: int

    def json(self) -> dict[str, Json]:
        return {"serial": self.serial, "wwn": self.wwn, "model": self.model, "size_bytes": self.size_bytes}

    def may_be(self, other: "TargetDrive") -> bool:
        """Say whether both may name one drive: by serial number or WWN alone, for a warning and no more."""
        return self.serial == other.serial or self.wwn == other.wwn != ""

    @classmethod
    def parse(cls, fields: Fields) -> "TargetDrive":
        """Raises Malformed."""
        target = cls(
            serial=fields.text("serial", r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", max_chars=MAX_TEXT_CHARS),
            wwn=fields.text("wwn", _PRINTABLE, max_chars=MAX_TEXT_CHARS),
            model=fields.text("model", _PRINTABLE, max_chars=MAX_TEXT_CHARS),
            size_bytes=fields.integer("size_bytes", least=1),
        )
        fields.done()
        return target


@dataclass(frozen=True)
class Ticket:
    """`evidence_key` names the enrolment: a host that was set up anew has another one. `person` does the wiping."""

    ticket_id: TicketId
    host_id: HostId
    evidence_key: KeyId
    asset: str
    drive: TargetDrive
    method: Method
    reason: Reason
    requester: str
    person: str
    overrides: tuple[Override, ...]
    issued: datetime
    expires: datetime

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "ticket": str(self.ticket_id),
                "host": str(self.host_id),
                "evidence_key": str(self.evidence_key),
                "asset": self.asset,
                "drive": self.drive.json(),
                "method": self.method.json(),
                "reason": self.reason.value,
                "requester": self.requester,
                "person": self.person,
                "overrides": [one.value for one in self.overrides],
                "issued": clock.text(self.issued),
                "expires": clock.text(self.expires),
            }
        )

    @property
    def digest(self) -> bytes:
        return sha256(self.encode()).digest()

    @classmethod
    def parse(cls, data: bytes) -> "Ticket":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("wipe ticket", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "wipe ticket"), "wipe ticket")
        fields.version()
        ticket = cls(
            ticket_id=TicketId.parse(fields.text("ticket")),
            host_id=HostId.parse(fields.text("host")),
            evidence_key=KeyId.parse(fields.text("evidence_key")),
            asset=fields.text("asset", _ASSET),
            drive=TargetDrive.parse(fields.fields("drive")),
            method=Method.parse(fields.fields("method")),
            reason=Reason(fields.choice("reason", list(Reason))),
            requester=fields.text("requester", PERSON_PATTERN),
            person=fields.text("person", PERSON_PATTERN),
            overrides=tuple(map(Override, fields.choices("overrides", list(Override)))),
            issued=fields.instant("issued"),
            expires=fields.instant("expires"),
        )
        fields.done()
        if list(ticket.overrides) != sorted(ticket.overrides):
            raise Malformed("wipe ticket field 'overrides'", "expected by rising name")
        if not timedelta(0) < ticket.expires - ticket.issued <= LONGEST:
            raise Malformed("wipe ticket field 'expires'", f"expected to follow 'issued' by at most {LONGEST}")
        return ticket

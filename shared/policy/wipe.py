"""The `wipe` section of a policy: what a certified wipe of a host's drive needs at least.

Without the section no drive is wiped. The classes are those of NIST SP 800-88: Clear stops simple recovery, Purge
recovery with laboratory means.  docs/formats/policy.md section 2
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.fields import Fields

MAX_APPROVALS = 5
MAX_TICKET_HOURS = 168


class LeastClass(StrEnum):
    """In rising strictness."""

    CLEAR = "clear"
    PURGE = "purge"


class ReadBack(StrEnum):
    """How much of the medium is read again afterwards; in rising strictness."""

    SAMPLES = "samples"
    WHOLE = "whole"


@dataclass(frozen=True)
class WipePolicy:
    """`approvals` is of how many people besides the one who asks, `ticket_hours` for how long they hold."""

    least: LeastClass
    read_back: ReadBack
    approvals: int
    ticket_hours: int

    def stricter(self, other: "WipePolicy") -> "WipePolicy":
        """Return what satisfies both."""
        classes, amounts = list(LeastClass), list(ReadBack)
        return WipePolicy(
            max(self.least, other.least, key=classes.index),
            max(self.read_back, other.read_back, key=amounts.index),
            max(self.approvals, other.approvals),
            min(self.ticket_hours, other.ticket_hours),
        )

    def json(self) -> dict[str, Json]:
        return {
            "least": self.least.value,
            "read_back": self.read_back.value,
            "approvals": self.approvals,
            "ticket_hours": self.ticket_hours,
        }

    @classmethod
    def parse(cls, fields: Fields) -> "WipePolicy":
        """Raises Malformed."""
        policy = cls(
            LeastClass(fields.choice("least", list(LeastClass))),
            ReadBack(fields.choice("read_back", list(ReadBack))),
            fields.integer("approvals", least=1, most=MAX_APPROVALS),
            fields.integer("ticket_hours", least=1, most=MAX_TICKET_HOURS),
        )
        fields.done()
        return policy

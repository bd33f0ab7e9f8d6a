"""A rule of USBGuard's language as a value.  docs/formats/device-policy.md"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Stands in until the language is here."""

    text: str

"""A rule of USBGuard's language as a value, and its one canonical text.  docs/formats/device-policy.md

Text in a rule is what the file holds as UTF-8; a byte that is not UTF-8 is kept as a lone surrogate (PEP 383), so that
the canonical text, which is printable ASCII throughout, gives every byte back.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

Value = TypeVar("Value", bound="DeviceId | InterfaceType | Condition | str")
_ESCAPED = {0x22: '\\"', 0x5C: "\\\\"}


class RuleTarget(StrEnum):
    """What the language knows; only the first three decide about a device, the others are for queries."""

    ALLOW = "allow"
    BLOCK = "block"
    REJECT = "reject"
    MATCH = "match"
    DEVICE = "device"


class SetOperator(StrEnum):
    """How the values of an attribute are held against those of a device; for conditions, against which of them hold."""

    ALL_OF = "all-of"
    ONE_OF = "one-of"
    NONE_OF = "none-of"
    EQUALS = "equals"
    EQUALS_ORDERED = "equals-ordered"
    MATCH_ALL = "match-all"


class ConditionName(StrEnum):
    LOCALTIME = "localtime"
    ALLOWED_MATCHES = "allowed-matches"
    RULE_APPLIED = "rule-applied"
    RULE_EVALUATED = "rule-evaluated"
    RANDOM = "random"
    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True, slots=True)
class DeviceId:
    """Vendor and product; None is the asterisk, which a vendor has only together with the product."""

    vendor: int | None
    product: int | None

    def __str__(self) -> str:
        vendor = "*" if self.vendor is None else f"{self.vendor:04x}"
        return f"{vendor}:{'*' if self.product is None else f'{self.product:04x}'}"


@dataclass(frozen=True, slots=True)
class InterfaceType:
    """An interface, or all those of a class or subclass; None is the asterisk."""

    class_code: int
    subclass: int | None = None
    protocol: int | None = None

    def __str__(self) -> str:
        parts = (self.class_code, self.subclass, self.protocol)
        return ":".join("*" if part is None else f"{part:02x}" for part in parts)


@dataclass(frozen=True, slots=True)
class DayTime:
    """Seconds since local midnight, both included."""

    first_s: int
    last_s: int


@dataclass(frozen=True, slots=True)
class Condition:
    """`parameter` is the text between the parentheses as it was written; `meaning` is what it says, where it is there.

    The meaning of `localtime` is a DayTime, of `allowed-matches` a rule, of `rule-applied` and `rule-evaluated` how
    long ago at most, and of `random` the probability.
    """

    name: ConditionName
    negated: bool = False
    parameter: str = ""
    meaning: "DayTime | Rule | timedelta | float | None" = field(default=None, compare=False)

    def __str__(self) -> str:
        parameter = f"({self.parameter})" if self.parameter else ""
        return f"{'!' if self.negated else ''}{self.name}{parameter}"


@dataclass(frozen=True, slots=True)
class Attribute(Generic[Value]):
    """Without values it is not in the rule, and applies to whatever a device has."""

    values: tuple[Value, ...] = ()
    operator: SetOperator = SetOperator.EQUALS

    def text(self) -> str:
        values = " ".join(quoted(value) if isinstance(value, str) else str(value) for value in self.values)
        if self.operator is not SetOperator.EQUALS:
            return f"{self.operator} {{ {values} }}"
        return f"{{ {values} }}" if len(self.values) > 1 else values


_NO_ID: Attribute[DeviceId] = Attribute()
_NO_INTERFACE: Attribute[InterfaceType] = Attribute()
_NO_TEXT: Attribute[str] = Attribute()
_NO_CONDITION: Attribute[Condition] = Attribute()


@dataclass(frozen=True, slots=True)
class Rule:
    target: RuleTarget
    id: Attribute[DeviceId] = _NO_ID
    serial: Attribute[str] = _NO_TEXT
    name: Attribute[str] = _NO_TEXT
    hash: Attribute[str] = _NO_TEXT
    parent_hash: Attribute[str] = _NO_TEXT
    via_port: Attribute[str] = _NO_TEXT
    with_interface: Attribute[InterfaceType] = _NO_INTERFACE
    conditions: Attribute[Condition] = _NO_CONDITION
    with_connect_type: Attribute[str] = _NO_TEXT
    label: Attribute[str] = _NO_TEXT

    def asks(self, name: ConditionName) -> bool:
        return any(condition.name is name for condition in self.conditions.values)

    def text(self) -> str:
        """Return the canonical text, as `usbguard-rule-parser` prints it, with hexadecimal digits in lower case."""
        attributes = (
            ("id", self.id),
            ("serial", self.serial),
            ("name", self.name),
            ("hash", self.hash),
            ("parent-hash", self.parent_hash),
            ("via-port", self.via_port),
            ("with-interface", self.with_interface),
            ("if", self.conditions),
            ("with-connect-type", self.with_connect_type),
            ("label", self.label),
        )
        present = (f" {name} {attribute.text()}" for name, attribute in attributes if attribute.values)
        return self.target + "".join(present)


def quoted(value: str) -> str:
    """Return `value` in quotation marks; each byte that is not printable ASCII is written in hexadecimal."""
    return '"' + "".join(map(_escaped, value.encode("utf-8", "surrogateescape"))) + '"'


def _escaped(byte: int) -> str:
    if byte in _ESCAPED:
        return _ESCAPED[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"

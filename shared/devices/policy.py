"""The `devices` section of a policy: USBGuard rules, and what goes beyond them.  docs/formats/device-policy.md

    {"rules": [{"rule": text, ...}, ...], "default": "block", ...}

A member that would say the default is left out, so that one policy has one text.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from shared import clock
from shared.canonical import Json
from shared.devices.device import Interface
from shared.devices.index import RuleIndex
from shared.devices.others import OtherKinds
from shared.devices.parse import MAX_RULE_CHARS, MAX_RULES, parse_rule
from shared.devices.rule import ConditionName, Rule
from shared.devices.verdict import Access, Target
from shared.errors import Malformed
from shared.fields import Fields

MAX_CONTACT_CHARS, MAX_RESCUE_MINUTES, MAX_INTERFACES = 200, 60, 16
PORT_PATTERN = r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}"
_INTERFACE = r"[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}"


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """One rule and what stands beside it. Outside of its time, or where the time is not certain, it allows nothing.

    Raises Malformed: what stands beside it says nothing of a rule with this target.
    """

    rule: Rule
    not_before: datetime | None = None
    not_after: datetime | None = None
    access: Access = Access.READ_WRITE
    only_encrypted: bool = False
    interfaces: tuple[Interface, ...] = ()  # authorise only these of a composite device; empty: all
    observe_until: datetime | None = None  # until then a block or reject is recorded and not done
    hardware_encrypted: bool = False  # counts as encrypted, because policy lists it here: asserted, not measured

    def __post_init__(self) -> None:
        if self.rule.target.value not in list(Target):
            raise Malformed("device rule", f"a policy allows, blocks or rejects; {self.rule.target} is for queries")
        limits = self.access is not Access.READ_WRITE or self.only_encrypted or bool(self.interfaces)
        if self.target is not Target.ALLOW and limits:
            raise Malformed("device rule", f"access, only_encrypted and interfaces say nothing of {self.target}")
        if self.hardware_encrypted and not (self.only_encrypted and self.rule.id.values):
            raise Malformed("device rule", "hardware_encrypted is said of the device of an id, beside only_encrypted")
        if self.target is Target.ALLOW and self.observe_until is not None:
            raise Malformed("device rule", "observe_until says nothing of allow")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise Malformed("device rule", "not_before is not before not_after")
        if len(self.interfaces) > MAX_INTERFACES or list(self.interfaces) != sorted(set(self.interfaces)):
            raise Malformed("device rule", f"interfaces are at most {MAX_INTERFACES}, sorted, each once")

    @property
    def target(self) -> Target:
        return Target(self.rule.target)

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"rule": self.rule.text()}
        for name in ("not_before", "not_after", "observe_until"):
            instant: datetime | None = getattr(self, name)
            if instant is not None:
                members[name] = clock.text(instant)
        if self.access is not Access.READ_WRITE:
            members["access"] = self.access.value
        if self.only_encrypted:
            members["only_encrypted"] = True
        if self.hardware_encrypted:
            members["hardware_encrypted"] = True
        if self.interfaces:
            members["interfaces"] = list(map(str, self.interfaces))
        return members

    @classmethod
    def parse(cls, value: Json, number: int) -> "DeviceRule":
        """Read rule `number` of a policy, which an error names as the line. Raises Malformed."""
        fields = Fields(value, f"device rule {number}")
        text = fields.text("rule", r"[\x20-\x7e]*", max_chars=MAX_RULE_CHARS)
        rule = parse_rule(text, number)
        if rule.text() != text:
            raise Malformed(f"device rule {number}", "not the canonical text of a rule")
        parsed = cls(
            rule,
            _instant(fields, "not_before"),
            _instant(fields, "not_after"),
            Access(fields.choice("access", [Access.READ_ONLY])) if fields.has("access") else Access.READ_WRITE,
            _true(fields, "only_encrypted"),
            tuple(map(_interface, fields.items("interfaces", most=MAX_INTERFACES) if fields.has("interfaces") else ())),
            _instant(fields, "observe_until"),
            _true(fields, "hardware_encrypted"),
        )
        fields.done()
        return parsed


@dataclass(frozen=True)
class Rescue:
    """A keyboard in this port works for `minutes` after the machine's start, for when the console's own one breaks."""

    port: str
    minutes: int

    def __post_init__(self) -> None:
        if not re.fullmatch(PORT_PATTERN, self.port) or not 1 <= self.minutes <= MAX_RESCUE_MINUTES:
            raise Malformed("rescue", f"expected a port such as 1-1.2 and 1 to {MAX_RESCUE_MINUTES} minutes")

    def json(self) -> dict[str, Json]:
        return {"port": self.port, "minutes": self.minutes}

    @classmethod
    def parse(cls, fields: Fields) -> "Rescue":
        """Raises Malformed."""
        rescue = cls(fields.text("port", max_chars=31), fields.integer("minutes"))
        fields.done()
        return rescue


@dataclass(frozen=True)
class DevicePolicy:
    """First match wins; what no rule matches is treated as `default` says."""

    rules: tuple[DeviceRule, ...] = ()
    default: Target = Target.BLOCK
    observe_until: datetime | None = None  # as in a rule, for what no rule decides
    suspicious: Target = Target.BLOCK  # ALLOW: suspicion is recorded and the rules decide
    rescue: Rescue | None = None
    contact: str = ""  # whom to call, as the technologist reads it
    language: str = "en"  # or zh
    others: OtherKinds = field(default_factory=OtherKinds)  # of what is detected and not prevented

    @cached_property
    def index(self) -> RuleIndex:
        return RuleIndex(self.rules)

    @cached_property
    def asks_for_history(self) -> bool:
        """Return whether a rule asks what was decided before."""
        history = (ConditionName.RULE_APPLIED, ConditionName.RULE_EVALUATED)
        return any(each.rule.asks(name) for each in self.rules for name in history)

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"rules": [rule.json() for rule in self.rules]}
        if self.default is not Target.BLOCK:
            members["default"] = self.default.value
        if self.observe_until is not None:
            members["observe_until"] = clock.text(self.observe_until)
        if self.suspicious is not Target.BLOCK:
            members["suspicious"] = self.suspicious.value
        if self.rescue is not None:
            members["rescue"] = self.rescue.json()
        if self.contact:
            members["contact"] = self.contact
        if self.language != "en":
            members["language"] = self.language
        if self.others.named:
            members["others"] = self.others.json()
        return members

    @classmethod
    def parse(cls, fields: Fields) -> "DevicePolicy":
        """Raises Malformed."""
        rules = fields.items("rules", most=MAX_RULES)
        policy = cls(
            tuple(DeviceRule.parse(rule, number) for number, rule in enumerate(rules, 1)),
            _other_than_block(fields, "default"),
            _instant(fields, "observe_until"),
            _other_than_block(fields, "suspicious"),
            Rescue.parse(fields.fields("rescue")) if fields.has("rescue") else None,
            _contact(fields),
            fields.choice("language", ["zh"]) if fields.has("language") else "en",
            OtherKinds.parse(fields.fields("others")) if fields.has("others") else OtherKinds(),
        )
        fields.done()
        return policy


def _contact(fields: Fields) -> str:
    one_line = r"[^\x00-\x1f\x7f]+"
    return fields.text("contact", one_line, max_chars=MAX_CONTACT_CHARS) if fields.has("contact") else ""


def _other_than_block(fields: Fields, name: str) -> Target:
    return Target(fields.choice(name, [Target.ALLOW, Target.REJECT])) if fields.has(name) else Target.BLOCK


def _instant(fields: Fields, name: str) -> datetime | None:
    return fields.instant(name) if fields.has(name) else None


def _true(fields: Fields, name: str) -> bool:
    if not fields.has(name):
        return False
    if not fields.flag(name):
        raise Malformed(f"device rule field {name!r}", "false is left out")
    return True


def _interface(value: Json) -> Interface:
    if not isinstance(value, str) or not re.fullmatch(_INTERFACE, value):
        raise Malformed("device rule field 'interfaces'", "expected cc:ss:pp in lower-case hexadecimal")
    class_code, subclass, protocol = (int(part, 16) for part in value.split(":"))
    return Interface(class_code, subclass, protocol)

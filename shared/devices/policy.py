"""The `devices` section of a policy: USBGuard rules, and what goes beyond them.  docs/formats/device-policy.md"""

from dataclasses import dataclass
from datetime import datetime

from shared.canonical import Json
from shared.devices.device import Interface
from shared.devices.rule import Rule
from shared.devices.verdict import Access, Target
from shared.fields import Fields


@dataclass(frozen=True)
class DeviceRule:
    """One rule and what stands beside it. Outside of its time, or where the time is not certain, it allows nothing."""

    rule: Rule
    not_before: datetime | None = None
    not_after: datetime | None = None
    access: Access = Access.READ_WRITE
    only_encrypted: bool = False
    interfaces: tuple[Interface, ...] = ()  # authorise only these of a composite device; empty: all
    observe_until: datetime | None = None  # until then a block or reject is recorded and not done


@dataclass(frozen=True)
class Rescue:
    """A keyboard in this port works for `minutes` after the machine's start, for when the console's own one breaks."""

    port: str
    minutes: int


@dataclass(frozen=True)
class DevicePolicy:
    """First match wins; what no rule matches is treated as `default` says."""

    rules: tuple[DeviceRule, ...] = ()
    default: Target = Target.BLOCK
    observe_until: datetime | None = None  # as in a rule, for what no rule matches
    suspicious: Target = Target.BLOCK  # ALLOW: suspicion is recorded and the rules decide
    rescue: Rescue | None = None
    contact: str = ""  # whom to call, as the technologist reads it
    language: str = "en"  # or zh

    def json(self) -> dict[str, Json]:
        """Stands in until the language is here."""
        return {"rules": [rule.rule.text for rule in self.rules], "default": self.default.value}

    @classmethod
    def parse(cls, fields: Fields) -> "DevicePolicy":
        rules = tuple(DeviceRule(Rule(str(rule))) for rule in fields.items("rules", most=1000))
        policy = cls(rules, Target(fields.choice("default", list(Target))))
        fields.done()
        return policy

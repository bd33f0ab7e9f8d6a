"""What a host's guard reports: its device tree with the verdicts, what it watches, and what it cannot see.

Part of the host's signed state. A member that was left out for size is counted in `left_out`, never silently missing.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import clock
from shared.canonical import Json
from shared.devices.device import MAX_TEXT_CHARS
from shared.devices.verdict import Access, Cause, Target
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.layer import PART_PATTERN

MAX_DEVICES, MAX_OTHERS, MAX_FINDINGS = 100, 100, 50
MAX_DETAIL_CHARS = 300
_MAX_LAYERS = 2
_PORT = r"[0-9a-z.-]{1,31}"
_INTERFACES = r"([0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}( |$)){0,16}"


class Authorized(StrEnum):
    """What sysfs said after the verdict was written there."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # it could not be read back


class Seen(StrEnum):
    NOW = "now"  # attached while the guard watched
    WHILE_DOWN = "while-down"  # found at a start or after a gap: attached, or changed, unseen
    BEFORE = "before"  # was there before, and still is


@dataclass(frozen=True)
class DeviceState:
    port: str
    parent: str
    id: str
    name: str
    serial: str
    identity: str
    interfaces: str  # at most 16, each cc:ss:pp, a space between
    seen: Seen
    since: datetime
    target: Target
    would_be: Target  # differs from `target` in observe mode only: not enforced
    cause: Cause
    rule: int
    detail: str
    access: Access
    authorized: Authorized

    @property
    def is_enforced(self) -> bool:
        """Return whether sysfs proved the verdict; an observed one is never enforced."""
        wanted = Authorized.YES if self.target is Target.ALLOW else Authorized.NO
        return self.would_be is self.target and self.authorized is wanted

    def json(self) -> dict[str, Json]:
        return {
            "port": self.port, "parent": self.parent, "id": self.id, "name": self.name, "serial": self.serial,
            "identity": self.identity, "interfaces": self.interfaces, "seen": self.seen.value,
            "since": clock.text(self.since), "target": self.target.value, "would_be": self.would_be.value,
            "cause": self.cause.value, "rule": self.rule, "detail": self.detail, "access": self.access.value,
            "authorized": self.authorized.value,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "DeviceState":
        """Raises Malformed."""
        fields = Fields(value, "device state")
        state = cls(
            fields.text("port", _PORT),
            fields.text("parent", rf"({_PORT})?"),
            fields.text("id", r"[0-9a-f]{4}:[0-9a-f]{4}"),
            fields.text("name", max_chars=MAX_TEXT_CHARS),
            fields.text("serial", max_chars=MAX_TEXT_CHARS),
            fields.text("identity", r"[0-9a-f]{64}"),
            fields.text("interfaces", _INTERFACES),
            Seen(fields.choice("seen", list(Seen))),
            fields.instant("since"),
            Target(fields.choice("target", list(Target))),
            Target(fields.choice("would_be", list(Target))),
            Cause(fields.choice("cause", list(Cause))),
            fields.integer("rule", most=1_000_000),
            fields.text("detail", max_chars=MAX_DETAIL_CHARS),
            Access(fields.choice("access", list(Access))),
            Authorized(fields.choice("authorized", list(Authorized))),
        )
        fields.done()
        return state


class OtherState(StrEnum):
    """Whether policy wants something there that nothing keeps away."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"
    NOT_EVALUATED = "not evaluated"  # there is no policy, or it does not name the kind
    WITH_USB_DEVICE = "judged with its USB device"

    @property
    def words(self) -> str:
        """Return it as it is shown: nobody may take it for what was prevented."""
        if self in (OtherState.ALLOWED, OtherState.WITH_USB_DEVICE):
            return self.value
        return f"{self.value}: detected, not prevented"


@dataclass(frozen=True)
class OtherDevice:
    """Something on a bus where attachment is detected and not prevented. `kind` is optical, sd, thunderbolt, pci …"""

    kind: str
    name: str
    detail: str
    seen: Seen
    since: datetime
    state: OtherState

    def json(self) -> dict[str, Json]:
        return {
            "kind": self.kind, "name": self.name, "detail": self.detail, "seen": self.seen.value,
            "since": clock.text(self.since), "state": self.state.value,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "OtherDevice":
        """Raises Malformed."""
        fields = Fields(value, "other device")
        other = cls(
            fields.text("kind", r"[a-z0-9-]{1,32}"),
            fields.text("name", max_chars=MAX_TEXT_CHARS),
            fields.text("detail", max_chars=MAX_DETAIL_CHARS),
            Seen(fields.choice("seen", list(Seen))),
            fields.instant("since"),
            OtherState(fields.choice("state", list(OtherState))),
        )
        fields.done()
        return other


class FindingState(StrEnum):
    FINE = "fine"
    FOUND = "found"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class Finding:
    """One check of the host and its evidence, or why it could not be made."""

    check: str
    state: FindingState
    detail: str
    time: datetime

    def json(self) -> dict[str, Json]:
        return {
            "check": self.check, "state": self.state.value, "detail": self.detail, "time": clock.text(self.time),
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "Finding":
        """Raises Malformed."""
        fields = Fields(value, "finding")
        finding = cls(
            fields.text("check", r"[a-z0-9-]{1,40}"),
            FindingState(fields.choice("state", list(FindingState))),
            fields.text("detail", max_chars=MAX_DETAIL_CHARS),
            fields.instant("time"),
        )
        fields.done()
        return finding


@dataclass(frozen=True)
class GuardLayer:
    """By which version of a layer of its site, or of its type of modality, a guard acts; 0: by none yet."""

    layer: str
    in_force: int

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, value: Json) -> "GuardLayer":
        fields = Fields(value, "guard layer")
        layer = cls(fields.text("layer", PART_PATTERN), fields.integer("in_force"))
        fields.done()
        return layer


@dataclass(frozen=True)
class GuardReport:
    """`policy` is the version whose device rules the guard enforces, 0: none, so nothing new is authorised.

    `layers` are those that are pinned besides the organisation's; a guard of an earlier version says nothing of them.
    """

    software: str
    policy: int
    policy_error: str
    clock_sure: bool
    default_deny: str  # boot: from the kernel's start; late: set by the guard; no
    sidecar: bool  # a box beside the scanner: the modality's own ports are not evaluated
    gaps: int
    records: int  # how many records it has written
    devices: tuple[DeviceState, ...] = ()
    others: tuple[OtherDevice, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: int = 0
    layers: tuple[GuardLayer, ...] = ()

    def in_force(self, part: str) -> int | None:
        """Return by which version of a layer besides the organisation's it acts, None: it does not say."""
        return next((each.in_force for each in self.layers if each.layer == part), None)

    def json(self) -> dict[str, Json]:
        layers: dict[str, Json] = {"layers": [layer.json() for layer in self.layers]} if self.layers else {}
        return {
            **layers,
            "software": self.software, "policy": self.policy, "policy_error": self.policy_error,
            "clock_sure": self.clock_sure, "default_deny": self.default_deny, "sidecar": self.sidecar,
            "gaps": self.gaps, "records": self.records,
            "devices": [device.json() for device in self.devices],
            "others": [other.json() for other in self.others],
            "findings": [finding.json() for finding in self.findings],
            "left_out": self.left_out,
        }  # fmt: skip

    @classmethod
    def parse(cls, fields: Fields) -> "GuardReport":
        """Raises Malformed."""
        report = cls(
            fields.text("software", max_chars=64),
            fields.integer("policy"),
            fields.text("policy_error", max_chars=500),
            fields.flag("clock_sure"),
            fields.choice("default_deny", ("boot", "late", "no")),
            fields.flag("sidecar"),
            fields.integer("gaps"),
            fields.integer("records"),
            tuple(map(DeviceState.parse, fields.items("devices", most=MAX_DEVICES))),
            tuple(map(OtherDevice.parse, fields.items("others", most=MAX_OTHERS))),
            tuple(map(Finding.parse, fields.items("findings", most=MAX_FINDINGS))),
            fields.integer("left_out"),
            _read_layers(fields),
        )
        fields.done()
        return report


def _read_layers(fields: Fields) -> tuple[GuardLayer, ...]:
    if not fields.has("layers"):
        return ()
    layers = tuple(map(GuardLayer.parse, fields.items("layers", most=_MAX_LAYERS)))
    if len({each.layer for each in layers}) < max(1, len(layers)):
        raise Malformed("guard layers", "they are written and none, or one is there twice")
    return layers

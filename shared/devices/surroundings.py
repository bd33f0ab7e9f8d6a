"""What a verdict depends on beside policy and device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from shared.devices.device import UsbDevice
from shared.devices.rule import Rule


@dataclass(frozen=True)
class Remembered:
    """A device as it was when it was last there and not suspicious; `ago`: since it went, None: longer than a day."""

    device: UsbDevice
    ago: timedelta | None = None


@dataclass(frozen=True)
class Past:
    """That a rule was looked at, or decided, for a device in `port`, this long after the machine's start."""

    at: timedelta
    port: str


@dataclass(frozen=True)
class RuleHistory:
    """For each rule with a condition that asks for it, by its text: the last two devices it was for."""

    applied: Mapping[str, tuple[Past, ...]] = field(default_factory=dict)
    evaluated: Mapping[str, tuple[Past, ...]] = field(default_factory=dict)


def _never() -> float:
    return 1.0


@dataclass(frozen=True)
class Surroundings:
    """`present` and `allowed` may hold the device itself, which is told by its port.

    `random` is asked anew at every evaluation. Whoever decides about the same attachment again has it draw the same
    numbers again, or a device would only have to wait for the throw that it likes.
    """

    now: datetime
    clock_sure: bool = True
    policy_expired: bool = False
    uptime: timedelta | None = None  # since the machine's start; None: not known, so there is no rescue
    attached: timedelta = timedelta(0)  # the uptime at which this device was attached
    present: tuple[UsbDevice, ...] = ()  # what is attached, but for what was attached after this device
    allowed: tuple[UsbDevice, ...] = ()  # what is authorised now
    remembered: tuple[Remembered, ...] = ()
    history: RuleHistory = RuleHistory()
    random: Callable[[], float] = _never  # from 0 to 1
    zone: tzinfo = UTC  # of the host, for `localtime`

    @property
    def is_lapsed(self) -> bool:
        """Return whether permissions for a time, and observation, have ended because time or policy is not certain."""
        return self.policy_expired or not self.clock_sure

    def past(self, rule: Rule, kept: Mapping[str, tuple[Past, ...]], device: UsbDevice) -> timedelta | None:
        """Return how long ago `rule` was last kept for another attachment than this one; None: never."""
        others = [each.at for each in kept.get(rule.text(), ()) if not self.is_own(each, device)]
        return max((self.uptime or timedelta(0)) - max(others), timedelta(0)) if others else None

    def is_own(self, past: Past, device: UsbDevice) -> bool:
        return past.port == device.port and past.at >= self.attached

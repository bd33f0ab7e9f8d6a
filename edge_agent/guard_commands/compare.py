"""Which of the attached devices other rules would treat otherwise than the guard treats them now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from shared.canonical import Json
from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import Rule
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import DeviceState

# What decides about these is not a rule.
_NOT_BY_RULES = (Cause.ROOT_HUB, Cause.PINNED_CONSOLE)


@dataclass(frozen=True)
class Difference:
    """`now` is what the guard reports; None: it knows nothing of the device."""

    device: UsbDevice
    now: DeviceState | None
    then: Verdict

    @property
    def loosens(self) -> bool:
        if self.then.target is not Target.ALLOW:
            return False
        if self.now is None or self.now.target is not Target.ALLOW:
            return True
        return self.now.access is Access.READ_ONLY and self.then.access is Access.READ_WRITE

    def json(self) -> dict[str, Json]:
        return {
            "port": self.device.port, "id": self.device.id, "name": self.device.name,
            "now": self.now.target.value if self.now else None, "then": self.then.target.value,
            "rule": self.then.rule, "cause": self.then.cause.value, "detail": self.then.detail,
            "loosens": self.loosens,
        }  # fmt: skip


def policy_of(rules: Iterable[Rule]) -> DevicePolicy:
    """Return the policy that has these rules and is otherwise the default one. Raises Malformed."""
    return DevicePolicy(tuple(map(DeviceRule, rules)))


def differences(
    devices: tuple[UsbDevice, ...], states: Iterable[DeviceState], policy: DevicePolicy, now: datetime, zone: tzinfo
) -> tuple[Difference, ...]:
    """Return the devices of `devices` that `policy` would treat otherwise than `states` says."""
    by_port = {state.port: state for state in states}
    is_allowed = {port for port, state in by_port.items() if state.target is Target.ALLOW}
    allowed = tuple(device for device in devices if device.port in is_allowed)
    found = []
    for device in devices:
        state = by_port.get(device.port)
        if state and state.id != device.id:
            state = None  # another one was there when the guard looked
        if device.is_root_hub or (state and state.cause in _NOT_BY_RULES):
            continue
        then = evaluate(policy, device, Surroundings(now, present=devices, allowed=allowed, zone=zone))
        if state is None or _treatment(state) != (then.target, then.would_be or then.target, then.access):
            found.append(Difference(device, state, then))
    return tuple(found)


def _treatment(state: DeviceState) -> tuple[Target, Target, Access]:
    return state.target, state.would_be, state.access

"""What another policy would change for the devices that were seen."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.policy import DevicePolicy
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Target, Verdict


@dataclass(frozen=True)
class Change:
    device: UsbDevice
    before: Verdict
    after: Verdict

    @property
    def loosens(self) -> bool:
        """Return whether the device may do something afterwards that it may not do before."""
        return loosens(self.before, self.after)


def simulate(
    before: DevicePolicy | None, after: DevicePolicy | None, seen: Iterable[tuple[UsbDevice, Surroundings]]
) -> tuple[Change, ...]:
    """Return the devices that would be treated otherwise; another reason for the same treatment is no change."""
    changes = (
        Change(device, evaluate(before, device, around), evaluate(after, device, around)) for device, around in seen
    )
    return tuple(change for change in changes if treatment(change.before) != treatment(change.after))


def treatment(verdict: Verdict) -> tuple[object, ...]:
    would_be = verdict.would_be or verdict.target
    encrypted = verdict.only_encrypted, verdict.hardware_encrypted
    return verdict.target, would_be, verdict.access, encrypted, verdict.interfaces


def loosens(before: Verdict, after: Verdict) -> bool:
    if after.target is not Target.ALLOW:
        return False
    if before.target is not Target.ALLOW:
        return True
    is_wider = before.interfaces is not None and (after.interfaces is None or not after.interfaces <= before.interfaces)
    is_writable = before.access is Access.READ_ONLY and after.access is Access.READ_WRITE
    is_believed = after.hardware_encrypted and not before.hardware_encrypted
    return is_wider or is_writable or (before.only_encrypted and (is_believed or not after.only_encrypted))

"""What makes a device suspicious, whatever the rules say of it.  docs/formats/device-policy.md section 6

A perfect clone that is attached while the other one is not cannot be told.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.devices.device import UsbDevice
from shared.devices.printable import printable
from shared.devices.surroundings import Remembered

RE_ENUMERATION = timedelta(seconds=3)  # sooner than a person changes one device for another
_SHOWN_CHARS = 60


class Sign(StrEnum):
    TWIN = "twin"
    OTHER_INTERFACES = "other interfaces"
    OTHER_SERIAL = "other serial"


@dataclass(frozen=True)
class Suspicion:
    sign: Sign
    text: str  # one printable line

    def __str__(self) -> str:
        return self.text


def suspicions(
    device: UsbDevice, present: tuple[UsbDevice, ...], remembered: tuple[Remembered, ...]
) -> tuple[Suspicion, ...]:
    """Return what is suspicious about `device`; `present` are those that were there before it."""
    if device.is_root_hub:
        return ()
    found = [_twin(device, other) for other in present if other.port != device.port]
    for before in remembered:
        found += [_other_interfaces(device, before), _other_serial(device, before)]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _twin(device: UsbDevice, other: UsbDevice) -> Suspicion | None:
    if not device.serial or other.is_root_hub or not _is_same(device, other):
        return None
    return Suspicion(Sign.TWIN, f"{device.id} with the same serial {_quoted(device.serial)} is present at {other.port}")


def _other_interfaces(device: UsbDevice, before: Remembered) -> Suspicion | None:
    if not _is_same(device, before.device) or device.interface_set == before.device.interface_set:
        return None
    if not device.serial and not _is_re_enumerated(device, before):
        return None
    had, has = (_interfaces(each) for each in (before.device, device))
    return Suspicion(Sign.OTHER_INTERFACES, f"its interfaces were {had} and are {has}")


def _other_serial(device: UsbDevice, before: Remembered) -> Suspicion | None:
    was = before.device
    if was.serial == device.serial or not _is_re_enumerated(device, before):
        return None
    if (was.id, was.name, was.interface_set) != (device.id, device.name, device.interface_set):
        return None
    return Suspicion(
        Sign.OTHER_SERIAL,
        f"its serial was {_quoted(was.serial)} less than {RE_ENUMERATION.seconds} s before and is "
        f"{_quoted(device.serial)}",
    )


def _is_same(one: UsbDevice, other: UsbDevice) -> bool:
    return (one.vendor, one.product, one.serial) == (other.vendor, other.product, other.serial)


def _is_re_enumerated(device: UsbDevice, before: Remembered) -> bool:
    return before.device.port == device.port and before.ago is not None and before.ago <= RE_ENUMERATION


def _quoted(text: str) -> str:
    return f'"{printable(text, _SHOWN_CHARS)}"'


def _interfaces(device: UsbDevice) -> str:
    return printable(" ".join(map(str, sorted(device.interface_set))) or "none", _SHOWN_CHARS)

"""Chooses what is pinned among the devices that are present."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.console.pins import Pin, Role
from edge_agent.console.place import Place
from shared.devices.device import HID_CLASS, HUB_CLASS, Interface, UsbDevice
from shared.devices.printable import printable
from shared.errors import Refused

_BOOT_KEYBOARD, _BOOT_POINTER = Interface(HID_CLASS, 1, 1), Interface(HID_CLASS, 1, 2)  # HID 1.11 section 4.3
_SMART_CARD_CLASS = 0x0B
# A console that could also hold files or be a network would be a way past every rule.
_MAY_BE_CONSOLE = {HID_CLASS, _SMART_CARD_CLASS}


class NoConsole(Refused):
    def __init__(self) -> None:
        super().__init__("no keyboard and no pointer is attached by USB, so there is nothing to pin")


class NotAConsole(Refused):
    def __init__(self, port: str, why: str) -> None:
        super().__init__(f"{printable(port, 31)} cannot be pinned: {why}")
        self.port, self.why = port, why


class AskWhich(Refused):
    """There are several, and which of them is the console only a person knows."""

    def __init__(self, ports: Sequence[str]) -> None:
        super().__init__(
            f"several keyboards or pointers are attached; name the console's with --port: {', '.join(ports)}"
        )
        self.ports = tuple(ports)


@dataclass(frozen=True)
class Present:
    """A device with what identifies it before it is authorised: `descriptors` is the SHA-256 of that file."""

    device: UsbDevice
    place: Place
    descriptors: str


def role(device: UsbDevice) -> Role | None:
    """Return what kind of console `device` can be; None: it is none, or is more than one."""
    classes = {interface.class_code for interface in device.interfaces}
    if device.problems or HID_CLASS not in classes or not classes <= _MAY_BE_CONSOLE:
        return None
    types, points = _BOOT_KEYBOARD in device.interface_set, _BOOT_POINTER in device.interface_set
    if types:
        return Role.BOTH if points else Role.KEYBOARD
    return Role.POINTER if points else Role.INPUT


def choose(present: Sequence[Present], ports: Sequence[str]) -> tuple[Present, ...]:
    """Return the console among `present`: those named by `ports`, or the only ones there are.

    Raises NoConsole, NotAConsole, AskWhich.
    """
    if ports:
        return tuple(_named(present, port) for port in dict.fromkeys(ports))
    candidates = [one for one in present if role(one.device)]
    if not candidates:
        raise NoConsole
    roles = [role(one.device) for one in candidates]
    # One keyboard beside one pointer is what a machine has; anything more needs a person's word.
    if len(candidates) > 1 and sorted(str(one) for one in roles) != [Role.KEYBOARD, Role.POINTER]:
        raise AskWhich([one.device.port for one in candidates])
    return tuple(candidates)


def pins(chosen: Iterable[Present], present: Sequence[Present]) -> tuple[Pin, ...]:
    """Return the pins for `chosen` and for the hubs on their way. Raises NotAConsole: a hub is none."""
    found: dict[Place, Pin] = {}
    by_place = {one.place: one for one in present}
    for one in chosen:
        found[one.place] = _pin(one, role(one.device) or Role.INPUT)
        for place in one.place.hubs:
            hub = by_place.get(place)
            if hub is None or not is_hub(hub.device):
                raise NotAConsole(one.device.port, f"what it hangs on, {place}, could not be read as a hub")
            found[place] = _pin(hub, Role.HUB)
    return tuple(found.values())


def is_hub(device: UsbDevice) -> bool:
    """Return whether `device` is a hub and nothing else."""
    return not device.problems and {interface.class_code for interface in device.interfaces} == {HUB_CLASS}


def _named(present: Sequence[Present], port: str) -> Present:
    found = next((one for one in present if one.device.port == port), None)
    if found is None:
        raise NotAConsole(port, "nothing is attached there")
    if role(found.device) is None:
        shown = " ".join(sorted(map(str, found.device.interface_set))) or "none"
        problems = f" ({'; '.join(found.device.problems)})" if found.device.problems else ""
        raise NotAConsole(
            port, f"a console has only keyboard and pointer interfaces (03), and this has {shown}{problems}"
        )
    return found


def _pin(one: Present, of_role: Role) -> Pin:
    device = one.device
    return Pin(of_role, one.place, device.vendor, device.product, one.descriptors, device.port, device.name)

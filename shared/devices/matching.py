"""Whether the attributes of a rule apply to a device, as USBGuard's `Rule::appliesTo` has it.

    equals          as many values as the device has, and each one applies to some value of the device
    equals-ordered  as many values, and each one applies to the value in its place
    all-of          each value applies to some value of the device
    one-of          some value applies to some value of the device
    none-of         no value applies to any value of the device
    match-all       for each value of the device some value applies to it

A device has exactly one value of every attribute, which may be empty text, but for its interfaces: these are all that
its descriptors list, repetitions included.  docs/formats/device-policy.md section 3
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from shared.devices.device import MAX_TEXT_CHARS, Interface, UsbDevice
from shared.devices.printable import printable
from shared.devices.rule import Attribute, DeviceId, InterfaceType, Rule, SetOperator, Value

Own = TypeVar("Own")
Applies = Callable[[UsbDevice], bool]


@dataclass(frozen=True, slots=True)
class Difference:
    attribute: str
    expected: str
    found: str


def applies(rule: Rule, device: UsbDevice) -> bool:
    """Return whether every attribute of `rule` applies to `device`. Its conditions and its label are not looked at."""
    return all(each(device) for _, _, each in _parts(rule))


def prepared(rule: Rule) -> tuple[Applies, ...]:
    """Return what `applies` asks, for a rule that is held against many devices."""
    return tuple(each for _, _, each in _parts(rule))


def differences(rule: Rule, device: UsbDevice) -> list[Difference]:
    """Return the attributes of `rule` that do not apply to `device`, in the order of the canonical text."""
    return [
        Difference(name, expected(), _found(name, device)) for name, expected, each in _parts(rule) if not each(device)
    ]


def shown(text: str) -> str:
    """Return text of a rule as text of a device comes to us, with whatever cannot be shown replaced."""
    return printable(text, MAX_TEXT_CHARS)


def _parts(rule: Rule) -> Iterator[tuple[str, Callable[[], str], Applies]]:
    if rule.id.values:
        yield "id", rule.id.text, _ids(rule.id)
    for name, attribute, own in (
        ("serial", rule.serial, attrgetter("serial")),
        ("name", rule.name, attrgetter("name")),
        ("hash", rule.hash, attrgetter("fingerprint")),
        ("parent-hash", rule.parent_hash, attrgetter("parent_fingerprint")),
        ("via-port", rule.via_port, attrgetter("port")),
    ):
        if attribute.values:
            yield name, attribute.text, _texts(attribute, own)
    if rule.with_interface.values:
        yield "with-interface", rule.with_interface.text, _interfaces(rule.with_interface)
    if rule.with_connect_type.values:
        yield "with-connect-type", rule.with_connect_type.text, _texts(rule.with_connect_type, _connect_type)


def _found(name: str, device: UsbDevice) -> str:
    match name:
        case "id":
            return device.id
        case "with-interface":
            return " ".join(map(str, device.interfaces)) or "none"
    texts = {
        "serial": device.serial, "name": device.name, "hash": device.fingerprint,
        "parent-hash": device.parent_fingerprint, "via-port": device.port, "with-connect-type": device.connect_type,
    }  # fmt: skip
    return f'"{texts[name]}"'


def _texts(attribute: Attribute[str], own: Callable[[UsbDevice], str]) -> Applies:
    """With one value on the device's side, every operator asks whether that is, or is not, among some."""
    values = tuple(dict.fromkeys(map(shown, attribute.values)))
    match attribute.operator:
        case SetOperator.NONE_OF:
            return lambda device: own(device) not in values
        case SetOperator.EQUALS | SetOperator.EQUALS_ORDERED if len(attribute.values) > 1:
            return _never
        case SetOperator.ALL_OF if len(values) > 1:
            return _never
    return lambda device: own(device) in values


def _ids(attribute: Attribute[DeviceId]) -> Applies:
    return lambda device: holds(attribute, ((device.vendor, device.product),), _covers_id)


def _interfaces(attribute: Attribute[InterfaceType]) -> Applies:
    return lambda device: holds(attribute, device.interfaces, _covers_interface)


def _connect_type(device: UsbDevice) -> str:
    return device.connect_type.value


def _never(_device: UsbDevice) -> bool:
    return False


def holds(attribute: Attribute[Value], own: Sequence[Own], covers: Callable[[Value, Own], bool]) -> bool:
    """Return whether `attribute`, which has values, applies to a device that has the values `own`."""
    values = attribute.values
    match attribute.operator:
        case SetOperator.EQUALS_ORDERED:
            return len(values) == len(own) and all(map(covers, values, own))
        case SetOperator.ONE_OF:
            return any(covers(value, each) for value in values for each in own)
        case SetOperator.NONE_OF:
            return not any(covers(value, each) for value in values for each in own)
        case SetOperator.MATCH_ALL:
            return all(any(covers(value, each) for value in values) for each in own)
        case SetOperator.EQUALS if len(values) != len(own):
            return False
    return all(any(covers(value, each) for each in own) for value in values)


def _covers_id(value: DeviceId, own: tuple[int, int]) -> bool:
    return value.vendor in (None, own[0]) and value.product in (None, own[1])


def _covers_interface(value: InterfaceType, own: Interface) -> bool:
    return (
        value.class_code == own.class_code
        and value.subclass in (None, own.subclass)
        and value.protocol in (None, own.protocol)
    )

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
from typing import TypeVar

from shared.devices.device import MAX_TEXT_CHARS, Interface, UsbDevice
from shared.devices.printable import printable
from shared.devices.rule import Attribute, DeviceId, InterfaceType, Rule, SetOperator, Value

Own = TypeVar("Own")


def applies(rule: Rule, device: UsbDevice) -> bool:
    """Return whether every attribute of `rule` applies to `device`. Its conditions and its label are not looked at."""
    return next(differences(rule, device), None) is None


def differences(rule: Rule, device: UsbDevice) -> Iterator[tuple[str, str, str]]:
    """Yield name, expected and found of each attribute of `rule` that does not apply to `device`."""
    if rule.id.values and not holds(rule.id, ((device.vendor, device.product),), covers_id):
        yield "id", rule.id.text(), device.id
    for name, attribute, own in (
        ("serial", rule.serial, device.serial),
        ("name", rule.name, device.name),
        ("hash", rule.hash, device.fingerprint),
        ("parent-hash", rule.parent_hash, device.parent_fingerprint),
        ("via-port", rule.via_port, device.port),
        ("with-connect-type", rule.with_connect_type, device.connect_type),
    ):
        if attribute.values and not holds(attribute, (own,), covers_text):
            yield name, attribute.text(), f'"{own}"'
    if rule.with_interface.values and not holds(rule.with_interface, device.interfaces, covers_interface):
        yield "with-interface", rule.with_interface.text(), " ".join(map(str, device.interfaces)) or "none"


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
        case _:
            return all(any(covers(value, each) for each in own) for value in values)


def covers_id(value: DeviceId, own: tuple[int, int]) -> bool:
    return value.vendor in (None, own[0]) and value.product in (None, own[1])


def covers_interface(value: InterfaceType, own: Interface) -> bool:
    return (
        value.class_code == own.class_code
        and value.subclass in (None, own.subclass)
        and value.protocol in (None, own.protocol)
    )


def covers_text(value: str, own: str) -> bool:
    """Compare as shown: what of a device's text cannot be shown is replaced before we see it."""
    return value == own or shown(value) == shown(own)


def shown(text: str) -> str:
    return printable(text, MAX_TEXT_CHARS)

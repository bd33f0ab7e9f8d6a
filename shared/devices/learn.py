"""Rules that allow exactly what is there, as `usbguard generate-policy` writes them."""

from collections.abc import Iterable
from enum import Enum

from shared.devices.device import UsbDevice
from shared.devices.rule import Attribute, DeviceId, InterfaceType, Rule, RuleTarget


class Ports(Enum):
    """Which rules hold for one port only."""

    WITHOUT_SERIAL = "those of devices without a serial"
    ALL = "all"
    NONE = "none"


def learn(
    devices: Iterable[UsbDevice], *, ports: Ports = Ports.WITHOUT_SERIAL, hashes: bool = True
) -> tuple[Rule, ...]:
    """Return a rule for each of `devices`, root hubs included, as USBGuard does.

    Without `hashes` neither the device's nor its hub's is in the rule: it then holds in any port, at any speed, and
    for a clone that tells the same name, serial and interfaces.
    """
    return tuple(_rule(device, ports, hashes=hashes) for device in devices)


def _rule(device: UsbDevice, ports: Ports, *, hashes: bool) -> Rule:
    in_this_port = ports is Ports.ALL or (ports is Ports.WITHOUT_SERIAL and not device.serial)
    interfaces = (InterfaceType(each.class_code, each.subclass, each.protocol) for each in device.interfaces)
    return Rule(
        RuleTarget.ALLOW,
        id=Attribute((DeviceId(device.vendor, device.product),)),
        serial=Attribute((device.serial,)),
        name=Attribute((device.name,)),
        hash=Attribute((device.fingerprint,)) if hashes else Attribute(),
        parent_hash=Attribute((device.parent_fingerprint,)) if hashes else Attribute(),
        via_port=Attribute((device.port,)) if in_this_port else Attribute(),
        with_interface=Attribute(tuple(interfaces)),
        with_connect_type=Attribute((device.connect_type.value,)),
    )

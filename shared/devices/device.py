"""A USB device as its descriptors and the kernel show it before anything of it is bound to a driver.

    fingerprint  USBGuard's `hash`: base64 of SHA-256 over name, ids, serial and raw descriptors. It changes with the
                 port where a device describes itself otherwise at another speed (USB 2 and USB 3).
    identity     ours: vendor, product, serial, name and the sorted set of interfaces. The same stick in any port.

All text comes from the device, which may be hostile: it is one printable line each, see `shared.devices.printable`.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256

MAX_TEXT_CHARS = 126  # what a string descriptor can hold (USB 2.0 section 9.6.7)
HUB_CLASS, STORAGE_CLASS, HID_CLASS = 0x09, 0x08, 0x03


class ConnectType(StrEnum):
    """What the firmware says of the port (sysfs `connect_type`)."""

    NONE = ""  # a root hub, or the kernel does not say
    HARDWIRED = "hardwired"
    HOTPLUG = "hotplug"
    NOT_USED = "not used"
    UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class Interface:
    """Class, subclass and protocol of an interface (USB 2.0 section 9.6.5), written cc:ss:pp in hexadecimal."""

    class_code: int
    subclass: int
    protocol: int

    def __str__(self) -> str:
        return f"{self.class_code:02x}:{self.subclass:02x}:{self.protocol:02x}"


@dataclass(frozen=True)
class UsbDevice:
    """`port` is the kernel's name of the place, such as 1-1.2, or usb1 for a root hub. USBGuard says `via-port`."""

    port: str
    parent: str  # the port of the hub it hangs on; empty for a root hub
    vendor: int
    product: int
    name: str
    serial: str
    fingerprint: str
    parent_fingerprint: str  # of its hub; for a root hub, of the controller's sysfs name, as USBGuard has it
    interfaces: tuple[Interface, ...]  # of every configuration and alternate setting, in the order of the descriptors
    connect_type: ConnectType = ConnectType.NONE
    problems: tuple[str, ...] = ()  # what of it could not be read or is not well formed, in our words

    @property
    def is_root_hub(self) -> bool:
        return self.port.startswith("usb")

    @property
    def id(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}"

    @cached_property
    def interface_set(self) -> frozenset[Interface]:
        return frozenset(self.interfaces)

    def has_class(self, class_code: int) -> bool:
        return any(interface.class_code == class_code for interface in self.interfaces)

    @cached_property
    def identity(self) -> str:
        """Return the stable identity, 64 hexadecimal digits. A perfect clone has the same one and cannot be told."""
        parts = (self.id, self.name, self.serial, ",".join(map(str, sorted(self.interface_set))))
        return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

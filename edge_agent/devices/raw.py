"""What a USB device says of itself, as the bytes that sysfs gives."""

import re
from dataclasses import dataclass

from edge_agent.devices.attributes import DeviceGone, DeviceUnreadable, Folder
from edge_agent.devices.descriptors import MAX_BYTES
from edge_agent.devices.fingerprint import fingerprint

_ID = re.compile(rb"[0-9a-f]{4}\n?")


@dataclass(frozen=True)
class Raw:
    name: bytes
    serial: bytes
    vendor: bytes
    product: bytes
    descriptors: bytes

    @classmethod
    def read(cls, folder: Folder, port: str) -> "Raw":
        """Raises DeviceGone and DeviceUnreadable."""
        name, serial = folder.find("product"), folder.find("serial")
        # After these: the kernel takes descriptors or ids away before a name, so that who has both has had the name.
        descriptors = folder.read("descriptors", MAX_BYTES)
        vendor, product = folder.read("idVendor"), folder.read("idProduct")
        if not (_ID.fullmatch(vendor) and _ID.fullmatch(product)):
            raise DeviceUnreadable(port, "its vendor or product is no id")
        # And it makes them before a name: a device without one is looked at again, lest it be half made.
        if (name is None and folder.find("product")) or (serial is None and folder.find("serial")):
            raise DeviceGone(port)
        return cls(_line(name), _line(serial), _line(vendor), _line(product), descriptors)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.name, self.vendor, self.product, self.serial, self.descriptors)


def _line(value: bytes | None) -> bytes:
    # Only the newline that the kernel puts there: what else is at the end is the device's own.
    return (value or b"").removesuffix(b"\n")

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
        """Read all of it twice, so that what the kernel is just making or taking away is not taken for a device.

        Raises DeviceGone and DeviceUnreadable.
        """
        once = cls._read(folder, port)
        if cls._read(folder, port) != once:
            raise DeviceGone(port)
        return once

    @classmethod
    def _read(cls, folder: Folder, port: str) -> "Raw":
        name, serial = _line(folder.find("product")), _line(folder.find("serial"))
        descriptors = folder.read("descriptors", MAX_BYTES)
        vendor, product = folder.read("idVendor"), folder.read("idProduct")
        if not (_ID.fullmatch(vendor) and _ID.fullmatch(product)):
            raise DeviceUnreadable(port, "its vendor or product is no id")
        return cls(name, serial, _line(vendor), _line(product), descriptors)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.name, self.vendor, self.product, self.serial, self.descriptors)


def _line(value: bytes | None) -> bytes:
    # Only the newline that the kernel puts there: what else is at the end is the device's own.
    return (value or b"").removesuffix(b"\n")

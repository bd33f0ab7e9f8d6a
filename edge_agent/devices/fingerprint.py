"""The fingerprint of a USB device, which is USBGuard's `hash` bit for bit (USBGuard 1.1, `UEventDevice`).

    fingerprint = base64(SHA-256(name || vendor || product || serial || descriptors))
    vendor, product = four hexadecimal digits as sysfs gives them
    descriptors     = the file `descriptors`: device descriptor, then each configuration whole, as the device sent it
    root hub        = bcdDevice (bytes 12 and 13), the kernel's own version, counts as zero: an update changes nothing

    parent of a root hub = base64(SHA-256(sysfs path of its controller from /devices on))

Name and serial go in as the bytes that the kernel gives, before anything is made printable. Nothing stands between the
parts, so that what moves from the name into the serial changes nothing: the identity is free of that.
"""

from base64 import b64encode
from hashlib import sha256

from edge_agent.devices.descriptors import DEVICE_BYTES

_LINUX_FOUNDATION = b"\x6b\x1d"
_ROOT_HUBS = (b"\x01\x00", b"\x02\x00", b"\x03\x00")


def fingerprint(name: bytes, vendor: bytes, product: bytes, serial: bytes, descriptors: bytes) -> str:
    return _digest(name + vendor + product + serial + _without_kernel_version(descriptors))


def controller_fingerprint(devpath: str) -> str:
    """Take the path that a root hub's controller has below the root of sysfs, `/devices/…`."""
    return _digest(devpath.encode("utf-8", "surrogateescape"))


def _without_kernel_version(descriptors: bytes) -> bytes:
    device = descriptors[:DEVICE_BYTES]
    if len(device) == DEVICE_BYTES and device[8:10] == _LINUX_FOUNDATION and device[10:12] in _ROOT_HUBS:
        return device[:12] + bytes(2) + descriptors[14:]
    return descriptors


def _digest(data: bytes) -> str:
    return b64encode(sha256(data).digest()).decode("ascii")

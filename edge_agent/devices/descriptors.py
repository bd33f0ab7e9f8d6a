"""USB descriptors as sysfs gives them in the file `descriptors` (USB 2.0 section 9.5 and 9.6).

    file          = device || configuration*
    device        = 18 bytes, type 1
    configuration = its header, 9 bytes, type 2 || other descriptors
    descriptor    = u8 length, itself counted || u8 type || length - 2 bytes

Each byte comes from the device, but the kernel has read them first and gives of each configuration no more than it made
out: what follows a length that cannot be is not in the file, and `wTotalLength` may then promise more than there is, as
it does of some honest devices. A device whose descriptors do not have this form has a problem, and its interfaces are
not known. USBGuard refuses the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from shared.devices.device import Interface

DEVICE_BYTES = 18
MAX_BYTES = DEVICE_BYTES + 8 * 0xFFFF  # eight configurations is what the kernel reads
MAX_INTERFACES = 1024
MAX_PROBLEMS = 8
KERNEL_INTERFACES = 32  # of one configuration; it leaves out what is beyond
_DEVICE, _CONFIGURATION, _INTERFACE, _ENDPOINT = 1, 2, 4, 5
_LENGTHS = {_CONFIGURATION: (9,), _INTERFACE: (9,), _ENDPOINT: (7, 9)}  # an endpoint of audio has two bytes more
_NAMES = {_CONFIGURATION: "a configuration", _INTERFACE: "an interface", _ENDPOINT: "an endpoint"}
_DEVICE_FIELDS = Struct("<2xH4BHHH3xB")


@dataclass(frozen=True)
class DeviceFields:
    usb: int  # bcdUSB: 0x0210 is USB 2.1
    device_class: int
    subclass: int
    protocol: int
    vendor: int
    product: int
    version: int  # bcdDevice
    configurations: int


@dataclass(frozen=True)
class Descriptors:
    """`interfaces` are those of every configuration and alternate setting, in order, repeated ones too.

    Where `problems` is not empty there may be more interfaces than these.
    """

    interfaces: tuple[Interface, ...]
    device: DeviceFields | None  # None: there is no device descriptor
    problems: tuple[str, ...]


def parse_descriptors(raw: bytes) -> Descriptors:
    """Read what is well formed and say what is not, in words of ours. Raises nothing, whatever the bytes are."""
    found = _Found()
    if len(raw) > MAX_BYTES:
        found.problem(f"more than {MAX_BYTES} bytes of descriptors")
    device = _device(raw[:DEVICE_BYTES])
    if device is None:
        found.problem("no device descriptor at the beginning")
        return found.descriptors(None)
    configurations, stated_end, has_interface = 0, 0, False
    for start, kind, body in _walk(raw[:MAX_BYTES], found):
        if kind == _CONFIGURATION:
            configurations, stated_end, has_interface = configurations + 1, start + body[0] + 256 * body[1], False
            if body[2] > KERNEL_INTERFACES:
                found.problem(f"{body[2]} interfaces, of which the kernel takes {KERNEL_INTERFACES}")
        elif start + 2 + len(body) > stated_end:
            found.problem("a descriptor beyond the end of its configuration")
        elif kind == _INTERFACE:
            has_interface = True
            found.interface(body[3:6])
        elif kind == _ENDPOINT and not has_interface:
            found.problem("an endpoint before any interface")
    if configurations != device.configurations:
        found.problem(f"{device.configurations} configurations are declared and {configurations} are there")
    return found.descriptors(device)


class _Found:
    def __init__(self) -> None:
        self.interfaces: list[Interface] = []
        self.problems: list[str] = []
        self._same: dict[bytes, Interface] = {}

    def problem(self, what: str) -> None:
        # One that is met a hundred times is one.
        if len(self.problems) < MAX_PROBLEMS and what not in self.problems:
            self.problems.append(what)

    def interface(self, codes: bytes) -> None:
        if len(self.interfaces) == MAX_INTERFACES:
            self.problem(f"more than {MAX_INTERFACES} interfaces and alternate settings")
            return
        self.interfaces.append(self._same.setdefault(codes, Interface(*codes)))

    def descriptors(self, device: DeviceFields | None) -> Descriptors:
        return Descriptors(tuple(self.interfaces), device, tuple(self.problems))


def _device(raw: bytes) -> DeviceFields | None:
    if len(raw) < DEVICE_BYTES or raw[:2] != bytes((DEVICE_BYTES, _DEVICE)):
        return None
    usb, device_class, subclass, protocol, _packet, vendor, product, version, count = _DEVICE_FIELDS.unpack(raw)
    return DeviceFields(usb, device_class, subclass, protocol, vendor, product, version, count)


def _walk(raw: bytes, found: _Found) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each descriptor after the device's begins, its type and the rest of it."""
    position = DEVICE_BYTES
    while position < len(raw):
        length, left = raw[position], len(raw) - position
        if length < 2 or length > left:
            found.problem(f"a descriptor of {length} bytes where {left} are left")
            return
        kind = raw[position + 1]
        if kind == _DEVICE:
            found.problem("a second device descriptor")
        elif length not in _LENGTHS.get(kind, (length,)):
            found.problem(f"{_NAMES[kind]} of {length} bytes")
        else:
            yield position, kind, raw[position + 2 : position + length]
        position += length

"""USB descriptors as sysfs gives them in the file `descriptors` (USB 2.0 section 9.5 and 9.6).

    file          = device || configuration*
    device        = 18 bytes, type 1
    configuration = its header, 9 bytes, type 2 || other descriptors, `wTotalLength` bytes in all
    descriptor    = u8 length, itself counted || u8 type || length - 2 bytes

Each byte comes from the device. What does not have this form is a problem, and a device with a problem is one whose
interfaces are not known: the kernel skips what it cannot read and may go on at another place than whoever walks from
one descriptor to the next, so that an interface could be hidden behind a length that runs over the end of its
configuration.
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
_LENGTHS = {_INTERFACE: (9,), _ENDPOINT: (7, 9)}  # an endpoint of audio has two bytes more
_NAMES = {_INTERFACE: "an interface", _ENDPOINT: "an endpoint"}
_DEVICE_FIELDS = Struct("<2xH4BHHH3xB")
_TOTAL_LENGTH = Struct("<2xHB")


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
    number, position = 0, DEVICE_BYTES
    while position < min(len(raw), MAX_BYTES) and len(found.problems) < MAX_PROBLEMS:
        number += 1
        end = _configuration(raw, position, number, found)
        if end is None:
            break
        position = end
    if number != device.configurations:
        found.problem(f"{device.configurations} configurations are declared and {number} are there")
    return found.descriptors(device)


class _Found:
    def __init__(self) -> None:
        self.interfaces: list[Interface] = []
        self.problems: list[str] = []
        self._same: dict[bytes, Interface] = {}

    def problem(self, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)

    def interface(self, codes: bytes) -> None:
        if len(self.interfaces) == MAX_INTERFACES:
            self.problem(f"more than {MAX_INTERFACES} interfaces and alternate settings")
            return
        self.interfaces.append(self._same.setdefault(codes, Interface(*codes)))

    def descriptors(self, device: DeviceFields | None) -> Descriptors:
        # A problem that was met a hundred times is one.
        return Descriptors(tuple(self.interfaces), device, tuple(dict.fromkeys(self.problems)))


def _device(raw: bytes) -> DeviceFields | None:
    if len(raw) < DEVICE_BYTES or raw[:2] != bytes((DEVICE_BYTES, _DEVICE)):
        return None
    usb, device_class, subclass, protocol, _packet, vendor, product, version, count = _DEVICE_FIELDS.unpack(raw)
    return DeviceFields(usb, device_class, subclass, protocol, vendor, product, version, count)


def _configuration(raw: bytes, start: int, number: int, found: _Found) -> int | None:
    """Return where the next one begins; None: what is here is no configuration."""
    if raw[start : start + 2] != b"\x09\x02" or len(raw) < start + 9:
        found.problem(f"no descriptor of configuration {number} where it has to begin")
        return None
    total, interfaces = _TOTAL_LENGTH.unpack_from(raw, start)
    end: int = start + total
    if total < 9 or end > len(raw):
        found.problem(f"configuration {number} states {total} bytes and {len(raw) - start} are left")
        end = len(raw)
    if interfaces > KERNEL_INTERFACES:
        found.problem(f"configuration {number} declares {interfaces} interfaces, of which the kernel takes 32")
    numbers: set[int] = set()
    for kind, body in _walk(raw, start + 9, end, number, found):
        if kind == _INTERFACE:
            numbers.add(body[0])
            found.interface(body[3:6])
        elif kind == _ENDPOINT and not numbers:
            found.problem(f"an endpoint before any interface of configuration {number}")
    if len(numbers) != interfaces:
        found.problem(f"configuration {number} declares {interfaces} interfaces and has {len(numbers)}")
    return end


def _walk(raw: bytes, position: int, end: int, number: int, found: _Found) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of every descriptor up to `end`, as far as each says truly where the next one begins."""
    while position < end:
        length = raw[position]
        if length < 2 or position + length > end:
            found.problem(f"a descriptor of {length} bytes where {end - position} are left in configuration {number}")
            return
        kind = raw[position + 1]
        if kind in (_DEVICE, _CONFIGURATION):
            found.problem(f"a device or configuration descriptor inside of configuration {number}")
            return
        if length in _LENGTHS.get(kind, (length,)):
            yield kind, raw[position + 2 : position + length]
        else:
            found.problem(f"{_NAMES[kind]} of {length} bytes in configuration {number}")
        position += length

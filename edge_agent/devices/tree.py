"""What is on the buses where attachment is detected and not prevented, as sysfs shows it now."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.devices.attributes import DeviceGone, DeviceUnreadable, Folder
from edge_agent.devices.events import Kind
from edge_agent.devices.ports import port_in
from shared.devices.printable import printable

MAX_OF_A_KIND = 256
_MOST_LOOKED_AT = 4096  # of a kind, devices or not
MAX_DETAIL_CHARS = 300
_BRIDGE = "0x06"
_USB_CONTROLLER = "0x0c03"


@dataclass(frozen=True, order=True)
class Present:
    """`name` is the kernel's, such as sda, eth0, 0000:03:00.0; `detail` is one printable line."""

    kind: Kind
    name: str
    detail: str
    port: str = ""  # the USB device that it hangs on
    # The kernel's number of this attachment, which another one under the same name does not get; empty: not known.
    instance: str = field(default="", compare=False)


class SysfsTree:
    """`root` is what a test replaces. `left_out` is how many there was no room for at the last look."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root
        self.left_out = 0

    def present(self) -> tuple[Present, ...]:
        """Return all there is, in order, up to MAX_OF_A_KIND. What goes away meanwhile is not there. Raises nothing."""
        found, self.left_out = list[Present](), 0
        for where, names, look in _PLACES:
            of_a_kind = list(self._in(where, names, look))
            found += of_a_kind[:MAX_OF_A_KIND]
            self.left_out += len(of_a_kind[MAX_OF_A_KIND:])
        return tuple(sorted(found))

    def disks_of(self, port: str) -> tuple[str, ...]:
        """Return the kernel's names of the disks and optical drives that hang on a USB device, without partitions."""
        drives = (Kind.BLOCK, Kind.OPTICAL)
        return tuple(each.name for each in self._in(*_DISKS) if each.port == port and each.kind in drives)

    def _in(self, where: str, names: re.Pattern[str], look: "_Look") -> Iterator[Present]:
        try:
            entries = sorted(entry.name for entry in (self._root / where).iterdir())
        except OSError:
            return  # a machine without this bus
        entries = [name for name in entries if names.fullmatch(name)]
        self.left_out += len(entries[_MOST_LOOKED_AT:])
        for name in entries[:_MOST_LOOKED_AT]:
            path = self._root / where / name
            try:
                with Folder(path, name) as folder:
                    found, instance = look(folder), str(folder.inode)
                port = port_in(str(path.resolve().relative_to(self._root.resolve())))
            except (DeviceGone, DeviceUnreadable, OSError, ValueError):
                continue
            if found is not None:
                kind, words = found
                detail = printable(", ".join(f"{what} {word}" for what, word in words if word), MAX_DETAIL_CHARS)
                yield Present(kind, name, detail, port, instance)


_Found = tuple[Kind, tuple[tuple[str, str], ...]]
_Look = Callable[[Folder], _Found | None]


def _pci(folder: Folder) -> _Found | None:
    device_class = _text(folder, "class")
    if device_class.startswith(_BRIDGE):
        return None
    ids = f"{_text(folder, 'vendor').removeprefix('0x')}:{_text(folder, 'device').removeprefix('0x')}"
    return Kind.PCI, (
        ("USB controller" if device_class.startswith(_USB_CONTROLLER) else "class", device_class.removeprefix("0x")),
        ("id", ids),
        ("driver", folder.link("driver")),
        # "removable" where the firmware says that the port can be reached from outside.
        ("port", _text(folder, "removable")),
    )


def _thunderbolt(folder: Folder) -> _Found | None:
    return Kind.THUNDERBOLT, (
        ("vendor", _text(folder, "vendor_name")),
        ("name", _text(folder, "device_name")),
        ("authorized", _text(folder, "authorized")),
    )


def _card(folder: Folder) -> _Found | None:
    return Kind.SD, (("type", _text(folder, "type")), ("name", _text(folder, "name")))


def _disk(folder: Folder) -> _Found | None:
    # Loop, RAM and mapped devices hang on none, and partitions on their disk only.
    if not folder.link("device"):
        return None
    kind = Kind.OPTICAL if folder.name.startswith("sr") else Kind.BLOCK
    return kind, (
        ("vendor", _text(folder, "device/vendor")),
        ("model", _text(folder, "device/model")),
        ("sectors", _text(folder, "size")),
        ("read-only", _text(folder, "ro")),
        ("driver", folder.link("device/driver")),
    )


def _net(folder: Folder) -> _Found | None:
    if not folder.link("device"):
        return None
    return Kind.NET, (("address", _text(folder, "address")), ("driver", folder.link("device/driver")))


def _input(folder: Folder) -> _Found | None:
    return Kind.INPUT, (
        ("name", _text(folder, "name")),
        # Without one a program made it (uinput), which types as well as a keyboard does.
        ("driver", folder.link("device/driver") or "none"),
        ("at", _text(folder, "phys")),
    )


def _text(folder: Folder, attribute: str) -> str:
    return (folder.find(attribute) or b"").decode("utf-8", "replace").strip()


_DISKS: tuple[str, re.Pattern[str], _Look] = ("class/block", re.compile(r"[a-z0-9!_-]{1,31}", re.ASCII), _disk)
_PLACES: tuple[tuple[str, re.Pattern[str], _Look], ...] = (
    _DISKS,
    ("class/input", re.compile("input[0-9]{1,9}", re.ASCII), _input),
    ("class/net", re.compile(r"[^/\s]{1,15}"), _net),
    ("bus/mmc/devices", re.compile(r"mmc[0-9]{1,4}:[0-9a-f]{4}", re.ASCII), _card),
    ("bus/pci/devices", re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII), _pci),
    ("bus/thunderbolt/devices", re.compile(r"[0-9]{1,3}-[0-9a-f]{1,16}(:[0-9.]{1,7})?", re.ASCII), _thunderbolt),
)

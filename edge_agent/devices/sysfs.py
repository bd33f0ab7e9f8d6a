"""USB devices in sysfs (Documentation/ABI/testing/sysfs-bus-usb, Documentation/usb/authorization.rst of Linux)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.devices import ports
from edge_agent.devices.attributes import DeviceGone, DeviceUnreadable, Folder
from edge_agent.devices.descriptors import parse_descriptors
from edge_agent.devices.fingerprint import controller_fingerprint
from edge_agent.devices.raw import Raw
from shared.devices.device import MAX_TEXT_CHARS, ConnectType, Interface, UsbDevice
from shared.devices.printable import printable
from shared.fleet.devices import Authorized

MAX_INTERFACES = 64  # of one device, bound or not; the kernel itself makes 32 at most
_CODE = re.compile(rb"[0-9a-f]{2}\n?")
_NUMBER = re.compile(rb"-?[0-9]{1,9}\n?")
_AUTHORIZED = {b"0": Authorized.NO, b"1": Authorized.YES}


@dataclass(frozen=True)
class UsbInterface:
    """An interface that the kernel made of the active configuration; there are none while a device is blocked."""

    name: str  # 1-2:1.0
    interface: Interface
    authorized: Authorized
    driver: str  # empty: none is bound


class SysfsUsb:
    """`root` and `proc` are what a test replaces.

    Where `instance` is given, it is what `instance` said before, and what is done or read concerns that attachment:
    DeviceGone where another device has come to the port since.

    Every method that takes a port or an interface raises NotAPort for what is not the name of one, and DeviceGone.
    """

    def __init__(self, root: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        self._root, self._proc = root, proc
        self._bus = root / "bus" / "usb"
        self._devices = str(self._bus / "devices")
        self._held: dict[str, tuple[str, Folder]] = {}  # by port: the attachment that is kept open, and its folder
        self._hubs: dict[str, tuple[int, str]] = {}  # a hub's folder and fingerprint, which does not change within it

    def ports(self) -> list[str]:
        """Return where something is attached now, root hubs too; a hub comes before what hangs on it."""
        try:
            names = [path.name for path in (self._bus / "devices").iterdir()]
        except FileNotFoundError:
            return []  # a machine without any USB controller
        return sorted(filter(ports.is_port, names), key=ports.in_order)

    def root_hubs(self) -> list[str]:
        return [port for port in self.ports() if ports.is_root_hub(port)]

    def read(self, port: str) -> UsbDevice:
        """Return what the device says of itself now; what is not well formed is in its `problems`.

        Waits while a driver probes the device: the kernel locks it for both.
        Raises DeviceUnreadable: not even its ids or its descriptors can be had.
        """
        with self._open(port) as folder:
            raw = Raw.read(folder, port)
            connect_type = _text(folder.find("port/connect_type"))
        parent = ports.parent_of(port)
        read = parse_descriptors(raw.descriptors)
        problems = [*read.problems]
        vendor, product = int(raw.vendor, 16), int(raw.product, 16)
        if read.device is not None and (read.device.vendor, read.device.product) != (vendor, product):
            problems.append("vendor and product are not those of its descriptors")
        for what, text in (("name", raw.name), ("serial", raw.serial)):
            if len(text.decode("utf-8", "replace")) > MAX_TEXT_CHARS:
                problems.append(f"a {what} longer than a string descriptor can hold")
        return UsbDevice(
            port=port,
            parent=parent,
            vendor=vendor,
            product=product,
            name=_printable(raw.name),
            serial=_printable(raw.serial),
            fingerprint=raw.fingerprint,
            parent_fingerprint=self._fingerprint(parent) if parent else controller_fingerprint(self._controller(port)),
            interfaces=read.interfaces,
            connect_type=_connect_type(connect_type),
            problems=tuple(problems),
        )

    def authorized(self, port: str, instance: str = "") -> Authorized:
        """Return what the kernel says; UNKNOWN where it cannot be read or says something else."""
        with self._open(port, instance) as folder:
            return _authorized(folder)

    def authorize(self, port: str, wanted: bool, instance: str = "") -> None:  # noqa: FBT001  what is written
        """Have the kernel use the device, or none of it. Raises NotWritten.

        Returns when drivers are bound or unbound, which takes up to some seconds where a driver probes the device.
        """
        with self._open(port, instance) as folder:
            folder.write("authorized", b"1" if wanted else b"0")

    def remove(self, port: str, instance: str = "") -> None:
        """Take it off the bus until it is plugged in again; an event tells when it is gone. Raises NotWritten."""
        with self._open(port, instance) as folder:
            folder.write("remove", b"1")

    def instance(self, port: str) -> str:
        """Return what differs for each attachment during one start of the machine, see `reconcile.Mark`."""
        with self._open(port) as folder:
            return _instance(folder)

    @contextmanager
    def held(self, port: str) -> Iterator[str]:
        """Keep what is attached there open, so that all that is asked and done within is about it; yield `instance`."""
        with self._open(port) as folder:
            self._held[port] = _instance(folder), folder
            try:
                yield self._held[port][0]
            finally:
                del self._held[port]

    def interfaces(self, port: str, instance: str = "") -> tuple[UsbInterface, ...]:
        """Return what the kernel made of the active configuration. What goes away meanwhile is left out."""
        found: list[UsbInterface] = []
        with self._open(port, instance) as folder:
            for name in folder.names():
                if len(found) < MAX_INTERFACES and _belongs(name, port):
                    try:
                        found.append(_interface(folder, name))
                    except (DeviceGone, DeviceUnreadable):
                        continue
        return tuple(found)

    def authorize_interface(self, name: str, wanted: bool, instance: str = "") -> None:  # noqa: FBT001  as above
        """Let a driver have one interface, or take it away. Binding takes `probe_interface` too. Raises NotWritten."""
        with self._open(ports.device_of(name), instance) as device, Folder(name, name, device) as folder:
            folder.write("authorized", b"1" if wanted else b"0")

    def probe_interface(self, name: str) -> None:
        """Have the kernel look for a driver. Raises NotWritten."""
        ports.device_of(name)
        with Folder(self._bus, name) as folder:
            folder.write("drivers_probe", name.encode("ascii"))

    def authorized_default(self, hub: str) -> int | None:
        """Return what becomes of a device on this root hub: 0 none, 1 all, 2 those in ports inside of the machine."""
        with self._open(hub) as folder:
            return _number(folder.find("authorized_default"))

    def set_authorized_default(self, hub: str, value: int) -> None:
        """Raises NotWritten."""
        with self._open(hub) as folder:
            folder.write("authorized_default", b"%d" % value)

    def interface_authorized_default(self, hub: str) -> int | None:
        with self._open(hub) as folder:
            return _number(folder.find("interface_authorized_default"))

    def set_interface_authorized_default(self, hub: str, value: int) -> None:
        """Raises NotWritten."""
        with self._open(hub) as folder:
            folder.write("interface_authorized_default", b"%d" % value)

    def usbcore_authorized_default(self) -> int | None:
        """Return what a controller that comes later begins with: -1 is all but wireless. None: there is no USB."""
        try:
            with self._usbcore() as folder:
                return _number(folder.find("authorized_default"))
        except DeviceGone:
            return None

    def set_usbcore_authorized_default(self, value: int) -> None:
        """Raises NotWritten."""
        with self._usbcore() as folder:
            folder.write("authorized_default", b"%d" % value)

    def command_line(self) -> str:
        """Return what the kernel was started with. Raises DeviceUnreadable."""
        with Folder(self._proc, "the kernel's command line") as folder:
            return _text(folder.read("cmdline", 1 << 16))

    def boot(self) -> str:
        """Return what differs for each start of the machine. Raises DeviceUnreadable."""
        with Folder(self._proc / "sys" / "kernel" / "random", "the id of this start") as folder:
            return _text(folder.read("boot_id"))

    @contextmanager
    def _open(self, port: str, instance: str = "") -> Iterator[Folder]:
        held, kept = self._held.get(port, ("", None))
        if kept is not None and instance in ("", held):
            yield kept
            return
        if not ports.is_port(port):
            raise ports.NotAPort(port)
        with Folder(f"{self._devices}/{port}", port) as folder:
            if instance and _instance(folder) != instance:
                raise DeviceGone(port)
            yield folder

    def _usbcore(self) -> Folder:
        return Folder(self._root / "module" / "usbcore" / "parameters", "usbcore")

    def _fingerprint(self, port: str) -> str:
        inode, known = self._hubs.get(port, (0, ""))
        with suppress(FileNotFoundError):
            if Path(f"{self._devices}/{port}").stat().st_ino == inode:
                return known
        with self._open(port) as folder:
            known = Raw.read(folder, port).fingerprint
            self._hubs[port] = (folder.inode, known)
            return known

    def _controller(self, hub: str) -> str:
        """Return the path of a root hub's controller below the root, as in `/devices/pci0000:00/0000:00:14.0`."""
        path = (self._bus / "devices" / hub).resolve()
        return "/" + str(path.parent.relative_to(self._root.resolve()))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").strip()


def _printable(value: bytes) -> str:
    return printable(value.decode("utf-8", "replace"), MAX_TEXT_CHARS)


def _connect_type(text: str) -> ConnectType:
    return ConnectType(text) if text in set(ConnectType) else ConnectType.UNKNOWN


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and _NUMBER.fullmatch(value) else None


def _authorized(folder: Folder) -> Authorized:
    try:
        return _AUTHORIZED.get(folder.read("authorized").strip(), Authorized.UNKNOWN)
    except DeviceUnreadable:
        return Authorized.UNKNOWN


def _instance(folder: Folder) -> str:
    return f"{_text(folder.find('devnum'))}.{folder.inode}"


def _interface(device: Folder, name: str) -> UsbInterface:
    with Folder(name, name, device) as folder:
        codes = []
        for attribute in ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"):
            code = folder.read(attribute)
            if not _CODE.fullmatch(code):
                raise DeviceUnreadable(name, attribute)
            codes.append(int(code, 16))
        return UsbInterface(name, Interface(*codes), _authorized(folder), printable(folder.link("driver"), 64))


def _belongs(interface: str, port: str) -> bool:
    try:
        return ports.device_of(interface) == port
    except ports.NotAPort:
        return False

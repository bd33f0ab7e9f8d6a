"""A USB bus that remembers, with the kernel's rules of authorisation."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from edge_agent.devices.attributes import DeviceGone
from edge_agent.devices.sysfs import UsbInterface
from shared.devices.device import Interface, UsbDevice
from shared.errors import Refused
from shared.fleet.devices import Authorized

KEYBOARD = Interface(0x03, 0x01, 0x01)
STORAGE = Interface(0x08, 0x06, 0x50)


class NotReadable(Refused):
    pass


def usb_device(
    port: str,
    *interfaces: Interface,
    ids: tuple[int, int] = (0x0781, 0x5581),
    serial: str = "4C53",
    fingerprint: str = "",
) -> UsbDevice:
    parent = port.rpartition(".")[0] or ("" if port.startswith("usb") else f"usb{port.partition('-')[0]}")
    print_of = fingerprint or f"{port}/{ids}/{serial}/{interfaces}"
    return UsbDevice(port, parent, *ids, "A device", serial, print_of, "of its hub", interfaces or (STORAGE,))


@dataclass
class Plugged:
    device: UsbDevice
    authorized: bool
    instance: str = ""
    interfaces: dict[str, bool] = field(default_factory=dict)


class FakeBus:
    """`obeys` is asked before a write to a port takes effect; a device that does not obey stays as it is."""

    def __init__(self, *, authorized_default: bool = False) -> None:
        self.authorized_default, self.interface_default = authorized_default, True
        self.plugged: dict[str, Plugged] = {}
        self.unreadable: set[str] = set()
        self.obeys: Callable[[str], bool] = lambda _port: True
        self.probed: list[str] = []
        self.bound: set[str] = set()
        self.unbound: list[str] = []  # ports whose device was taken away from its drivers
        self._instances = count(1)

    def plug(self, device: UsbDevice) -> None:
        self.plugged[device.port] = Plugged(device, authorized=False, instance=str(next(self._instances)))
        if self.authorized_default or device.is_root_hub:
            self._authorize(self.plugged[device.port])

    def unplug(self, port: str) -> None:
        del self.plugged[port]

    def regrow(self, port: str, *interfaces: Interface) -> None:
        plugged = self.plugged[port]
        plugged.device = replace(plugged.device, interfaces=interfaces, fingerprint=f"{port}/{interfaces}")

    def ports(self) -> list[str]:
        return list(self.plugged)

    def read(self, port: str, /) -> UsbDevice:
        if port in self.unreadable:
            raise NotReadable(f"{port} cannot be read")
        return self._there(port).device

    def instance(self, port: str, /) -> str:
        return self._there(port).instance

    @contextmanager
    def held(self, port: str, /) -> Iterator[str]:
        yield self.instance(port)

    def authorized(self, port: str, instance: str, /) -> Authorized:
        return Authorized.YES if self._same(port, instance).authorized else Authorized.NO

    def authorize(self, port: str, wanted: bool, instance: str = "", /) -> None:
        plugged = self._same(port, instance)
        if not self.obeys(port) or plugged.authorized is wanted:
            return
        if wanted:
            self._authorize(plugged)
        else:
            plugged.authorized, plugged.interfaces = False, {}
            self.unbound.append(port)
            self.bound = {name for name in self.bound if not name.startswith(f"{port}:")}

    def remove(self, port: str, instance: str, /) -> None:
        self._same(port, instance)
        self.unplug(port)

    def interfaces(self, port: str, instance: str, /) -> Sequence[UsbInterface]:
        plugged = self._same(port, instance)
        return [
            UsbInterface(name, interface, Authorized.YES if plugged.interfaces[name] else Authorized.NO, "")
            for name, interface in self._names(plugged).items()
            if name in plugged.interfaces
        ]

    def authorize_interface(self, name: str, wanted: bool, instance: str = "", /) -> None:
        port = name.partition(":")[0]
        plugged = self._same(port, instance)
        if not self.obeys(port):
            return
        plugged.interfaces[name] = wanted
        if not wanted:
            self.bound.discard(name)

    def probe_interface(self, name: str, /) -> None:
        self.probed.append(name)
        if self._there(name.partition(":")[0]).interfaces.get(name):
            self.bound.add(name)

    def interface_authorized_default(self, root_hub: str, /) -> int | None:
        assert root_hub in self.plugged
        return int(self.interface_default)

    def set_interface_authorized_default(self, root_hub: str, value: int, /) -> None:
        assert root_hub.startswith("usb")
        self.interface_default = bool(value)

    def _authorize(self, plugged: Plugged) -> None:
        plugged.authorized = True
        plugged.interfaces = dict.fromkeys(self._names(plugged), self.interface_default)
        if self.interface_default:
            self.bound |= plugged.interfaces.keys()

    def _same(self, port: str, instance: str) -> Plugged:
        """Return what is plugged in as `instance`; whatever it is where that is empty."""
        plugged = self._there(port)
        if instance and plugged.instance != instance:
            raise DeviceGone(port)
        return plugged

    def _there(self, port: str) -> Plugged:
        if port not in self.plugged:
            raise DeviceGone(port)
        return self.plugged[port]

    def _names(self, plugged: Plugged) -> dict[str, Interface]:
        return {f"{plugged.device.port}:1.{n}": face for n, face in enumerate(plugged.device.interfaces)}

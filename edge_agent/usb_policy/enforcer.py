"""Carries a verdict out by the kernel's authorisation, and reads back what became of it.

Everything concerns one attachment of a device, told by the kernel's own number of it: where another device has come to
the port since, nothing is done to that one.

A composite device of which only some interfaces may work is authorised while its bus gives new interfaces no
authorisation of their own, so that no driver meets the others even for a moment.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from edge_agent.devices.attributes import DeviceGone
from edge_agent.devices.ports import is_root_hub
from edge_agent.devices.sysfs import UsbInterface
from shared.devices.device import STORAGE_CLASS, Interface, UsbDevice
from shared.devices.verdict import Target, Verdict
from shared.errors import Refused, Unavailable
from shared.fleet.devices import Authorized


class Bus(Protocol):
    """What enforcement asks of sysfs. Whatever does not work raises an Unavailable or a Refused of ours."""

    def ports(self) -> Iterable[str]: ...
    def authorized(self, port: str, instance: str, /) -> Authorized: ...
    def authorize(self, port: str, wanted: bool, instance: str, /) -> None: ...  # noqa: FBT001  what is written
    def remove(self, port: str, instance: str, /) -> None: ...
    def interfaces(self, port: str, instance: str, /) -> Sequence[UsbInterface]: ...
    def authorize_interface(self, name: str, wanted: bool, instance: str, /) -> None: ...  # noqa: FBT001  as above
    def probe_interface(self, name: str, /) -> None: ...
    def interface_authorized_default(self, root_hub: str, /) -> int | None: ...
    def set_interface_authorized_default(self, root_hub: str, value: int, /) -> None: ...


@dataclass(frozen=True)
class Enforced:
    """`holds` only where sysfs, read afterwards, said what the verdict wants."""

    authorized: Authorized
    holds: bool
    why: str = ""  # why it does not hold, where that is known
    is_gone: bool = False  # it is leaving the bus, or has left it


class Enforcer:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def enforce(self, device: UsbDevice, instance: str, verdict: Verdict) -> Enforced:
        """Make the kernel treat `device` as `verdict` says; never raises for a device that does not obey or is gone."""
        why = ""
        try:
            self._apply(device, instance, verdict)
        except (Unavailable, Refused) as exc:
            why = str(exc)
        return self.read_back(device, instance, verdict, why)

    def authorized(self, device: UsbDevice, instance: str) -> Authorized:
        """Return what the kernel says of `device` now; UNKNOWN where it is gone or cannot be read."""
        try:
            return self._bus.authorized(device.port, instance)
        except (Unavailable, Refused):
            return Authorized.UNKNOWN

    def read_back(self, device: UsbDevice, instance: str, verdict: Verdict, why: str = "") -> Enforced:
        """Return what the kernel says of `device` now, held against `verdict`."""
        try:
            authorized = self._bus.authorized(device.port, instance)
            if verdict.target is not Target.ALLOW:
                return Enforced(authorized, authorized is Authorized.NO, why)
            wrong = [now.name for now in self._bus.interfaces(device.port, instance) if not _is_right(now, verdict)]
        except (Unavailable, Refused) as exc:
            # A rejected device has left the bus; one that cannot be read any more is not bound to a driver either.
            holds = verdict.target is Target.REJECT
            authorized = Authorized.NO if holds else Authorized.UNKNOWN
            return Enforced(authorized, holds, why or str(exc), isinstance(exc, DeviceGone))
        if wrong and not why:
            why = f"interfaces {', '.join(wrong)} are not as the verdict says"
        return Enforced(authorized, authorized is Authorized.YES and not wrong, why)

    def release_buses(self) -> list[str]:
        """Have new interfaces of allowed devices work again on each bus; return which one a guard that died left held.

        The console does not wait for a guard: on a held bus its keyboard would come up without interfaces.
        """
        held = []
        for hub in filter(is_root_hub, self._bus.ports()):
            try:
                if self._bus.interface_authorized_default(hub) == 0:
                    self._bus.set_interface_authorized_default(hub, 1)
                    held.append(hub)
            except (Unavailable, Refused):
                continue  # it is looked at again, and its devices then too
        return held

    def _apply(self, device: UsbDevice, instance: str, verdict: Verdict) -> None:
        if device.is_root_hub:
            return
        if verdict.target is not Target.ALLOW:
            self._bus.authorize(device.port, False, instance)
            if verdict.target is Target.REJECT:
                self._bus.remove(device.port, instance)
            return
        with self._interfaces_held_back(device.port, instance, verdict):
            self._bus.authorize(device.port, True, instance)  # of one that is authorised the kernel does nothing
        for now in self._bus.interfaces(device.port, instance):
            if not _is_right(now, verdict):
                wanted = _is_wanted(now.interface, verdict)
                self._bus.authorize_interface(now.name, wanted, instance)
                if wanted:
                    self._bus.probe_interface(now.name)

    @contextmanager
    def _interfaces_held_back(self, port: str, instance: str, verdict: Verdict) -> Iterator[None]:
        is_limited = verdict.interfaces is not None or verdict.only_encrypted
        if not is_limited or self._bus.authorized(port, instance) is Authorized.YES:
            yield
            return
        root_hub = f"usb{port.partition('-')[0]}"
        self._bus.set_interface_authorized_default(root_hub, 0)
        try:
            yield
        finally:
            self._bus.set_interface_authorized_default(root_hub, 1)


def _is_right(now: UsbInterface, verdict: Verdict) -> bool:
    return now.authorized is (Authorized.YES if _is_wanted(now.interface, verdict) else Authorized.NO)


def _is_wanted(interface: Interface, verdict: Verdict) -> bool:
    """Return whether an interface may work. sysfs shows it as its present alternate setting has it."""
    if verdict.only_encrypted and interface.class_code != STORAGE_CLASS:
        return False  # pictures and files that come another way than from a disk are nowhere looked at
    return verdict.interfaces is None or any(_is_same(interface, named) for named in verdict.interfaces)


def _is_same(interface: Interface, named: Interface) -> bool:
    # Bulk-only and UAS are two ways to one disk, and its driver changes between them.
    is_storage = interface.class_code == named.class_code == STORAGE_CLASS
    return interface == named or (is_storage and interface.subclass == named.subclass)

"""Carries a verdict out by the kernel's authorisation, and reads back what became of it.

A composite device of which only some interfaces may work is authorised while its bus gives new interfaces no
authorisation of their own, so that no driver meets the others even for a moment.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from edge_agent.devices.sysfs import UsbInterface
from shared.devices.device import Interface, UsbDevice
from shared.devices.verdict import Target, Verdict
from shared.errors import Unavailable
from shared.fleet.devices import Authorized


class Bus(Protocol):
    """What enforcement asks of sysfs. Whatever does not work raises an Unavailable; a device may go at any moment."""

    def authorized(self, port: str, /) -> Authorized: ...
    def authorize(self, port: str, wanted: bool, /) -> None: ...  # noqa: FBT001  it is the value that is written
    def remove(self, port: str, /) -> None: ...
    def interfaces(self, port: str, /) -> Sequence[UsbInterface]: ...
    def authorize_interface(self, name: str, wanted: bool, /) -> None: ...  # noqa: FBT001  as above
    def probe_interface(self, name: str, /) -> None: ...
    def set_interface_authorized_default(self, root_hub: str, value: int, /) -> None: ...


@dataclass(frozen=True)
class Enforced:
    """`holds` only where sysfs, read afterwards, said what the verdict wants."""

    authorized: Authorized
    holds: bool
    why: str = ""  # why it does not hold, where that is known


class Enforcer:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def enforce(self, device: UsbDevice, verdict: Verdict) -> Enforced:
        """Make the kernel treat `device` as `verdict` says; never raises for a device that does not obey or is gone."""
        why = ""
        try:
            self._apply(device, verdict)
        except Unavailable as exc:
            why = str(exc)
        return self._read_back(device, verdict, why)

    def holds(self, device: UsbDevice, verdict: Verdict) -> bool:
        """Return whether the kernel now treats `device` as `verdict` says."""
        return self._read_back(device, verdict, "").holds

    def _apply(self, device: UsbDevice, verdict: Verdict) -> None:
        if device.is_root_hub:
            return
        if verdict.target is not Target.ALLOW:
            self._bus.authorize(device.port, False)
            if verdict.target is Target.REJECT:
                self._bus.remove(device.port)
            return
        if self._bus.authorized(device.port) is not Authorized.YES:
            with self._interfaces_held_back(device.port, verdict):
                self._bus.authorize(device.port, True)
        for now in self._bus.interfaces(device.port):
            self._apply_interface(now, wanted=_wanted(now.interface, verdict))

    def _apply_interface(self, now: UsbInterface, *, wanted: bool) -> None:
        if now.authorized is (Authorized.YES if wanted else Authorized.NO):
            return
        self._bus.authorize_interface(now.name, wanted)
        if wanted:
            self._bus.probe_interface(now.name)

    @contextmanager
    def _interfaces_held_back(self, port: str, verdict: Verdict) -> Iterator[None]:
        if verdict.interfaces is None:
            yield
            return
        root_hub = f"usb{port.partition('-')[0]}"
        self._bus.set_interface_authorized_default(root_hub, 0)
        try:
            yield
        finally:
            self._bus.set_interface_authorized_default(root_hub, 1)

    def _read_back(self, device: UsbDevice, verdict: Verdict, why: str) -> Enforced:
        try:
            authorized = self._bus.authorized(device.port)
            if verdict.target is not Target.ALLOW:
                # A rejected device has left the bus; one that cannot be read any more is not bound to a driver either.
                return Enforced(authorized, authorized is Authorized.NO, why)
            wrong = [
                now.name
                for now in self._bus.interfaces(device.port)
                if now.authorized is not (Authorized.YES if _wanted(now.interface, verdict) else Authorized.NO)
            ]
        except Unavailable as exc:
            gone = verdict.target is Target.REJECT
            return Enforced(Authorized.NO if gone else Authorized.UNKNOWN, gone, why or str(exc))
        if wrong and not why:
            why = f"interfaces {', '.join(wrong)} are not as the verdict says"
        return Enforced(authorized, authorized is Authorized.YES and not wrong, why)


def _wanted(interface: Interface, verdict: Verdict) -> bool:
    return verdict.interfaces is None or interface in verdict.interfaces

"""Pins the console: looks at what is attached, writes what makes it work without the guard, and proves that it does."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.console.choose import Present
from edge_agent.console.files import apply
from edge_agent.console.pins import Pin, Pins
from edge_agent.console.place import NoPlace
from edge_agent.console.plan import PINS, Wanted, plan
from edge_agent.console.rule import CHECK
from edge_agent.console.sysfs import ConsoleSysfs, PortGone
from edge_agent.files import make_folder
from shared.devices.device import UsbDevice
from shared.errors import IntegrityFailure, Refused, Unavailable


class UsbReader(Protocol):
    def ports(self) -> Sequence[str]: ...

    def read(self, port: str) -> UsbDevice:
        """Raises Unavailable or Refused: it is gone, or nothing of it can be read."""


class NotPinned(Refused):
    def __init__(self, port: str) -> None:
        super().__init__(f"no console device is pinned at {port}")
        self.port = port


class CheckDisagrees(IntegrityFailure):
    def __init__(self, pin: Pin) -> None:
        super().__init__(f"the installed check does not accept the {pin.role} at {pin.port}, so it would not work")
        self.pin = pin


@dataclass(frozen=True)
class Machine:
    """`root` is where the machine's files lie, `state` the guard's folder."""

    root: Path
    state: Path
    sys: Path = Path("/sys")

    def wanted(self, pins: Pins) -> tuple[Wanted, ...]:
        return plan(pins, has_initramfs_tools=(self.root / "etc/initramfs-tools").is_dir())

    def wanted_list(self, pins: Pins) -> Wanted:
        return Wanted(str(self.state.absolute() / PINS), pins.encode(), 0o600)


def present(reader: UsbReader, sysfs: ConsoleSysfs) -> tuple[Present, ...]:
    """Return what is attached by USB now. What vanishes while it is read is not there."""
    return tuple(_present(reader, sysfs))


def _present(reader: UsbReader, sysfs: ConsoleSysfs) -> Iterator[Present]:
    for port in reader.ports():
        try:
            place = sysfs.place(port)
        except (NoPlace, PortGone):
            continue
        try:
            yield Present(reader.read(port), place, sysfs.descriptors(port))
        except (Refused, Unavailable):
            continue


def store(machine: Machine, pins: Pins) -> tuple[str, ...]:
    """Write everything for `pins`; return the files that changed. Raises CannotWrite.

    The guard's list is last: it spares only what works without it.
    """
    changed = [
        str(machine.root / wanted.path.lstrip("/")) for wanted in machine.wanted(pins) if apply(wanted, machine.root)
    ]
    make_folder(machine.state)
    listed = machine.wanted_list(pins)
    if apply(listed):
        changed.append(listed.path)
    return tuple(changed)


def verify_accepted(machine: Machine, pins: Sequence[Pin]) -> None:
    """Run the installed check on the devices as they are attached now, as udev will. Raises CheckDisagrees."""
    for pin in pins:
        folder = (machine.sys / "bus/usb/devices" / pin.port).resolve()
        command = (machine.root / CHECK.lstrip("/"), folder, pin.descriptors)
        if subprocess.run(command, stdin=subprocess.DEVNULL, env={}, check=False).returncode:
            raise CheckDisagrees(pin)

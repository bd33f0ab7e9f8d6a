"""Plugging: sticks, keyboards, hubs and whole controllers, into named ports, while the guest runs.

    port "1" of bus "xhci.0", or "1.2": the second of the hub in the first. None: QEMU takes a free one.

Each method that plugs returns the host's monotonic time right before.
"""

import subprocess
import time
from pathlib import Path

from tests.lab.machine import SLOTS
from tests.lab.qmp import Qmp
from tests.lab.wire import LabError

XHCI, EHCI = "xhci.0", "ehci.0"
RELEASED_S = 60.0


class Usb:
    def __init__(self, qmp: Qmp, folder: Path) -> None:
        self._qmp, self._folder = qmp, folder
        self._blocks: dict[str, str] = {}
        self._slots: dict[str, int] = {}
        self._media = 0

    def stick(self, name: str, image: Path, *, serial: str = "", port: str | None = None, bus: str = XHCI) -> float:
        """Plug a stick (46f4:0001 "QEMU USB HARDDRIVE") with a copy of `image`, which `medium` names."""
        self._media += 1
        node = f"medium{self._media}"
        subprocess.run(["cp", "--sparse=always", image, self._folder / node], check=True)
        file = {"driver": "file", "filename": str(self._folder / node)}
        self._qmp.ask("blockdev-add", node_name=node, driver="raw", file=file)
        self._blocks[name] = node
        more = {"serial": serial} if serial else {}
        return self._plug("usb-storage", name, port, bus, drive=node, removable=True, **more)

    def medium(self, name: str) -> Path:
        """Return the file of a stick that is plugged in, as the guest has written it."""
        return self._folder / self._blocks[name]

    def keyboard(self, name: str, *, serial: str = "", port: str | None = None, bus: str = XHCI) -> float:
        """Plug a keyboard (0627:0001 "QEMU USB Keyboard"), which gets the keys that are typed from now on."""
        return self._plug("usb-kbd", name, port, bus, **({"serial": serial} if serial else {}))

    def mouse(self, name: str, *, port: str | None = None, bus: str = XHCI) -> float:
        return self._plug("usb-mouse", name, port, bus)

    def hub(self, name: str, *, port: str | None = None, bus: str = XHCI) -> float:
        """Plug a hub with eight ports."""
        return self._plug("usb-hub", name, port, bus)

    def controller(self, name: str) -> float:
        """Plug a whole USB 3 controller into a PCI Express port; its bus is `name` with ".0"."""
        free = next((number for number in range(SLOTS) if number not in self._slots.values()), None)
        if free is None:
            raise LabError("every PCI Express port is taken")
        self._slots[name] = free
        began = time.monotonic()
        self._qmp.ask("device_add", driver="qemu-xhci", id=name, bus=f"slot{free}", p2=4, p3=4)
        return began

    def unplug(self, name: str) -> float:
        """Pull a device out and wait until the machine has let go of it."""
        began = time.monotonic()
        self._qmp.ask("device_del", id=name)
        self._qmp.await_event("DEVICE_DELETED", name, RELEASED_S)
        self._slots.pop(name, None)
        node = self._blocks.pop(name, None)
        if node is not None:
            self._qmp.ask("blockdev-del", node_name=node)
            (self._folder / node).unlink()
        return began

    def _plug(self, driver: str, name: str, port: str | None, bus: str, **more: object) -> float:
        place = {} if port is None else {"port": port}
        began = time.monotonic()
        self._qmp.ask("device_add", driver=driver, id=name, bus=bus, **place, **more)
        return began

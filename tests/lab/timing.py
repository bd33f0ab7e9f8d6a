"""How long a device that is allowed waits: from the kernel's word that it is there to its word that it may be used.

Both are events of the kernel, taken by one listener in the guest, so that it does not matter whose program decides:
`add` of the usb_device, and `add` of its first usb_interface, which comes once `authorized` was written.
"""

from pathlib import Path

from tests.lab.guest import Spawned
from tests.lab.lab import Lab

SCRIPT = Path(__file__).parent / "inside" / "uevents.py"
PLACE = "/opt/lab/uevents.py"
PORT = "3-1"


class KernelEvents:
    def __init__(self, lab: Lab) -> None:
        lab.guest.put(PLACE, SCRIPT.read_bytes())
        self._lab = lab
        self._events: Spawned = lab.guest.spawn(["python3", PLACE])
        self._events.await_line("listening")

    def allowed_ms(self, medium: Path, serial: str) -> float:
        """Plug a stick that policy allows, wait until it is used, unplug it, and return the time."""
        self._lab.usb.stick("timed", medium, serial=serial, port=PORT.partition("-")[2])
        there = self._await(f"add usb_device {PORT}")
        usable = self._await(f"add usb_interface {PORT}:1.0")
        self._lab.usb.unplug("timed")
        self._await(f"remove usb_device {PORT}")
        return 1000 * (usable - there)

    def stop(self) -> None:
        self._events.signal()

    def _await(self, event: str) -> float:
        return float(self._events.await_line(event)[1].split()[0])

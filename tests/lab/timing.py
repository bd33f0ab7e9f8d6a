"""How soon a guard decides about a stick, seen from outside of it, so that it does not matter whose guard it is.

allowed  from the kernel's log that the device is there to its log that a driver has it, both by the kernel's own clock
blocked  from the kernel's event that the device is there, as a listener in the guest hears it, to the verdict in the
         guard's own audit trail
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.guest import Spawned
from tests.lab.lab import Lab

SCRIPT = Path(__file__).parent / "inside" / "uevents.py"
PLACE = "/opt/lab/uevents.py"
PORT = "3-1"
# What the kernel says last of a new device before its event, and a driver first of all.
_THERE, _USED = f"usb {PORT}: SerialNumber: ", f"usb-storage {PORT}:1.0: USB Mass Storage device detected"
_LOGGED = re.compile(r"\[ *([0-9]+\.[0-9]+)\] (.*)")
HEARD_S, DECIDED_S = 0.05, 0.5


class Plugs:
    """Sticks that are plugged in one after the other at one port; `there_s` is when each was heard of."""

    def __init__(self, lab: Lab) -> None:
        lab.guest.put(PLACE, SCRIPT.read_bytes())
        self._lab = lab
        self._events: Spawned = lab.guest.spawn(["python3", PLACE])
        self._events.await_line("listening")
        self.there_s: list[float] = []

    def plug(self, medium: Path, serial: str, *, is_allowed: bool) -> None:
        """Plug a stick, wait until it is used, or long enough to be decided about, and unplug it."""
        self._lab.usb.stick("timed", medium, serial=serial, port=PORT.partition("-")[2])
        self.there_s.append(self._await(f"add usb_device {PORT}"))
        if is_allowed:
            self._await(f"add usb_interface {PORT}:1.0")
        time.sleep(DECIDED_S)
        self._lab.usb.unplug("timed")
        self._await(f"remove usb_device {PORT}")

    def stop(self) -> None:
        self._events.signal()

    def _await(self, event: str) -> float:
        return float(self._events.await_line(event)[1].split()[0])


def allowed_ms(kernel_log: str) -> list[float]:
    """Return how long each stick waited for its driver."""
    times, there_s = [], None
    for seconds, text in _LOGGED.findall(kernel_log):
        if text.startswith(_THERE):
            there_s = float(seconds)
        elif text == _USED and there_s is not None:
            times.append(1000 * (float(seconds) - there_s))
            there_s = None
    return times


def decided_ms(there_s: Sequence[float], verdicts_s: Sequence[float]) -> list[float]:
    """Return how long after each device was there the first verdict about it came."""
    times = []
    for there in there_s:
        # A guard that has the processor may have decided before the listener is woken.
        near = [at for at in verdicts_s if there - HEARD_S < at < there + DECIDED_S]
        times += [1000 * (near[0] - there)] if near else []
    return times

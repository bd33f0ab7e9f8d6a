"""Where a USB device hangs, so that it can be found again after the next start.

    devpath     /devices/pci0000:00/0000:00:14.0 / usb1 / 1-2 / 1-2.4
                controller                         bus    hub   device, at port 4 of what is at port 2

Bus numbers are given in the order in which controllers come up, which may differ at each start, so a place names
controller and ports and leaves the bus number out. A controller has one bus for USB 2 and one for USB 3, and so one
place may be found on both: the descriptors, which are pinned too, are never the same there.
"""

import re
from dataclasses import dataclass

from shared.errors import Refused

_MAX_DEPTH = 6  # ports on the way from the root hub to a device (USB 2.0 section 4.1.1)
_MAX_CHARS = 512
# Nothing that udev reads as a pattern, an alternative, a substitution, a quote or a space.
_CONTROLLER = r"/devices(/[A-Za-z0-9][A-Za-z0-9:._,@+-]*)+"
_PORTS = r"[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2})*"
_DEVPATH = re.compile(rf"({_CONTROLLER})/usb([0-9]{{1,3}})((?:/[0-9]{{1,3}}-[0-9.]+)+)")


class NoPlace(Refused):
    def __init__(self, devpath: str) -> None:
        super().__init__(f"the kernel's path {devpath[:100]!r} is not one of a device behind a USB port")
        self.devpath = devpath


@dataclass(frozen=True, order=True)
class Place:
    controller: str
    ports: tuple[int, ...]

    @classmethod
    def of(cls, devpath: str) -> "Place":
        """Read the path of a device below /sys. Raises NoPlace: a root hub, or no USB device."""
        found = _DEVPATH.fullmatch(devpath) if len(devpath) <= _MAX_CHARS else None
        if found is None:
            raise NoPlace(devpath)
        controller, bus, way = found[1], found[3], found[4]
        last = way.rpartition("-")[2]
        place = cls.parse(controller, last) if re.fullmatch(_PORTS, last) else None
        if place is None or place._way(bus) != way:
            raise NoPlace(devpath)
        return place

    @classmethod
    def parse(cls, controller: str, ports: str) -> "Place":
        """Read what `controller` and `port_text` print. Raises NoPlace."""
        numbers = tuple(map(int, ports.split("."))) if re.fullmatch(_PORTS, ports) else ()
        if len(controller) > _MAX_CHARS or not re.fullmatch(_CONTROLLER, controller):
            raise NoPlace(controller)
        if not 1 <= len(numbers) <= _MAX_DEPTH or max(numbers) > 255:
            raise NoPlace(f"{controller}/{ports}")
        return cls(controller, numbers)

    @property
    def port_text(self) -> str:
        return ".".join(map(str, self.ports))

    @property
    def hubs(self) -> tuple["Place", ...]:
        """Return the places of the hubs on the way, from the root hub's port on."""
        return tuple(Place(self.controller, self.ports[:depth]) for depth in range(1, len(self.ports)))

    @property
    def pattern(self) -> str:
        """Return the devpath as udev matches it (glob(7)), whatever the number of the bus."""
        return f"{self.controller}/usb[0-9]*{self._way('[0-9]*')}"

    def __str__(self) -> str:
        return f"port {self.port_text} of {self.controller.rpartition('/')[2]}"

    def _way(self, bus: str) -> str:
        return "".join(f"/{bus}-{place.port_text}" for place in (*self.hubs, self))

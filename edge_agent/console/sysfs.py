"""Reads where a USB device hangs and the digest of its descriptors, as the check program does."""

import re
from hashlib import sha256
from pathlib import Path

from edge_agent.console.place import NoPlace, Place
from shared.devices.printable import printable
from shared.errors import Unavailable

_PORT = re.compile(r"[0-9]{1,3}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}")
_MAX_BYTES = 128 * 1024


class PortGone(Unavailable):
    def __init__(self, port: str) -> None:
        super().__init__(f"the device at {printable(port, 31)} cannot be read; it may have been unplugged")
        self.port = port


class ConsoleSysfs:
    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def place(self, port: str) -> Place:
        """Raises PortGone, NoPlace."""
        if not _PORT.fullmatch(port):
            raise NoPlace(printable(port, 100))
        try:
            folder = (self._root / "bus/usb/devices" / port).resolve(strict=True)
            devpath = "/" + str(folder.relative_to(self._root.resolve()))
        except (OSError, RuntimeError, ValueError) as exc:
            raise PortGone(port) from exc
        return Place.of(devpath)

    def descriptors(self, port: str) -> str:
        """Return the SHA-256 of the `descriptors` file. Raises PortGone."""
        if not _PORT.fullmatch(port):
            raise PortGone(port)
        try:
            with (self._root / "bus/usb/devices" / port / "descriptors").open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as exc:
            raise PortGone(port) from exc
        if not 18 <= len(data) <= _MAX_BYTES:
            raise PortGone(port)
        return sha256(data).hexdigest()

"""What is on the buses where attachment is detected and not prevented, as sysfs shows it now."""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.devices.events import Kind


@dataclass(frozen=True, order=True)
class Present:
    """`name` is the kernel's, such as sda, eth0, 0000:03:00.0; `detail` is one printable line."""

    kind: Kind
    name: str
    detail: str
    port: str = ""  # the USB device that it hangs on


class SysfsTree:
    """`root` is what a test replaces."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def present(self) -> tuple[Present, ...]:
        """Return all there is, in order. What goes away meanwhile is left out. Raises nothing."""
        return ()

    def disks_of(self, port: str) -> tuple[str, ...]:
        """Return the kernel's names of the disks and optical drives that hang on a USB device, without partitions."""
        return tuple(
            each.name for each in self.present() if each.port == port and each.kind in (Kind.BLOCK, Kind.OPTICAL)
        )

"""Which USB port a block device hangs on, by its path in sysfs."""

import re
from dataclasses import dataclass

# usb1/1-1/1-1.2/1-1.2:1.0/host3/target3:0:0/3:0:0:0/block/sdb
_INTERFACE = re.compile(r"([0-9]+-[0-9]+(?:\.[0-9]+)*):([0-9]+)\.([0-9]+)")


@dataclass(frozen=True)
class UsbPlace:
    """`port` as `UsbDevice.port` has it; `interface` is the number within the device's configuration."""

    port: str
    configuration: int
    interface: int


def usb_place(syspath: str) -> UsbPlace | None:
    """Return the device nearest to what `syspath` ends in; None: it hangs on no USB port."""
    for part in reversed(syspath.split("/")):
        if match := _INTERFACE.fullmatch(part):
            return UsbPlace(match[1], int(match[2]), int(match[3]))
    return None

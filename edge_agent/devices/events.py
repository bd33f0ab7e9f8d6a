"""An event of the kernel as a value, and what kind of thing it is about."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from edge_agent.devices.ports import port_in


class Kind(StrEnum):
    """What is watched. Only a USB device or interface can be kept from working; the others are detected."""

    USB_DEVICE = "usb-device"
    USB_INTERFACE = "usb-interface"
    BLOCK = "block"  # a disk or a partition
    OPTICAL = "optical"
    SD = "sd"  # a card of any kind in a slot that is no USB reader
    NET = "net"
    INPUT = "input"  # a device that is typed or pointed with; not the nodes that it is read through
    THUNDERBOLT = "thunderbolt"
    PCI = "pci"
    OTHER = "other"


_BY_SUBSYSTEM = {
    "block": Kind.BLOCK,
    "mmc": Kind.SD,
    "net": Kind.NET,
    "thunderbolt": Kind.THUNDERBOLT,
    "pci": Kind.PCI,
}
_BY_DEVTYPE = {"usb_device": Kind.USB_DEVICE, "usb_interface": Kind.USB_INTERFACE}
_OPTICAL = re.compile("sr[0-9]+", re.ASCII)
_INPUT = re.compile("input[0-9]+", re.ASCII)


@dataclass(frozen=True)
class KernelEvent:
    """`syspath` begins with /sys/devices; `properties` are the few that `udev.PROPERTIES` names, one line each."""

    action: str  # add, remove, change, bind, unbind, move, online, offline
    subsystem: str
    devtype: str
    sysname: str
    syspath: str
    seqnum: int  # 0: the event carried none
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return classify(self)

    @property
    def port(self) -> str:
        """The port of the USB device that the event is about, or that its subject hangs on; empty: not on the USB."""
        return port_in(self.syspath)

    @property
    def is_synthetic(self) -> bool:
        """Return whether somebody asked the kernel for it by writing into `uevent`; nothing came or went."""
        return "SYNTH_UUID" in self.properties


def classify(event: KernelEvent) -> Kind:
    if event.subsystem == "usb":
        return _BY_DEVTYPE.get(event.devtype, Kind.OTHER)
    if event.subsystem == "block" and _OPTICAL.fullmatch(event.sysname):
        return Kind.OPTICAL
    if event.subsystem == "input":
        return Kind.INPUT if _INPUT.fullmatch(event.sysname) else Kind.OTHER
    return _BY_SUBSYSTEM.get(event.subsystem, Kind.OTHER)

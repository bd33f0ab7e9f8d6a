"""The kernel's names of places on the USB.

root hub   usb1
device     1-2.3       port 3 of the hub in port 2 of bus 1
interface  1-2.3:1.0   interface 0 of configuration 1 of that device
"""

import re

from shared.errors import Refused

# What is no such name is never made part of a path. Seven tiers with the root hub: USB 2.0 section 4.1.1.
_PORT = re.compile(r"usb[1-9][0-9]{0,3}|[1-9][0-9]{0,3}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}", re.ASCII)
_INTERFACE = re.compile(rf"({_PORT.pattern}):([0-9]{{1,3}}\.[0-9]{{1,3}})", re.ASCII)
MAX_CHARS = 31  # what the link and the fleet's state carry


class NotAPort(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"not the name of a place on the USB: {name[:40]!a}")
        self.name = name


def is_port(name: str) -> bool:
    return len(name) <= MAX_CHARS and _PORT.fullmatch(name) is not None


def is_root_hub(port: str) -> bool:
    return port.startswith("usb")


def device_of(interface: str) -> str:
    """Return the port of the device that an interface belongs to. Raises NotAPort."""
    # The kernel calls the interface of the root hub usb1 `1-0:1.0`.
    bus, zero, rest = interface.partition("-0:")
    if zero and is_port(f"usb{bus}") and re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", rest, re.ASCII):
        return f"usb{bus}"
    match = _INTERFACE.fullmatch(interface)
    if match is None or not is_port(match[1]) or is_root_hub(match[1]):
        raise NotAPort(interface)
    return match[1]


def parent_of(port: str) -> str:
    """Return the port of the hub it hangs on; empty for a root hub. Raises NotAPort."""
    if not is_port(port):
        raise NotAPort(port)
    if is_root_hub(port):
        return ""
    hub, dot, _ = port.rpartition(".")
    return hub if dot else "usb" + port.partition("-")[0]


def in_order(port: str) -> tuple[int, ...]:
    """Sort ports by this: a hub comes before what hangs on it."""
    return tuple(map(int, re.findall("[0-9]+", port)))


def port_in(devpath: str) -> str:
    """Return the port of the USB device that a path of sysfs leads to or through; empty where there is none."""
    port = before = ""
    for part in devpath.split("/"):
        if port:
            if not is_port(part) or parent_of(part) != port:
                return port
            port = part
        # A network interface may be called usb1 too, on the USB and elsewhere.
        elif is_port(part) and is_root_hub(part) and before != "net":
            port = part
        before = part
    return port

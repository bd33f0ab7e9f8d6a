"""Plugs devices that are not there: run under umockdev-wrapper, takes one JSON request a line and answers each.

    {"do": "add", "port", "ids", "serial", "interfaces", "authorized"}    {}
    {"do": "card", "name"}                                                {}     a memory card, in a slot of its own
    {"do": "remove", "port"}                                              {}

The first line that it prints is the environment in which another process sees the devices.
"""

import json
import sys
from typing import Any

from tests.edge_agent.devices import hostile
from tests.edge_agent.devices.umockdev import TestBed

CONTROLLER = "/devices/pci0000:00/0000:00:14.0"
CARDS = "/devices/pci0000:00/0000:00:1a.0/mmc_host/mmc0"


class Bus:
    def __init__(self) -> None:
        self.bed = TestBed()
        self._attachments = 1

    def add(self, port: str, ids: str, serial: str, interfaces: list[list[int]], *, authorized: bool) -> None:
        vendor, _, product = ids.partition(":")
        body = hostile.of_interfaces([(each[0], each[1], each[2]) for each in interfaces])[18:]
        raw = hostile.device(int(vendor, 16), int(product, 16)) + body
        is_hub = port.startswith("usb")
        self._attachments += 1
        lines = [
            f"P: {_path(port)}",
            "E: SUBSYSTEM=usb",
            "E: DEVTYPE=usb_device",
            f"E: PRODUCT={vendor}/{product}/100",
            f"A: idVendor={vendor}\\n",
            f"A: idProduct={product}\\n",
            f"A: serial={serial}\\n",
            "A: product=A device\\n",
            f"A: devnum={self._attachments}\\n",
            f"A: authorized={int(authorized or is_hub)}\\n",
            *["A: authorized_default=1\\n", "A: interface_authorized_default=1\\n"] * is_hub,
            f"H: descriptors={raw.hex().upper()}",
        ]
        self.bed.load("\n".join(lines) + "\n\n")

    def card(self, name: str) -> None:
        self.bed.load(f"P: {CARDS}/{name}\nE: SUBSYSTEM=mmc\nA: type=SD\\n\nA: name=SC16G\\n\n\n")

    def remove(self, port: str) -> None:
        self.bed.remove(f"/sys{_path(port)}")


def _path(port: str) -> str:
    if port.startswith("usb"):
        return f"{CONTROLLER}/{port}"
    bus, _, way = port.partition("-")
    steps = way.split(".")
    return f"{CONTROLLER}/usb{bus}" + "".join(f"/{bus}-{'.'.join(steps[: n + 1])}" for n in range(len(steps)))


def main() -> None:
    bus = Bus()
    print(json.dumps(bus.bed.child), flush=True)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        match request.pop("do"):
            case "add":
                bus.add(**request)
            case "card":
                bus.card(**request)
            case _:
                bus.remove(**request)
        print("{}", flush=True)


if __name__ == "__main__":
    main()

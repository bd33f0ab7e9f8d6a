"""Events of devices that are not there, read by `KernelEvents` in a process of its own: run under umockdev-wrapper.

python -m tests.edge_agent.devices.replay SCENARIO     prints what was read, one JSON value a line
python -m tests.edge_agent.devices.replay listen       is that process
"""

import json
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

import pyudev

from edge_agent.devices.events import KernelEvent
from edge_agent.devices.udev import KernelEvents
from tests.edge_agent.devices.umockdev import TestBed

LAST = "last"  # the name of the device whose event ends a replay
STICK = {"idVendor": "0781\n", "idProduct": "5581\n", "authorized": "1\n"}
DEVICE = {"DEVTYPE": "usb_device", "PRODUCT": "781/5581/100", "TYPE": "0/0/0"}
INTERFACE = {"DEVTYPE": "usb_interface", "INTERFACE": "8/6/80"}


class Replay:
    def __init__(self, listener: str) -> None:
        self.bed = TestBed()
        command = [sys.executable, "-m", "tests.edge_agent.devices.replay", listener]
        self._listener = subprocess.Popen(command, env=self.bed.child, stdout=subprocess.PIPE, text=True)
        self.next()  # it says that it listens

    def next(self) -> str:
        assert self._listener.stdout is not None
        return self._listener.stdout.readline()

    def end(self) -> None:
        self.bed.add("misc", LAST, None, {}, {})
        while line := self.next():
            print(line, end="")
        self._listener.wait(10)


def attach_and_detach(replay: Replay) -> None:
    hub = replay.bed.add("usb", "usb1", None, {}, {"DEVTYPE": "usb_device"})
    stick = replay.bed.add("usb", "1-1", hub, STICK, DEVICE)
    interface = replay.bed.add("usb", "1-1:1.0", stick, {}, INTERFACE)
    replay.bed.remove(interface)
    replay.bed.remove(stick)


def of_every_kind(replay: Replay) -> None:
    # Foreign events before, between and after: none of them may end the reading.
    for subsystem, name, properties in (
        ("tty", "ttyS7", {}),
        ("block", "sdz", {"DEVTYPE": "disk"}),
        ("block", "sr9", {"DEVTYPE": "disk"}),
        ("net", "eth9", {}),
        ("leds", "input9::numlock", {}),
        ("input", "input9", {}),
        ("input", "event9", {}),
        ("mmc", "mmc0:0001", {}),
        ("thunderbolt", "0-1", {"DEVTYPE": "thunderbolt_device"}),
        ("pci", "0000:09:00.0", {}),
    ):
        replay.bed.add(subsystem, name, None, {}, properties)


def names_that_are_no_utf8(replay: Replay) -> None:
    replay.bed.add(
        "hid",
        "0003:0781:5581.0001",
        None,
        {},
        {"HID_NAME": b"\xe5\x85\xb3\xe5\x85", "DISK_MEDIA_CHANGE": b"a\xffb\x1b[2J"},
    )
    replay.bed.add("input", "input7", None, {}, {"NAME": b'"\xe5\x85\xb3\xe5\x85"'})


def plug_cycles(replay: Replay) -> None:
    hub = replay.bed.add("usb", "usb1", None, {}, {"DEVTYPE": "usb_device"})
    print(replay.next(), end="")
    for _ in range(50):
        stick = replay.bed.add("usb", "1-1", hub, STICK, DEVICE)
        replay.bed.remove(replay.bed.add("usb", "1-1:1.0", stick, {}, INTERFACE))
        replay.bed.remove(stick)
        # umockdev gives up where a few hundred events are unread, which a kernel does not.
        for _ in range(4):
            print(replay.next(), end="")


SCENARIOS: dict[str, Callable[[Replay], None]] = {
    each.__name__: each for each in (attach_and_detach, of_every_kind, names_that_are_no_utf8, plug_cycles)
}


def listen() -> None:
    events = KernelEvents()
    print("listening", flush=True)
    while True:
        select.select([events], [], [], 1)
        while (event := events.read()) is not None:
            if isinstance(event, KernelEvent) and event.sysname == LAST:
                return
            print(json.dumps(asdict(event)), flush=True)


def listen_plainly() -> None:
    """The control: a loop until there is nothing more, and every property of each event."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.start()
    print("listening", flush=True)
    for device in iter(monitor.poll, None):
        if device.sys_name == LAST:
            return
        print(json.dumps(dict(device.properties)), flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["listen"]:
            listen()
        case ["plainly"]:
            listen_plainly()
        case [scenario, *listener]:
            replay = Replay(listener[0] if listener else "listen")
            SCENARIOS[scenario](replay)
            replay.end()


if __name__ == "__main__":
    main()

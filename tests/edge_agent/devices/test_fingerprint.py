"""That our fingerprint is USBGuard's hash: what it said on the recorded machines, and asked anew where it is."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.devices.fingerprint import fingerprint
from edge_agent.devices.sysfs import SysfsUsb
from shared.devices.device import UsbDevice
from tests.edge_agent.devices import hostile
from tests.edge_agent.devices.laid_out import NAMES, RECORDED, lay_out, unescaped

needs_usbguard = pytest.mark.skipif(
    shutil.which("usbguard") is None or shutil.which("umockdev-wrapper") is None,
    reason="usbguard or umockdev is not installed (Debian packages)",
)


@dataclass(frozen=True)
class Line:
    """What is compared of a line of `usbguard generate-policy -p`."""

    id: str
    serial: str
    name: str
    hash: str
    parent_hash: str
    port: str
    interfaces: tuple[str, ...]
    connect_type: str


def parse(rules: str) -> list[Line]:
    lines = []
    for rule in rules.splitlines():
        quoted = {name: text(value) for name, value in re.findall(r'([a-z-]+) "((?:[^"\\]|\\.)*)"', rule)}
        interfaces = re.search(r"with-interface (?:\{ (.*?) \}|(\S+))", rule)
        device_id = re.match(r"allow id (\S+) |block id (\S+) ", rule)
        assert interfaces is not None
        assert device_id is not None
        lines.append(
            Line(
                device_id[1] or device_id[2],
                quoted["serial"],
                quoted["name"],
                quoted["hash"],
                quoted["parent-hash"],
                quoted["via-port"],
                tuple((interfaces[1] or interfaces[2]).split()),
                quoted["with-connect-type"],
            )
        )
    return lines


def text(escaped: str) -> str:
    return unescaped(escaped).decode()


def line_of(device: UsbDevice, raw: dict[str, str]) -> Line:
    # USBGuard shows name and serial as they are; what ours makes of them is the subject of test_sysfs.
    return Line(
        device.id,
        raw.get("serial", ""),
        raw.get("product", ""),
        device.fingerprint,
        device.parent_fingerprint,
        device.port,
        tuple(map(str, device.interfaces)),
        device.connect_type.value,
    )


def ours(root: Path) -> list[Line]:
    usb = SysfsUsb(root)
    return [line_of(usb.read(port), as_it_is(root / "bus" / "usb" / "devices" / port)) for port in usb.ports()]


def as_it_is(folder: Path) -> dict[str, str]:
    return {
        name: (folder / name).read_bytes().removesuffix(b"\n").decode()
        for name in ("serial", "product")
        if (folder / name).exists()
    }


def by_port(lines: list[Line]) -> dict[str, Line]:
    return {line.port: line for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_device_is_what_usbguard_said_it_is(name: str, tmp_path: Path) -> None:
    said = by_port(parse((RECORDED / f"{name}.rules").read_text()))
    found = by_port(ours(lay_out(name, tmp_path)))

    # It takes no text of more than 253 bytes; 126 letters, which a string descriptor can hold, may be more in UTF-8.
    for port in found.keys() - said.keys():
        assert len(found.pop(port).serial.encode()) > 253
    assert found == said


@needs_usbguard
@pytest.mark.parametrize("name", NAMES)
def test_usbguard_says_the_same_today(name: str) -> None:
    assert by_port(parse(usbguard_over("recorded", name))) == by_port(parse((RECORDED / f"{name}.rules").read_text()))


@needs_usbguard
@pytest.mark.parametrize(
    "descriptors",
    [
        hostile.plain(hostile.STORAGE, hostile.KEYBOARD),
        hostile.device(configurations=2)
        + hostile.configuration(hostile.interface(hostile.STORAGE))
        + hostile.configuration(hostile.interface((255, 255, 255))),
        # Not a root hub, though its ids are those of one: bcdDevice is left out all the same.
        hostile.device(0x1D6B, 0x0002) + hostile.configuration(hostile.interface((9, 0, 0))),
        hostile.device(0x1D6B, 0x0104) + hostile.configuration(hostile.interface((9, 0, 0))),
    ],
    ids=["composite", "two configurations", "says it is a root hub", "of the Linux Foundation"],
)
def test_usbguard_says_the_same_of_a_device_that_was_made_up(descriptors: bytes, tmp_path: Path) -> None:
    lines = usbguard_over("made-up", descriptors.hex(), str(tmp_path))

    assert by_port(ours(tmp_path)) == by_port(parse(lines))


def test_control_a_byte_more_or_less_is_another_fingerprint() -> None:
    whole = fingerprint(b"name", b"0781", b"5581", b"serial", hostile.plain())

    assert fingerprint(b"nam", b"0781", b"5581", b"serial", hostile.plain()) != whole
    assert fingerprint(b"name", b"0781", b"5580", b"serial", hostile.plain()) != whole
    assert fingerprint(b"name", b"0781", b"5581", b"serial.", hostile.plain()) != whole
    assert fingerprint(b"name", b"0781", b"5581", b"serial", hostile.plain()[:-1]) != whole


def usbguard_over(*arguments: str) -> str:
    """Run `usbguard generate-policy -p` over a tree that umockdev lays out, in a process of its own."""
    command = ["umockdev-wrapper", sys.executable, "-m", "tests.edge_agent.devices.usbguard", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    return done.stdout

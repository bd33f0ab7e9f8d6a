"""USBGuard's own library, built into a program that answers for it."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from shared.devices.device import UsbDevice
from shared.devices.learn import Ports, learn
from shared.devices.rule import Rule

SOURCE = Path(__file__).with_name("peer.cpp")
HEADER = Path("/usr/include/usbguard/MemoryRuleSet.hpp")


class NotBuilt(Exception):
    """There is no compiler, or no development files of USBGuard."""


def build(folder: Path) -> Path:
    """Return the program. Raises NotBuilt."""
    if shutil.which("g++") is None or not HEADER.exists():
        raise NotBuilt("USBGuard's library cannot be asked (Debian packages g++ and libusbguard-dev)")
    program = folder / "peer"
    subprocess.run(["g++", "-O2", "-std=c++17", SOURCE, "-o", program, "-lusbguard"], check=True)
    return program


def applies(program: Path, pairs: Iterable[tuple[Rule, UsbDevice]]) -> list[bool]:
    """Return for each pair whether the rule's attributes apply to the device."""
    lines = "".join(f"{rule.text()}\n{device_text(device)}\n" for rule, device in pairs)
    done = subprocess.run([program, "applies"], input=lines, capture_output=True, check=True, text=True)
    return [line == "1" for line in done.stdout.split()]


def device_text(device: UsbDevice) -> str:
    (rule,) = learn([device], ports=Ports.ALL)
    return rule.text().replace("allow", "device", 1)

"""Inside the guest: a USB device of any description, made of configfs and dummy_hcd, plugged into the guest itself.

    gadget.py plug '{"name": "g1", "vendor": "0951", "product": "1666", "serial": "S", "title": "T",
                     "maker": "M", "storage": "/path/image", "keyboard": true, "network": true}'
    gadget.py unplug g1
    gadget.py type 'text'      on the keyboard of the gadget that was plugged last

Several interfaces of one configuration make the composite device that QEMU cannot emulate.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIGFS = Path("/sys/kernel/config")
GADGETS = CONFIGFS / "usb_gadget"
MODULES = ("dummy_hcd", "libcomposite", "usb_f_mass_storage", "usb_f_hid", "usb_f_ecm")
CONTROLLERS = 4
# HID 1.11 appendix B.1: the boot keyboard's report descriptor.
KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e715002501750195088102950175088103950575010508190129059102950175039103950675081500256505071900"
    "29658100c0"
)
USAGES = {**{chr(97 + n): 4 + n for n in range(26)}, **{str(n + 1): 30 + n for n in range(9)}, "\n": 40, " ": 44}


def load() -> None:
    if not GADGETS.exists():
        subprocess.run(["modprobe", "dummy_hcd", f"num={CONTROLLERS}"], check=True)
        subprocess.run(["modprobe", "--all", *MODULES], check=True)
    if not os.path.ismount(CONFIGFS):
        subprocess.run(["mount", "-t", "configfs", "configfs", str(CONFIGFS)], check=True)


def free_controller() -> str:
    taken = {(gadget / "UDC").read_text().strip() for gadget in GADGETS.iterdir()}
    return next(udc.name for udc in sorted(Path("/sys/class/udc").iterdir()) if udc.name not in taken)


def plug(what: dict[str, Any]) -> None:
    load()
    gadget, config = GADGETS / what["name"], GADGETS / what["name"] / "configs/c.1"
    (gadget / "strings/0x409").mkdir(parents=True)
    (config / "strings/0x409").mkdir(parents=True)
    (gadget / "idVendor").write_text("0x" + what["vendor"])
    (gadget / "idProduct").write_text("0x" + what["product"])
    (gadget / "bcdUSB").write_text("0x0200")
    for attribute, key in (("serialnumber", "serial"), ("product", "title"), ("manufacturer", "maker")):
        (gadget / "strings/0x409" / attribute).write_bytes(what[key].encode())
    for function in functions(gadget, what):
        (config / function.name).symlink_to(function)
    (gadget / "UDC").write_text(free_controller())


def functions(gadget: Path, what: dict[str, Any]) -> list[Path]:
    made: list[Path] = []
    for kind in [kind for kind in ("storage", "keyboard", "network") if what[kind]]:
        number = len(made)
        if kind == "storage":
            function = gadget / f"functions/mass_storage.{number}"
            function.mkdir()
            (function / "lun.0/removable").write_text("1")
            (function / "lun.0/file").write_text(what["storage"])
        elif kind == "keyboard":
            function = gadget / f"functions/hid.{number}"
            function.mkdir()
            for name, value in (("protocol", "1"), ("subclass", "1"), ("report_length", "8")):
                (function / name).write_text(value)
            (function / "report_desc").write_bytes(KEYBOARD)
        else:
            function = gadget / f"functions/ecm.{number}"
            function.mkdir()
        made.append(function)
    return made


def unplug(name: str) -> None:
    gadget = GADGETS / name
    with contextlib.suppress(OSError):
        (gadget / "UDC").write_text("\n")
    config = gadget / "configs/c.1"
    for link in config.iterdir():
        if link.is_symlink():
            link.unlink()
    for folder in (
        config / "strings/0x409",
        config,
        *(gadget / "functions").iterdir(),
        gadget / "strings/0x409",
        gadget,
    ):
        folder.rmdir()


def type_text(text: str) -> None:
    """Send key presses. Raises OSError where no host has configured the keyboard."""
    last = sorted(Path("/dev").glob("hidg*"))[-1]
    port = os.open(last, os.O_RDWR | os.O_NONBLOCK)
    for character in text:
        for report in (bytes([0, 0, USAGES[character], 0, 0, 0, 0, 0]), bytes(8)):
            write_soon(port, report)
    os.close(port)


def write_soon(port: int, report: bytes) -> None:
    """The port takes the next report once the host has fetched the one before; a blocked keyboard's never is."""
    if not select.select([], [port], [], 2)[1]:
        raise TimeoutError("the host fetches no reports from this keyboard")
    os.write(port, report)


if __name__ == "__main__":
    if sys.argv[1] == "plug":
        plug(json.loads(sys.argv[2]))
    elif sys.argv[1] == "unplug":
        unplug(sys.argv[2])
    else:
        type_text(sys.argv[2])

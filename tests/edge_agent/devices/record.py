"""Write down the part of this machine's sysfs that the guard reads, in umockdev's format: how `recorded/` was made.

    python3 tests/edge_agent/devices/record.py > NAME.umockdev
    usbguard generate-policy -p > NAME.rules        # what USBGuard says of the same machine

P: path below /sys    E: property of the device    A: attribute, escaped    H: attribute, hexadecimal    L: link

Needs nothing but Python, so that it runs in a virtual machine with real, emulated hardware.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys")
_TEXT = {
    "usb": (
        "authorized", "authorized_default", "bConfigurationValue", "bInterfaceClass", "bInterfaceNumber",
        "bInterfaceProtocol", "bInterfaceSubClass", "busnum", "devnum", "idProduct", "idVendor",
        "interface_authorized_default", "manufacturer", "port/connect_type", "product", "serial", "speed",
    ),
    "block": ("ro", "removable", "size", "partition"),
    "scsi": ("model", "vendor"),
    "net": ("address",),
    "input": ("name", "phys"),
    "mmc": ("name", "type"),
    "pci": ("class", "device", "removable", "vendor"),
    "thunderbolt": ("authorized", "device_name", "vendor_name"),
    "virtio": ("vendor",),
}  # fmt: skip
_RECORDED = ("usb", "block", "net", "input", "mmc", "pci", "thunderbolt")


def devices() -> list[Path]:
    """Return the folders of what is recorded and of everything that it hangs on."""
    found: set[Path] = set()
    for subsystem in _RECORDED:
        for place in (_ROOT / "bus" / subsystem / "devices", _ROOT / "class" / subsystem):
            for entry in place.iterdir() if place.is_dir() else ():
                path = entry.resolve()
                found.update(each for each in (path, *path.parents) if (each / "uevent").exists())
    return sorted(found)


def lines(path: Path) -> Iterator[str]:
    link = path / "subsystem"
    if not link.exists():
        return
    subsystem = link.resolve().name
    yield f"P: /{path.relative_to(_ROOT)}"
    properties = dict(line.split("=", 1) for line in (path / "uevent").read_text(errors="replace").splitlines())
    if properties.get("DEVNAME"):
        yield f"N: {properties['DEVNAME']}"
        properties["DEVNAME"] = "/dev/" + properties["DEVNAME"]
    for name, value in sorted({**properties, "SUBSYSTEM": subsystem}.items()):
        yield f"E: {name}={value}"
    for name in _TEXT.get(subsystem, ()):
        if (path / name).is_file():
            yield f"A: {name}={escaped((path / name).read_bytes())}"
    if (path / "descriptors").is_file():
        yield f"H: descriptors={(path / 'descriptors').read_bytes().hex()}"
    for name in ("driver", "device"):
        if (path / name).is_symlink():
            yield f"L: {name}={os.readlink(path / name)}"  # noqa: PTH115  as it is written
    yield ""


def escaped(value: bytes) -> str:
    """Write as GLib's g_strescape does."""
    plain = {ord("\n"): "\\n", ord("\\"): "\\\\", ord('"'): '\\"'}
    return "".join(plain.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}") for byte in value)


def main() -> None:
    for path in devices():
        for line in lines(path):
            print(line)


if __name__ == "__main__":
    main()

"""A folder that looks like /sys with devices on the USB, none of them authorised."""

import struct
from collections.abc import Sequence
from pathlib import Path

CONTROLLER = "/devices/pci0000:00/0000:00:14.0"
KEYBOARD, POINTER, HUB, STORAGE = (3, 1, 1), (3, 1, 2), (9, 0, 0), (8, 6, 0x50)


def descriptors(vendor: int, product: int, interfaces: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a device descriptor and one configuration (USB 2.0 section 9.6)."""
    device_class = 9 if tuple(interfaces) == (HUB,) else 0
    device = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, device_class, 0, 0, 8, vendor, product, 0x0100, 1, 2, 0, 1)
    body = b"".join(
        struct.pack("<BBBBBBBBB", 9, 4, number, 0, 1, *interface, 0)
        + struct.pack("<BBBBHB", 7, 5, 0x81 + number, 3, 8, 10)
        for number, interface in enumerate(interfaces)
    )
    configuration = struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), len(interfaces), 1, 0, 0xA0, 50)
    return device + configuration + body


class UsbTree:
    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bus/usb/devices", "class", "devices"):
            (root / folder).mkdir(parents=True)

    def attach(
        self,
        port: str,
        vendor: int = 0x046D,
        product: int = 0xC31C,
        interfaces: Sequence[tuple[int, int, int]] = (KEYBOARD,),
        *,
        name: str = "",
        controller: str = CONTROLLER,
        raw: bytes | None = None,
    ) -> Path:
        """Add a device, and the folders of what it hangs on; return its folder."""
        bus, _, ports = port.partition("-")
        way = ports.split(".")
        devpath = f"{controller}/usb{bus}" + "".join(f"/{bus}-{'.'.join(way[: n + 1])}" for n in range(len(way)))
        self._device(
            f"usb{bus}", f"{controller}/usb{bus}", 0x1D6B, 2, descriptors(0x1D6B, 2, [HUB]), "xHCI Host Controller"
        )
        return self._device(port, devpath, vendor, product, raw or descriptors(vendor, product, interfaces), name)

    def authorized(self, port: str) -> str:
        return (self.root / "bus/usb/devices" / port / "authorized").read_text().strip()

    def _device(self, port: str, devpath: str, vendor: int, product: int, raw: bytes, name: str) -> Path:
        folder = self.root / devpath.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "uevent").write_text("DEVTYPE=usb_device\nMAJOR=189\nMINOR=1\nDEVNAME=bus/usb/001/002\n")
        (folder / "idVendor").write_text(f"{vendor:04x}\n")
        (folder / "idProduct").write_text(f"{product:04x}\n")
        (folder / "descriptors").write_bytes(raw)
        (folder / "authorized").write_text("1\n" if port.startswith("usb") else "0\n")
        if name:
            (folder / "product").write_text(f"{name}\n")
        for link, target in ((folder / "subsystem", "bus/usb"), (self.root / "bus/usb/devices" / port, devpath[1:])):
            if not link.is_symlink():
                up = len(link.relative_to(self.root).parts) - 1
                link.symlink_to("/".join([".."] * up + [target]))
        return folder

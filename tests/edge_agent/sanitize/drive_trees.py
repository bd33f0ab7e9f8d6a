"""A folder that looks like /sys, /proc and /dev of a machine with drives on it, by hand as kernel 6.1 has it."""

import struct
from collections.abc import Mapping
from pathlib import Path

from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.sanitize.sysfs import Host

Said = Mapping[str, str | bytes]
AHCI = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0"
SAS = "devices/pci0000:00/0000:01:00.0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0"
ISCSI = "devices/platform/host7/session1/target7:0:0/7:0:0:0"
FIBRE = "devices/pci0000:00/0000:02:00.0/host5/rport-5:0-2/target5:0:0/5:0:0:0"
USB_DEVICE = "devices/pci0000:00/0000:00:14.0/usb2/2-1"
USB = f"{USB_DEVICE}/2-1:1.0/host3/target3:0:0/3:0:0:0"
NVME = "devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0"
EMMC = "devices/pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001"
GIB = 1 << 30
SPINNING = (AHCI, SAS)
MOUNTED_ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


def not_looked_at(disk: Disk) -> Answer:
    return Answer(disk.number, (), None, "nobody looked")


def vpd80(serial: bytes) -> bytes:
    return struct.pack(">BBH", 0, 0x80, len(serial)) + serial


def vpd83(*naa: str, of_port: str = "") -> bytes:
    """Return designators of the logical unit, behind one of its port where that is given."""
    found = [(0x93, of_port), *((0x03, each) for each in naa)] if of_port else [(0x03, each) for each in naa]
    body = b"".join(bytes([1, kind, 0, len(name) // 2]) + bytes.fromhex(name) for kind, name in found)
    return struct.pack(">BBH", 0, 0x83, len(body)) + body


def vpd89(serial: str, model: str, firmware: str, wwn: str = "") -> bytes:
    identify = bytearray(512)
    for at, width, text in ((20, 20, serial), (46, 8, firmware), (54, 40, model)):
        padded = text.ljust(width).encode()
        identify[at : at + width] = b"".join(padded[n : n + 2][::-1] for n in range(0, width, 2))
    if wwn:
        identify[175] = 1
        identify[216:224] = b"".join(bytes.fromhex(wwn)[n : n + 2][::-1] for n in range(0, 8, 2))
    return struct.pack(">BBH", 0, 0x89, 568) + bytes(56) + bytes(identify)


class Tree:
    def __init__(self, root: Path) -> None:
        self.host = Host(root / "sys", root / "proc", root / "dev")
        self.root = root
        for folder in ("sys/block", "sys/class/block", "sys/dev/block", "proc/self", "dev"):
            (root / folder).mkdir(parents=True)
        self.says("proc/swaps", "Filename\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        self.says("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet\n")
        self.mounts(MOUNTED_ROOT)

    def says(self, path: str, what: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(what if isinstance(what, bytes) else what.encode())

    def mounts(self, lines: str, process: int = 1) -> None:
        self.says(f"proc/{process}/mountinfo", lines)
        if process == 1:
            self.says("proc/self/mountinfo", lines)

    def disk(
        self,
        name: str,
        number: str,
        device: str = "",
        size_bytes: int = GIB,
        /,
        *,
        own: Said | None = None,
        **said: str | bytes,
    ) -> Path:
        """Add a disk below a device that says `said`; `own` are attributes of the disk itself."""
        place = f"{device or 'devices/virtual'}/{'' if device.startswith(NVME) else 'block/'}{name}"
        folder = self._block(place, name, number, size_bytes)
        queue = {"logical_block_size": "512", "physical_block_size": "4096", "rotational": str(int(device in SPINNING))}
        attributes = {"ro": "0", "diskseq": number.partition(":")[2], **{f"queue/{k}": v for k, v in queue.items()}}
        for attribute, value in {**attributes, **(own or {})}.items():
            self.says(f"sys/{place}/{attribute}", value)
        for attribute, value in said.items():
            self.says(f"sys/{device}/{attribute}", value)
        if device:
            (folder / "device").symlink_to(self.root / "sys" / device)
        (self.root / "sys" / "block" / name).symlink_to(folder)
        return folder

    def partition(self, disk: Path, name: str, number: str, start: int, size_bytes: int = 1 << 20) -> None:
        place = str((disk / name).relative_to(self.root / "sys"))
        self._block(place, name, number, size_bytes)
        self.says(f"sys/{place}/partition", name[-1])
        self.says(f"sys/{place}/start", f"{start // 512}\n")

    def holds(self, folder: Path, holder: str) -> None:
        (folder / "holders").mkdir(exist_ok=True)
        (folder / "holders" / holder).symlink_to(self.root / "sys" / "class" / "block" / holder)

    def _block(self, place: str, name: str, number: str, size_bytes: int) -> Path:
        folder = self.root / "sys" / place
        self.says(f"sys/{place}/dev", f"{number}\n")
        self.says(f"sys/{place}/size", f"{size_bytes // 512}\n")
        (self.root / "sys/class/block" / name).symlink_to(folder)
        (self.root / "sys/dev/block" / number).symlink_to(folder)
        (self.root / "dev" / name).touch()
        return folder

"""The disks of this machine that hang on the USB, as sysfs has them. Nothing here opens or waits for a disk."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.media.place import usb_place


@dataclass(frozen=True)
class Disk:
    """`sequence` is the kernel's diskseq, never given twice in one start; empty where the kernel has none."""

    number: str  # major:minor
    sequence: str
    port: str


def announce(disk: Disk, uuid: str, sys: Path = Path("/sys")) -> None:
    """Have udev look at a disk and its partitions anew. Its events carry `uuid`. One that is gone is left alone."""
    folder = sys / "dev" / "block" / disk.number
    for uevent in (folder / "uevent", *sorted(folder.glob("*/uevent"))):
        if uevent.parent == folder or (uevent.parent / "partition").exists():
            with suppress(OSError):
                uevent.write_text(f"change {uuid}")


def usb_disks(sys: Path = Path("/sys")) -> list[Disk]:
    """Return the disks and optical drives on the USB, without partitions. One that goes away meanwhile is left out."""
    found = []
    for link in sorted((sys / "class" / "block").glob("*")):
        try:
            place = usb_place(str(link.resolve()))
            if place is None or (link / "partition").exists():
                continue
            number = (link / "dev").read_text().strip()
            sequence = (link / "diskseq").read_text().strip() if (link / "diskseq").exists() else ""
        except OSError:
            continue
        found.append(Disk(number, sequence, place.port))
    return found

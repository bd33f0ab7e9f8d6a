"""The drives of this host, and one of them found again. A drive is a whole disk that stands for a medium of its own."""

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from select import select

from edge_agent.media.answer import MAX_BYTES, Answer
from edge_agent.media.disks import Disk
from edge_agent.media.gate import child_command
from edge_agent.media.place import usb_place
from edge_agent.sanitize import bridged, sysfs
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.identify import ATTRIBUTES, Name, Said, kind_of, medium
from edge_agent.sanitize.partition_types import counted
from edge_agent.sanitize.sysfs import HOST, Host
from edge_agent.short_lived import ShortLived
from shared.errors import Malformed, Refused
from shared.sanitization.medium import MediumKind

_SYSFS_SECTOR = 512
_LOOK_S = 60.0
# What the kernel makes out of drives or memory, optical drives, and what a drive has beside its own sectors.
_NO_DRIVE = re.compile(r"(ram|zram|zd|sr|fd|dm-|md|mtdblock|ubiblock|bcache)\d.*|md_.*|mmcblk\d+(boot\d+|gp\d+|rpmb)")
_ADAPTER = re.compile(r"host\d+")
_LOOP_GET_STATUS64, _LOOP_INFO64_BYTES = 0x4C05, 232


class DriveGone(Refused):
    def __init__(self, drive: Drive) -> None:
        super().__init__(
            f"{drive.node} ({drive.number}) is not there any more; look for it anew before anything is done"
        )
        self.drive = drive


class DriveSwapped(Refused):
    """Another drive has the place of the one that was chosen."""

    def __init__(self, drive: Drive, what: str, was: object, found: object) -> None:
        super().__init__(
            f"{drive.node} ({drive.number}) is not the drive that was chosen: its {what} was {was!s} and is {found!s}; "
            "nothing more is written to it"
        )
        self.drive, self.what = drive, what


Look = Callable[[Disk], Answer]
AskBehind = Callable[[Path], Name | None]


def find_drives(host: Host = HOST, look: "Look | None" = None, behind: AskBehind = bridged.ask) -> list[Drive]:
    """Return every drive with a medium; partitions are counted by `look`, in a limited child where none is given."""
    found = (_drive(host, folder, look or look_in_child, behind) for folder in sysfs.disks(host))
    return [drive for drive in found if drive is not None]


def find_again(drive: Drive, host: Host = HOST, look: "Look | None" = None, behind: AskBehind = bridged.ask) -> Drive:
    """Return the same drive as it is now, its partitions counted only where `look` is given.

    Raises DriveGone. Raises DriveSwapped: what has its number now is another one, or was away in between.
    """
    folder = (host.sys / "dev" / "block" / drive.number).resolve()
    found = _drive(host, folder, look, behind)
    if found is None or found.number != drive.number:
        raise DriveGone(drive)
    was, now = drive.medium, found.medium
    for what, before, after in (
        ("kind", was.kind, now.kind),
        ("serial number", was.serial, now.serial),
        ("source of the serial number", was.serial_source, now.serial_source),
        ("worldwide name", was.wwn, now.wwn),
        ("model", was.model, now.model),
        ("size in bytes", was.size_bytes, now.size_bytes),
        ("number in the kernel", drive.sequence, found.sequence),
    ):
        if before != after:
            raise DriveSwapped(drive, what, before, after)
    return found


def look_in_child(disk: Disk) -> Answer:
    """Return what a child without rights saw of a disk, or why it saw nothing."""
    child = ShortLived(child_command(disk, None), most_bytes=MAX_BYTES, timeout_s=_LOOK_S, now_s=time.monotonic())
    while (answered := child.step(time.monotonic())) is None:
        select([child], [], [], max(0.0, child.deadline_s - time.monotonic()))
    if answered.why:
        return Answer(disk.number, (), None, answered.why)
    try:
        return Answer.parse(answered.output)
    except Malformed as exc:
        return Answer(disk.number, (), None, str(exc))


def _drive(host: Host, folder: Path, look: "Look | None", behind: AskBehind) -> Drive | None:
    this = sysfs.block(folder)
    if this is None or (folder / "partition").exists() or _NO_DRIVE.fullmatch(this.name):
        return None
    node = sysfs.node(host, this.name)
    size_bytes = sysfs.whole(folder / "size") * _SYSFS_SECTOR
    # What is hidden is one of several paths to a drive that has a name of its own.
    if node is None or not size_bytes or sysfs.whole(folder / "hidden"):
        return None
    said = _said(this.name, folder, size_bytes, node)
    sequence = sysfs.text(folder / "diskseq")
    answered = behind(node) if kind_of(said) is MediumKind.USB else None
    partitions = counted(look(Disk(this.number, sequence, ""))) if look is not None else ()
    return Drive(node, this.number, folder, medium(said, partitions, answered), sequence)


def _said(name: str, folder: Path, size_bytes: int, node: Path) -> Said:
    place = usb_place(str(folder))
    usb = folder if place is None else next(each for each in folder.parents if each.name == place.port)
    adapter = next((each for each in folder.parents if _ADAPTER.fullmatch(each.name)), folder)
    values = {}
    for path in ATTRIBUTES:
        head, _, rest = path.partition("/")
        below = {"usb": usb / rest, "host": adapter / "scsi_host" / adapter.name / rest}
        value = sysfs.data(below.get(head, folder / path))
        if value and (head != "usb" or place is not None):
            values[path] = value
    if name.startswith("loop"):
        values["loop/identity"] = _loop_identity(node).encode()
    return Said(
        name,
        str(folder),
        size_bytes,
        sysfs.whole(folder / "queue" / "logical_block_size", 512),
        sysfs.whole(folder / "queue" / "physical_block_size", 512),
        sysfs.text(folder / "queue" / "rotational") == "1",
        values,
    )


def _loop_identity(node: Path) -> str:
    """Return what tells a loop device's file from any other of this host: where its bytes lie, never its name."""
    try:
        descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        status = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_INFO64_BYTES))
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    device, inode, offset = (int.from_bytes(status[at : at + 8], "little") for at in (0, 8, 24))
    return f"loop-{device:x}-{inode:x}" + (f"-{offset:x}" if offset else "")

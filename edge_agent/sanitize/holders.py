"""What uses a drive at this moment, so that writing to it would take something away from somebody.

Asked of the kernel: what it holds on the drive and its partitions on any level, mounts of every process's namespace,
swap, loop devices, members of a btrfs of several; and whether the drive can be had for oneself (O_EXCL), which also
tells what no list has, such as a ZFS pool. Never the name of a volume: a mount point of the person's own may have it.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.sanitize import mounts, sysfs
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.mounts import Mount
from edge_agent.sanitize.sysfs import HOST, Block, Host
from shared.errors import Unavailable


class HolderKind(StrEnum):
    MOUNT = "a mounted file system"
    SWAP = "swap"
    RAID = "a RAID"
    LVM = "a logical volume"
    CRYPT = "an open encrypted volume"
    MULTIPATH = "multipath"
    MAPPED = "device-mapper"
    LOOP = "a loop device"
    POOL = "a pool of drives"
    EXCLUSIVE = "a program that has it for itself"


@dataclass(frozen=True)
class Holder:
    """`device` is the disk, the partition, or what is made of them; `detail` names who has it, in words."""

    kind: HolderKind
    device: str
    detail: str


class NotTold(Unavailable):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"who uses a drive cannot be told: {what}: {why}; run this as root")


_BY_UUID = (("LVM-", HolderKind.LVM), ("CRYPT-", HolderKind.CRYPT), ("mpath-", HolderKind.MULTIPATH))


def holders(drive: Drive, host: Host = HOST) -> tuple[Holder, ...]:
    """Return everything that uses the drive. Raises NotTold, Malformed: then nobody can say that nothing does."""
    tree = sysfs.built_on(host, drive.sysfs)
    by_name = {each.name: each for each in tree}
    found = [*_made_of_it(host, tree), *_mounted(host, by_name), *_swapped(host, by_name)]
    found += [*_looped(host, by_name), *_pooled(host, by_name)]
    if not found:
        found = [*_taken(host, tree)]
    return tuple(dict.fromkeys(found))


def all_mounts(host: Host) -> list[Mount]:
    """Return the mounts of every namespace that can be seen into, the first process's first.

    What cannot be seen into may hold the drive as well: whoever asks has to try whether it can be had alone.
    Raises NotTold, Malformed.
    """
    told: dict[str, None] = {}
    for process in sorted((each for each in sysfs.names(host.proc) if each.isdigit()), key=int):
        with suppress(OSError):  # it has ended, or is another container's
            told[(host.proc / process / "mountinfo").read_text(encoding="utf-8", errors="replace")] = None
    if not told:
        raise NotTold("mounts", "no process is seen")
    return [each for text in told for each in mounts.mounts(text)]


def lies_on(host: Host, mount: Mount, by_name: dict[str, Block]) -> str:
    """Return which of these devices has the file system; empty: none of them."""
    for name, each in by_name.items():
        if mount.number == each.number:
            return name
    source = sysfs.name_of(host, mount.source)
    return source if source in by_name else ""


def _made_of_it(host: Host, tree: Iterable[Block]) -> Iterator[Holder]:
    for each in tree:
        for name in sysfs.holders(each.folder):
            folder = host.sys / "class" / "block" / name
            uuid = sysfs.text(folder / "dm" / "uuid")
            kind = next((kind for prefix, kind in _BY_UUID if uuid.startswith(prefix)), HolderKind.MAPPED)
            if name.startswith("md"):
                kind = HolderKind.RAID
            elif name.startswith("bcache"):
                kind = HolderKind.POOL
            yield Holder(kind, each.name, name)


def _mounted(host: Host, by_name: dict[str, Block]) -> Iterator[Holder]:
    for mount in all_mounts(host):
        if device := lies_on(host, mount, by_name):
            yield Holder(HolderKind.MOUNT, device, mount.type)


def _swapped(host: Host, by_name: dict[str, Block]) -> Iterator[Holder]:
    try:
        told = (host.proc / "swaps").read_text()
    except FileNotFoundError:
        return  # a kernel without swap
    except OSError as exc:
        raise NotTold("/proc/swaps", exc.strerror or "unreadable") from exc
    for path in mounts.swaps(told):
        if (name := sysfs.name_of(host, path)) in by_name:
            yield Holder(HolderKind.SWAP, name, "in use")


def _looped(host: Host, by_name: dict[str, Block]) -> Iterator[Holder]:
    for folder in sysfs.disks(host):
        path = sysfs.text(folder / "loop" / "backing_file")
        if path and (name := sysfs.name_of(host, path)) in by_name:
            yield Holder(HolderKind.LOOP, name, folder.name)


def _pooled(host: Host, by_name: dict[str, Block]) -> Iterator[Holder]:
    for pool in sorted((host.sys / "fs").glob("*/*/devices")):
        for name in sysfs.names(pool):
            if name in by_name:
                yield Holder(HolderKind.POOL, name, pool.parent.parent.name)


def _taken(host: Host, tree: Iterable[Block]) -> Iterator[Holder]:
    for each in tree:
        node = sysfs.node(host, each.name)
        try:
            if node is None:
                raise FileNotFoundError(errno.ENOENT, "it has no node")
            os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError as exc:
            why = "it is busy" if exc.errno == errno.EBUSY else f"it cannot be opened: {exc.strerror}"
            yield Holder(HolderKind.EXCLUSIVE, each.name, why)

"""What sysfs says of block devices. Nothing here opens a device, or waits for one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAX_BYTES = 4096  # no attribute of sysfs is larger than a page
_NODE = re.compile(r"[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64})?")


@dataclass(frozen=True)
class Host:
    """Where the kernel tells of this machine; tests have a tree of their own."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")


HOST = Host()


@dataclass(frozen=True)
class Block:
    """A disk, a partition, or what the kernel has made out of some."""

    name: str
    number: str
    folder: Path


def data(file: Path) -> bytes:
    """Return what an attribute says; nothing where it is not there, or its device no longer is."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES)
    except OSError:
        return b""


def text(file: Path) -> str:
    return data(file).decode("latin-1").strip()


def whole(file: Path, otherwise: int = 0) -> int:
    said = text(file)
    return int(said) if said.isascii() and said.isdigit() else otherwise


def block(folder: Path) -> Block | None:
    """Return what has this folder; None: it went away."""
    number = text(folder / "dev")
    return Block(folder.name, number, folder) if number else None


def partitions(disk: Path) -> list[Block]:
    found = (block(file.parent) for file in sorted(disk.glob("*/partition")))
    return [each for each in found if each is not None]


def built_on(host: Host, disk: Path) -> list[Block]:
    """Return the disk, its partitions, and whatever the kernel holds on them: LVM, RAID, encryption, on any level."""
    found: dict[str, Block] = {}
    waiting = [disk]
    while waiting:
        this = block(waiting.pop())
        if this is None or this.name in found:
            continue
        found[this.name] = this
        waiting += [each.folder for each in partitions(this.folder)]
        waiting += [host.sys / "class" / "block" / name for name in holders(this.folder)]
    return list(found.values())


def holders(folder: Path) -> list[str]:
    return names(folder / "holders")


def names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []


def disks(host: Host) -> Iterator[Path]:
    """Yield the real folder of every whole block device."""
    for link in sorted((host.sys / "block").glob("*")):
        yield link.resolve()


def node(host: Host, name: str) -> Path | None:
    """Return the node of a device by its name in sysfs, where a / is a !; None: no node has such a name."""
    path = name.replace("!", "/")
    return host.dev / path if _NODE.fullmatch(path) else None


def name_of(host: Host, path: str) -> str:
    """Return the name in sysfs of what /dev/... leads to, also by links; empty: it is no block device."""
    if not path.startswith("/dev/"):
        return ""
    real = (host.dev / path.removeprefix("/dev/")).resolve()
    if not real.is_relative_to(host.dev.resolve()):
        return ""
    name = str(real.relative_to(host.dev.resolve())).replace("/", "!")
    return name if (host.sys / "class" / "block" / name).exists() else ""

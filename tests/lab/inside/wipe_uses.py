"""Inside the guest: puts a drive to one use after another, and prints what our own code says of it meanwhile.

    wipe_uses.py /dev/sda /dev/nvme0n1

One JSON object: `drives` as they were found, `uses` of the first with what held it during each and after it, and what
became of the second, on which LUKS was erased and then a copy of its header put back.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.sanitize import luks, place
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import find_again, find_drives, look_in_child
from edge_agent.sanitize.health import health
from edge_agent.sanitize.holders import holders
from shared.sanitization.luks import HeaderCopies, erased

KEY, BACKUP, POINT = "/run/key", "/run/header", "/run/point"
MD = Path("/sys/block/md127/md")
CHEAP = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"


class NeverStopped:
    is_stopped = False

    def at(self, done: int, total: int) -> None:
        """Nobody looks."""


def sh(line: str) -> str:
    done = subprocess.run(["sh", "-ec", line], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{line}: {done.stderr}")
    return done.stdout


def works(line: str) -> bool:
    return subprocess.run(["sh", "-ec", line], capture_output=True, check=False).returncode == 0


@contextmanager
def by(begin: str, end: str) -> Iterator[None]:
    sh(begin)
    try:
        yield
    finally:
        sh(end)


def mapped(node: str, uuid: str) -> Callable[[], object]:
    sectors = sh(f"blockdev --getsz {node}").strip()
    return lambda: by(
        f"dmsetup create used --uuid {uuid} --table '0 {sectors} linear {node} 0'", "dmsetup remove --retry used"
    )


@contextmanager
def in_a_raid(node: str) -> Iterator[None]:
    sh("modprobe raid1; echo md127 > /sys/module/md_mod/parameters/new_array")
    number = Path("/sys/class/block", Path(node).name, "dev").read_text().strip()
    for name, value in (("metadata_version", "none"), ("level", "raid1"), ("raid_disks", "1"), ("new_dev", number)):
        (MD / name).write_text(value)
    slot = next(MD.glob("dev-*"))
    (slot / "slot").write_text("0")
    (MD / "array_state").write_text("active")
    try:
        yield
    finally:
        (MD / "array_state").write_text("clear")


@contextmanager
def by_a_file_of_a_mount_that_was_let_go(node: str) -> Iterator[None]:
    """No list has the mount any more; the kernel has."""
    sh(f"mkfs.ext4 -qF {node}; mount {node} {POINT}; truncate -s 1M {POINT}/file")
    loop = sh(f"losetup --find --show {POINT}/file").strip()
    with by(f"umount --lazy {POINT}", f"losetup --detach {loop}; udevadm settle"):
        yield


@contextmanager
def for_itself(node: str) -> Iterator[None]:
    descriptor = os.open(node, os.O_RDONLY | os.O_EXCL)
    try:
        yield
    finally:
        os.close(descriptor)


def uses(disk: str) -> dict[str, Callable[[], object]]:
    part = f"{disk}1"
    luks_format = f"cryptsetup luksFormat -q {CHEAP} {part} {KEY}"
    return {
        "mount": lambda: by(f"mkfs.ext4 -qF {part}; mount {part} {POINT}", f"umount {POINT}"),
        "bind": lambda: by(
            f"mount {part} {POINT}; mkdir -p /run/bound; mount --bind {POINT} /run/bound; umount {POINT}",
            "umount /run/bound",
        ),
        "swap": lambda: by(f"mkswap -q {part}; swapon {part}", f"swapoff {part}"),
        "crypt": lambda: by(f"{luks_format}; cryptsetup open -d {KEY} {part} used", "cryptsetup close used"),
        "lvm": mapped(part, "LVM-x4QkPz"),
        "multipath": mapped(disk, "mpath-35000c500a1b2c3d4"),
        "raid": lambda: in_a_raid(part),
        "loop": lambda: by(f"losetup /dev/loop6 {part}", "losetup --detach /dev/loop6"),
        "let go": lambda: by_a_file_of_a_mount_that_was_let_go(part),
        "exclusive": lambda: for_itself(part),
        "read-only": lambda: by(f"blockdev --setro {disk}", f"blockdev --setrw {disk}"),
    }


def not_looked_at(disk: Disk) -> Answer:
    return Answer(disk.number, (), None, "not looked at")


def said(drive: Drive) -> list[list[str]]:
    return [[each.kind.name, each.device, each.detail] for each in holders(drive)] + (
        [["READ_ONLY", drive.node.name, ""]] if place.is_read_only(drive) else []
    )


def erased_and_brought_back(drive: Drive) -> dict[str, object]:
    """Erase a LUKS that holds a file, and have a copy of its header open it again."""
    node = drive.node
    sh(f"cryptsetup luksFormat -q {CHEAP} {node} {KEY}")
    sh(f"cryptsetup luksHeaderBackup {node} --header-backup-file {BACKUP}")
    opened, closed = f"cryptsetup open -d {KEY} {node} kept", "cryptsetup close kept"
    with by(f"{opened}; mkfs.ext4 -qF /dev/mapper/kept; mount /dev/mapper/kept {POINT}", f"umount {POINT}; {closed}"):
        Path(POINT, "image").write_text("PATIENT")
    step = luks.erase(
        luks.begin(drive), drive, NeverStopped(), luks.Attested(HeaderCopies.NONE_ATTESTED, from_start=True)
    )
    opens = works(opened)
    sh(f"cryptsetup luksHeaderRestore -q {node} --header-backup-file {BACKUP}")
    with by(f"{opened}; mount /dev/mapper/kept {POINT}", f"umount {POINT}; {closed}"):
        kept = Path(POINT, "image").read_text()
    judged = erased(drive.medium, step)
    return {
        "outcome": step.outcome.value, "detail": step.detail, "opens": opens, "kept": kept,
        "reached": judged.reached.value, "not_reached": judged.not_reached,
    }  # fmt: skip


def main(disk: str, other: str) -> None:
    Path(KEY).write_text("passphrase")
    Path(POINT).mkdir()
    sh(f"echo 'label: gpt\nstart=2048, name=MUELLER' | sfdisk --quiet {disk}; udevadm settle")
    found = {str(drive.node): drive for drive in find_drives(look=not_looked_at)}
    found[disk] = find_again(found[disk], look=look_in_child)
    told = {}
    for name, use in uses(disk).items():
        with use():  # type: ignore[attr-defined]  # each returns a context manager
            during = said(found[disk])
        told[name] = {"during": during, "after": said(found[disk])}
    told_of = {
        node: {
            **drive.medium.json(), "system": place.of_system(drive), "network": place.on_network(drive),
            "health": {**health(drive)},
        }
        for node, drive in found.items()
    }  # fmt: skip
    print(json.dumps({"drives": told_of, "uses": told, "luks": erased_and_brought_back(found[other])}))


if __name__ == "__main__":
    main(*sys.argv[1:])

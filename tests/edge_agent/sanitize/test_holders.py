"""Who uses a drive: by what the kernel has of it, on trees by hand and on real loop devices."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import find_drives
from edge_agent.sanitize.holders import Holder, HolderKind, NotTold, holders
from edge_agent.sanitize.mounts import Mount, holding, mounts, swaps
from shared.errors import Malformed
from tests.edge_agent.sanitize.drive_trees import AHCI, MOUNTED_ROOT, SAS, Tree, not_looked_at
from tests.edge_agent.sanitize.loops import loop_on

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A disk with two partitions, and nothing that uses it."""
    tree = Tree(tmp_path)
    disk = tree.disk("sda", "8:0", AHCI, vendor="ATA")
    tree.partition(disk, "sda1", "8:1", MIB)
    tree.partition(disk, "sda2", "8:2", 2 * MIB)
    return tree


def drive(tree: Tree, name: str = "sda") -> Drive:
    [found] = [each for each in find_drives(tree.host, not_looked_at, lambda node: None) if each.node.name == name]
    return found


def kinds(tree: Tree) -> list[tuple[HolderKind, str]]:
    return [(holder.kind, holder.device) for holder in holders(drive(tree), tree.host)]


def test_control_nothing_uses_a_drive_that_nothing_uses(tree: Tree) -> None:
    assert holders(drive(tree), tree.host) == ()


@pytest.mark.parametrize(
    "name, uuid, kind",
    [
        ("dm-0", "LVM-x4QkPz", HolderKind.LVM),
        ("dm-0", "CRYPT-LUKS2-0f1e2d3c-luks", HolderKind.CRYPT),
        ("dm-0", "mpath-35000c500a1b2c3d4", HolderKind.MULTIPATH),
        ("dm-0", "", HolderKind.MAPPED),
        ("md127", "", HolderKind.RAID),
        ("bcache0", "", HolderKind.POOL),
    ],
)
def test_what_the_kernel_has_made_of_a_partition_holds_the_drive(
    tree: Tree, name: str, uuid: str, kind: HolderKind
) -> None:
    tree.disk(name, "253:0", own={"dm/uuid": uuid} if uuid else {})
    tree.holds(tree.host.sys / "class/block/sda2", name)

    assert holders(drive(tree), tree.host) == (Holder(kind, "sda2", name),)


def test_a_mount_on_a_volume_on_a_raid_on_a_partition_holds_the_drive(tree: Tree) -> None:
    tree.disk("md127", "9:127")
    tree.disk("dm-0", "253:0", own={"dm/uuid": "LVM-x"})
    tree.holds(tree.host.sys / "class/block/sda1", "md127")
    tree.holds(tree.host.sys / "class/block/md127", "dm-0")
    tree.mounts(MOUNTED_ROOT + "31 22 253:0 / /srv/MUELLER^ANNA rw - xfs /dev/mapper/vg-lv rw\n")

    assert kinds(tree) == [(HolderKind.RAID, "sda1"), (HolderKind.LVM, "md127"), (HolderKind.MOUNT, "dm-0")]
    assert "MUELLER" not in str(holders(drive(tree), tree.host))


@pytest.mark.parametrize(
    "line",
    [
        "40 22 8:2 / /mnt rw - ext4 /dev/sda2 rw\n",
        "40 22 8:2 /sub /mnt/bind rw - ext4 /dev/sda2 rw\n",  # a part of it, mounted elsewhere
        "40 22 0:53 / /mnt rw shared:9 - btrfs /dev/sda2 rw\n",  # no number of a block device's
        "40 22 0:53 / /mnt rw shared:9 - btrfs /dev/disk/by-id/ata-X-part2 rw\n",
    ],
)
@pytest.mark.parametrize("process", [1, 4711])
def test_a_mount_is_found_by_number_or_source_in_any_namespace(tree: Tree, line: str, process: int) -> None:
    (tree.host.dev / "disk/by-id").mkdir(parents=True)
    (tree.host.dev / "disk/by-id/ata-X-part2").symlink_to("../../sda2")
    tree.mounts(MOUNTED_ROOT + line, process)

    assert kinds(tree) == [(HolderKind.MOUNT, "sda2")]


def test_swap_a_loop_device_and_a_pool_of_several_drives_hold_it(tree: Tree) -> None:
    tree.disk("sdb", "8:16", SAS)
    tree.says(
        "proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 1024 0 -2\n/swap\\040file file 8 0 -3\n"
    )
    tree.disk("loop0", "7:0", own={"loop/backing_file": "/dev/sda2\n"})
    for name in ("sda", "sdb"):
        tree.says(f"sys/fs/btrfs/0f1e2d3c/devices/{name}", "")

    assert kinds(tree) == [(HolderKind.SWAP, "sda1"), (HolderKind.LOOP, "sda2"), (HolderKind.POOL, "sda")]


def test_where_no_process_is_seen_or_a_line_is_not_understood_nobody_says_that_nothing_uses_it(tree: Tree) -> None:
    tree.mounts(MOUNTED_ROOT + "something else\n")
    with pytest.raises(Malformed):
        holders(drive(tree), tree.host)
    (tree.host.proc / "1/mountinfo").unlink()
    with pytest.raises(NotTold):
        holders(drive(tree), tree.host)


def test_reads_mounts_with_optional_fields_and_escapes_and_swaps() -> None:
    told = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n"
    assert mounts(told) == [Mount("98:0", "/mnt two", "ext3", "/dev/root")]
    assert swaps("Filename Type\n") == []
    for wrong in ("", "36 35 98:0 / /mnt - ext3 /dev/root", told.replace(" - ", " "), told.replace("98:0", "sda")):
        with pytest.raises(Malformed):
            mounts(f"{wrong}\n")
    with pytest.raises(Malformed):
        swaps("Filename Type\n/dev/sda1\n")
    a, b, root = (Mount("0:1", point, "ext4", "x") for point in ("/a", "/a", "/"))
    assert holding([root, a, b], "/a/b") is b
    assert holding([root, a], "/ab") is root


# ---- real ones


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Drive]:
    """A drive that is a loop device with two partitions, each an ext4."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(34 * MIB)
    script = "label: gpt\nstart=2048, size=32768\nstart=34816, size=32768\n"
    subprocess.run(["/sbin/sfdisk", "--quiet", str(image)], input=script.encode(), check=True, capture_output=True)
    with loop_on(image, "--partscan") as node:
        run("partx", "--update", node)  # a kernel may read no table by itself
        for number in (1, 2):
            subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", f"{node}p{number}"], check=True)
        [drive] = [each for each in find_drives(look=not_looked_at) if each.node == node]
        yield drive


def run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


def test_a_mounted_partition_holds_a_real_drive_and_lets_it_go(loop: Drive, tmp_path: Path) -> None:
    partition = f"{loop.node}p2"
    point, bound = tmp_path / "point", tmp_path / "bound"
    point.mkdir()
    bound.mkdir()
    assert holders(loop) == ()
    run("mount", partition, point)
    try:
        assert holders(loop) == (Holder(HolderKind.MOUNT, Path(partition).name, "ext4"),)
        run("mount", "--bind", point, bound)
        run("umount", point)
        assert [holder.kind for holder in holders(loop)] == [HolderKind.MOUNT]
    finally:
        subprocess.run(["umount", point, bound], check=False, capture_output=True)
    assert holders(loop) == ()


def test_swap_and_whoever_has_a_partition_for_themselves_hold_a_real_drive(loop: Drive) -> None:
    partition = f"{loop.node}p1"
    descriptor = os.open(partition, os.O_RDONLY | os.O_EXCL)
    try:
        found = holders(loop)
    finally:
        os.close(descriptor)
    # The kernel then gives nobody the whole disk either.
    assert {(holder.kind, holder.detail) for holder in found} == {(HolderKind.EXCLUSIVE, "it is busy")}
    run("mkswap", partition)
    run("swapon", partition)
    try:
        assert holders(loop) == (Holder(HolderKind.SWAP, Path(partition).name, "in use"),)
    finally:
        run("swapoff", partition)
    assert holders(loop) == ()


def test_a_mount_in_a_namespace_of_its_own_is_seen(loop: Drive, tmp_path: Path) -> None:
    hidden = f"mount {loop.node}p1 {tmp_path} && echo mounted && read end"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", hidden], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        found = holders(loop)
        process.stdin.close()
        process.wait()

    assert [holder.kind for holder in found] == [HolderKind.MOUNT]


def test_a_loop_device_on_a_drive_holds_it_though_the_kernel_gives_it_away(loop: Drive) -> None:
    with loop_on(loop.node) as above:
        found = holders(loop)

    assert found == (Holder(HolderKind.LOOP, loop.node.name, above.name),)

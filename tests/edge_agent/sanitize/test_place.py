"""Where a drive belongs: to the running system, to the network, to our own state; and whether it may be written to."""

import subprocess
from pathlib import Path

import pytest

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import find_drives
from edge_agent.sanitize.place import has_state, is_read_only, of_system, on_network
from tests.edge_agent.sanitize.drive_trees import (
    AHCI,
    FIBRE,
    ISCSI,
    MOUNTED_ROOT,
    NVME,
    USB,
    Tree,
    not_looked_at,
)  # fmt: skip
from tests.edge_agent.sanitize.loops import loop_on

MIB = 1 << 20


def drive(tree: Tree) -> Drive:
    [found] = find_drives(tree.host, not_looked_at, lambda node: None)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A disk with a partition; the running system is on another disk."""
    tree = Tree(tmp_path)
    tree.partition(tree.disk("sda", "8:0", AHCI, vendor="ATA"), "sda1", "8:1", MIB)
    return tree


def test_control_a_disk_beside_the_system_s_is_of_no_system_and_no_network(tree: Tree) -> None:
    assert (of_system(drive(tree), tree.host), on_network(drive(tree), tree.host)) == ("", "")


@pytest.mark.parametrize("point", ["/", "/boot", "/boot/efi", "/var"])
def test_a_disk_of_which_the_system_has_something_mounted_is_the_system_s(tree: Tree, point: str) -> None:
    tree.mounts(f"22 1 8:1 / {point} rw - ext4 /dev/sda1 rw\n")

    assert of_system(drive(tree), tree.host) == f"{point} of the running system"


def test_a_disk_below_the_volume_of_the_root_is_the_system_s(tree: Tree) -> None:
    tree.disk("dm-0", "253:0", own={"dm/uuid": "LVM-x"})
    tree.holds(tree.host.sys / "class/block/sda1", "dm-0")
    tree.mounts("22 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n")

    assert of_system(drive(tree), tree.host) == "/ of the running system"


def test_what_the_kernel_was_started_with_and_resumes_from_is_the_system_s(tree: Tree) -> None:
    (tree.host.dev / "disk/by-partuuid").mkdir(parents=True)
    (tree.host.dev / "disk/by-partuuid/1f-2e").symlink_to("../../sda1")
    tree.says("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=PARTUUID=1f-2e quiet\n")
    assert of_system(drive(tree), tree.host) == "what the kernel was started with as root"
    tree.says("proc/cmdline", "quiet resume=/dev/sda1\n")
    assert of_system(drive(tree), tree.host) == "what the kernel was started with as resume"
    tree.says("proc/cmdline", "quiet\n")
    tree.says("sys/power/resume", "8:1\n")
    assert of_system(drive(tree), tree.host) == "what the system resumes from"


@pytest.mark.parametrize(
    "name, number, device, said, network",
    [
        ("sdb", "8:16", ISCSI, {}, "iSCSI"),
        ("sdb", "8:16", FIBRE, {}, "Fibre Channel"),
        ("sdb", "8:16", USB, {}, ""),
        ("nvme0n1", "259:0", NVME, {"transport": "pcie\n"}, ""),
        ("nvme0n1", "259:0", NVME, {"transport": "tcp\n"}, "NVMe over tcp"),
        ("nvme0n1", "259:0", NVME, {"nvme1/transport": "rdma\n"}, "NVMe over rdma"),
        ("nbd0", "43:0", "", {}, "a network block device"),
        ("rbd0", "251:0", "", {}, "Ceph"),
        ("drbd0", "147:0", "", {}, "DRBD"),
        ("ublkb0", "259:9", "", {}, "a program that serves it"),
        ("vdb", "254:16", "devices/pci0000:00/0000:00:05.0/virtio2", {}, ""),
    ],
)
def test_storage_of_another_machine_is_told_by_its_way(
    tmp_path: Path, name: str, number: str, device: str, said: dict[str, str], network: str
) -> None:
    tree = Tree(tmp_path)
    tree.disk(name, number, device)
    for path, value in said.items():
        tree.says(f"sys/{device}/{path}", value)

    assert on_network(drive(tree), tree.host) == network


@pytest.mark.parametrize(
    "kind, network",
    [("ext4", ""), ("nfs4", "a file on nfs4"), ("cifs", "a file on cifs"), ("fuse.sshfs", "a file on fuse.sshfs")],
)
def test_a_loop_device_is_where_its_file_is(tmp_path: Path, kind: str, network: str) -> None:
    tree = Tree(tmp_path)
    tree.disk("loop0", "7:0", own={"loop/backing_file": "/mnt/far/image\n"})
    tree.mounts(f"{MOUNTED_ROOT}40 22 0:53 / /mnt/far rw - {kind} server:/export rw\n")

    assert on_network(drive(tree), tree.host) == network


def test_a_drive_with_a_folder_of_our_state_is_told(tree: Tree, tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir()
    elsewhere.mkdir()
    tree.mounts(f"{MOUNTED_ROOT}40 22 8:1 / {state.resolve()} rw - ext4 /dev/sda1 rw\n")

    assert has_state(drive(tree), [elsewhere, state], tree.host)
    assert not has_state(drive(tree), [elsewhere, tmp_path / "absent"], tree.host)


def test_a_read_only_drive_is_told_as_the_kernel_has_it(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    with loop_on(image) as node:
        [found] = [each for each in find_drives(look=not_looked_at) if each.node == node]
        assert is_read_only(found) is False
        subprocess.run(["/sbin/blockdev", "--setro", str(node)], check=True)
        assert is_read_only(found) is True
        subprocess.run(["/sbin/blockdev", "--setrw", str(node)], check=True)
    assert is_read_only(Drive(node, "7:0", tmp_path, found.medium)) is None

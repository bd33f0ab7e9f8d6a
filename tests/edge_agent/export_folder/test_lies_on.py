"""Where a folder lies: recorded machines, and this one."""

import os
import tempfile
from pathlib import Path

import pytest

from edge_agent.export_folder.lies_on import Mount, evaluate, mount_of, parse_mounts
from edge_agent.export_folder.sysfs import Places, SysfsBlockDevices
from shared.fleet.state import LIES_ON

# As they stand in /proc/self/mountinfo of a workstation with LUKS below LVM, a RAID, network shares and media.
MOUNTINFO = rb"""21 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
22 21 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=8123456k
25 21 0:23 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=1634512k
30 21 8:1 / /boot rw,relatime shared:12 - ext4 /dev/sda1 rw
31 21 9:0 / /srv/raid rw,relatime - xfs /dev/md0 rw
32 21 9:1 / /srv/mixed rw,relatime - xfs /dev/md1 rw
33 21 253:3 / /srv/checked ro,relatime - ext4 /dev/mapper/verity ro
34 21 0:45 / /srv/share rw,relatime - cifs //nas/export rw,vers=3.1.1
35 21 0:46 / /srv/nfs rw,relatime - nfs4 nas:/export rw
36 21 0:47 / /srv/over rw,relatime - overlay overlay rw,lowerdir=/a
37 21 8:17 / /media/EXPORT\040DISK rw,nosuid - vfat /dev/sdb1 rw
38 21 0:48 / /srv/plain rw,relatime - tmpfs tmpfs rw
39 38 8:2 / /srv/plain rw,relatime - ext4 /dev/sda2 rw
40 21 259:5 / /srv/part rw,relatime - ext4 /dev/md0p1 rw
42 21 0:50 / /srv/live rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/run/live/rw,workdir=/run/live/work
43 21 0:51 / /srv/kept rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/srv/raid/rw,workdir=/srv/raid/work
41 21 0:49 / /srv/btrfs rw,relatime - btrfs /dev/sdc rw
garbage
"""


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """Return a recorded /sys: names of devices as the kernel lays them out."""
    block = tmp_path / "sys" / "devices" / "block"
    made = {
        "sda": ("8:0", (), ""), "sda/sda1": ("8:1", None, ""), "sda/sda2": ("8:2", None, ""),
        "sda/sda3": ("8:3", None, ""), "sdb": ("8:16", (), ""), "sdb/sdb1": ("8:17", None, ""),
        "dm-0": ("253:0", ("sda/sda3",), "CRYPT-LUKS2-0f1e2d3c4b5a-luks"), "dm-1": ("253:1", ("dm-0",), "LVM-abc"),
        "dm-2": ("253:2", ("sdb/sdb1",), "CRYPT-PLAIN-swap"), "dm-3": ("253:3", ("sda/sda3",), "CRYPT-VERITY-9-v"),
        "md0": ("9:0", ("dm-0", "dm-2"), ""), "md1": ("9:1", ("dm-0", "sdb/sdb1"), ""),
        "md0/md0p1": ("259:5", None, ""),
    }  # fmt: skip
    for name, (number, slaves, uuid) in made.items():
        folder = block / name
        folder.mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
        if slaves is None:
            (folder / "partition").write_text("1\n")
        else:
            (folder / "slaves").mkdir()
            for slave in slaves:
                (folder / "slaves" / Path(slave).name).symlink_to(block / slave)
        if uuid:
            (folder / "dm").mkdir()
            (folder / "dm" / "uuid").write_text(f"{uuid}\n")
        link = tmp_path / "sys" / "dev" / "block" / number
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    return tmp_path / "sys"


@pytest.mark.parametrize(
    "folder, expected",
    [
        (b"/home/ct/export", "encrypted disk"),
        (b"/run/export", "memory"),
        (b"/boot", "plain disk"),
        (b"/bootleg", "encrypted disk"),  # on the root: a name that only begins like a mount point
        (b"/srv/raid/ct", "encrypted disk"),
        (b"/srv/part", "encrypted disk"),
        (b"/srv/mixed/ct", "plain disk"),  # a mirror of which one half is in clear
        (b"/srv/checked", "plain disk"),  # dm-verity checks, and encrypts nothing
        (b"/srv/share/ct", "unknown"),
        (b"/srv/nfs", "unknown"),
        (b"/srv/over", "unknown"),
        (b"/srv/live", "memory"),  # what is written over a read-only image ends there
        (b"/srv/kept", "unknown"),
        (b"/srv/btrfs", "unknown"),
        (b"/media/EXPORT DISK/ct", "plain disk"),
        (b"/srv/plain/ct", "plain disk"),  # the disk lies over the tmpfs
    ],
)
def test_recorded_machines(sys: Path, folder: bytes, expected: str) -> None:
    assert evaluate(folder, parse_mounts(MOUNTINFO), SysfsBlockDevices(sys)) == expected
    assert expected in LIES_ON


def test_a_device_the_kernel_does_not_know_is_unknown(sys: Path) -> None:
    assert evaluate(b"/x", (Mount("8:99", b"/", "ext4"),), SysfsBlockDevices(sys)) == "unknown"
    assert evaluate(b"/x", (), SysfsBlockDevices(sys)) == "unknown"


def test_devices_that_lie_on_each_other_end() -> None:
    class Circle:
        def below(self, _device: str, /) -> tuple[str, ...]:
            return ("8:0",)

        def mapper_uuid(self, _device: str, /) -> str:
            return ""

    assert evaluate(b"/x", (Mount("8:0", b"/", "ext4"),), Circle()) == "plain disk"


def test_the_mount_that_lies_over_another_counts() -> None:
    assert mount_of(b"/srv/plain", parse_mounts(MOUNTINFO)) == Mount("8:2", b"/srv/plain", "ext4")


def test_this_machine(tmp_path: Path) -> None:
    places = Places()

    assert places.of(bytes(tmp_path)) in LIES_ON
    assert places.of(bytes(tmp_path / "none")) == "missing"
    assert places.is_mount_point(b"/")
    assert not places.is_mount_point(bytes(tmp_path))


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no tmpfs at /dev/shm")  # noqa: S108
def test_the_tmpfs_of_this_machine_is_memory() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert Places().of(os.fsencode(folder)) == "memory"


def test_without_a_mount_table_nobody_knows(tmp_path: Path) -> None:
    assert Places(tmp_path / "none").of(bytes(tmp_path)) == "unknown"

"""What the kernel makes of a disk that is set read-only (BLKROSET), and when udev's rules can set it."""

import pytest

from tests.lab.lab import Lab
from tests.lab.media import NOTE_NAME, Media
from tests.lab.wire import LabError

STICK = "3-1"
WRITE = "printf DIRECT-WRITE | dd of=/dev/sda1 bs=512 seek=1000 conv=fsync,sync"
RULE = (
    'ACTION=="add", SUBSYSTEM=="block", SUBSYSTEMS=="usb", ENV{DEVTYPE}=="disk", '
    'RUN+="/sbin/blockdev --setro $devnode"\n'
)


def plug_allowed(lab: Lab, sticks: Media) -> None:
    lab.usb.stick("stick", sticks.partitioned, serial="S", port="1")
    lab.tree.await_device(STICK)
    lab.tree.authorize(STICK)
    lab.tree.await_disk(STICK)
    lab.guest.await_there("/sys/block/sda/sda1")
    lab.guest.run("udevadm settle")


def test_a_read_only_disk_refuses_writes_to_its_partitions_also_after_the_table_is_read_again(
    lab: Lab, sticks: Media
) -> None:
    plug_allowed(lab, sticks)
    lab.guest.run("blockdev --setro /dev/sda")

    for attempt in (WRITE, WRITE.replace("sda1", "sda"), "blockdev --setrw /dev/sda1 && " + WRITE):
        assert "Operation not permitted" in lab.guest.run(attempt, check=False).err
    lab.guest.run("blockdev --rereadpt /dev/sda; udevadm settle; mkdir -p /m; mount /dev/sda1 /m")
    assert lab.guest.read("/sys/block/sda/sda1/ro") == "1"
    assert lab.guest.read(f"/m/{NOTE_NAME.lower()}")
    with pytest.raises(LabError, match="Read-only file system"):
        lab.guest.write("/m/new", "x")
    assert lab.guest.run("mount -o remount,rw /m", check=False).code != 0
    lab.guest.run("umount /m")
    assert lab.usb.medium("stick").read_bytes() == sticks.partitioned.read_bytes()


def test_control_a_disk_that_is_not_read_only_takes_the_same_write(lab: Lab, sticks: Media) -> None:
    plug_allowed(lab, sticks)

    lab.guest.run(WRITE)

    assert b"DIRECT-WRITE" in lab.usb.medium("stick").read_bytes()


def test_what_is_mounted_before_the_disk_is_set_read_only_goes_on_being_written(lab: Lab, sticks: Media) -> None:
    plug_allowed(lab, sticks)
    lab.guest.run(
        "mkdir -p /m; mount /dev/sda1 /m; blockdev --setro /dev/sda; echo LATE-WRITE > /m/new; sync; umount /m"
    )

    assert b"LATE-WRITE" in lab.usb.medium("stick").read_bytes()
    assert "Trying to write to read-only block-device" in lab.guest.dmesg()


def test_a_udev_rule_sets_the_disk_read_only_before_anything_that_waits_for_udev_hears_of_it(
    lab: Lab, sticks: Media
) -> None:
    lab.guest.put("/etc/udev/rules.d/10-read-only.rules", RULE.encode())
    # The mount unit starts with udev's event, as automatic mounting does.
    lab.guest.put("/etc/systemd/system/m.mount", b"[Mount]\nWhat=/dev/sda1\nWhere=/m\n")
    lab.guest.run("mkdir -p /etc/systemd/system/dev-sda1.device.wants /m")
    lab.guest.run("ln -s ../m.mount /etc/systemd/system/dev-sda1.device.wants/; udevadm control --reload")
    lab.guest.run("systemctl daemon-reload")
    plug_allowed(lab, sticks)
    lab.guest.await_there(f"/m/{NOTE_NAME.lower()}")

    assert lab.guest.run("findmnt --noheadings --output OPTIONS /m").out.startswith("ro,")
    assert lab.guest.read("/sys/block/sda/ro") == "1"

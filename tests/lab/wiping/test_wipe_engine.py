"""Overwriting drives that lie, fail and go away, of a kernel that has all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guard import library
from tests.lab.image import Image
from tests.lab.lab import Lab
from tests.lab.media import Media

SCRIPT = Path(__file__).parents[1] / "inside" / "wipe.py"
SECTORS = 8 << 11
SIZE = SECTORS * 512
FILL = f"head -c {SIZE} /dev/zero | tr '\\0' P"


@pytest.fixture(scope="module")
def wiping(guest_image: Image) -> Iterator[Lab]:
    """A machine with the engine in it, and a loop device on memory that every scenario fills anew."""
    with Lab(guest_image) as lab:
        lab.guest.put("/run/leadglass.tar", library("shared", "edge_agent/sanitize"))
        lab.guest.put("/run/wipe.py", SCRIPT.read_bytes())
        lab.guest.run("mkdir -p /opt && tar --extract --file /run/leadglass.tar --directory / && rm /run/leadglass.tar")
        lab.guest.run(f"modprobe -a loop dm-mod dm-flakey && {FILL} > /tmp/below && losetup /dev/loop0 /tmp/below")
        yield lab


def wiped(lab: Lab, node: str, pattern: str) -> dict[str, Any]:
    done = lab.guest.run(["python3", "/run/wipe.py", node, pattern], timeout_s=120)
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


def mapped(lab: Lab, table: str) -> str:
    """Fill what lies below, and lay over it what `table` says; return the node."""
    lab.guest.run(f"{FILL} > /tmp/fill && cp /tmp/fill /tmp/below && blockdev --flushbufs /dev/loop0")
    lab.guest.run(["dmsetup", "create", "drive"], stdin=table)
    return lab.guest.run("readlink -f /dev/mapper/drive").out.strip()


def left_below(lab: Lab) -> int:
    """Return how many bytes of what somebody left are still there."""
    lab.guest.run("dmsetup remove --retry drive")
    return int(lab.guest.run("tr -cd P < /tmp/below | wc -c").out)


def test_a_drive_that_says_yes_and_writes_nothing_is_found_out_sector_by_sector(wiping: Lab) -> None:
    node = mapped(wiping, f"0 {SECTORS} flakey /dev/loop0 0 0 3600 1 drop_writes")
    found = wiped(wiping, node, "random")

    assert (found["outcome"], found["completed"], found["unwritable"]) == ("done", True, [])  # so it says
    assert (found["bytes_equal"], found["different"]) == (0, [[0, SECTORS]])
    assert left_below(wiping) == SIZE


def test_control_the_same_drive_that_does_write_is_wiped(wiping: Lab) -> None:
    node = mapped(wiping, f"0 {SECTORS} linear /dev/loop0 0")
    found = wiped(wiping, node, "00")

    assert (found["completed"], found["bytes_equal"], found["different"]) == (True, SIZE, [])
    assert left_below(wiping) == 0


def test_bad_sectors_are_listed_on_both_ways_and_all_around_them_is_wiped(wiping: Lab) -> None:
    table = f"0 8001 linear /dev/loop0 0\n8001 7 error\n8008 {SECTORS - 8008} linear /dev/loop0 8008\n"
    found = wiped(wiping, mapped(wiping, table), "00")

    assert (found["outcome"], found["completed"]) == ("done", False)
    assert found["unwritable"] == found["unreadable"] == [[8001, 7]]
    assert found["bytes_written"] == found["bytes_equal"] == SIZE - 7 * 512
    assert left_below(wiping) == 7 * 512


def test_sectors_that_come_back_as_enodata_are_listed_as_unreadable(wiping: Lab) -> None:
    wiping.guest.run("modprobe scsi_debug dev_size_mb=8 opts=2 medium_error_start=5000 medium_error_count=3")
    found_at = wiping.guest.await_there("/sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/*")
    disk = Path(found_at).name
    wiping.guest.run("udevadm settle")
    read = wiping.guest.run(f"dd if=/dev/{disk} of=/dev/null bs=512 skip=5000 count=1 iflag=direct", check=False)
    found = wiped(wiping, f"/dev/{disk}", "random")

    assert "No data available" in read.err
    assert (found["outcome"], found["completed"], found["unwritable"]) == ("done", True, [])
    assert (found["unreadable"], found["different"]) == ([[5000, 3]], [])


def test_a_stick_that_is_pulled_while_it_is_wiped_ends_as_failed(wiping: Lab, sticks: Media) -> None:
    wiping.usb.stick("stick", sticks.fat, serial="WIPED", port="1")
    wiping.tree.await_device("3-1")
    wiping.tree.authorize("3-1")
    disk = wiping.tree.await_disk("3-1")
    wiping.guest.run("udevadm settle")
    size = 512 * int(wiping.guest.read(f"/sys/block/{disk}/size"))
    number = wiping.guest.read(f"/sys/block/{disk}/dev")
    with_another = wiping.guest.run(["python3", "/run/wipe.py", f"/dev/{disk}", "00", "1:1"], check=False)
    wiper = wiping.guest.spawn(["python3", "/run/wipe.py", f"/dev/{disk}", "random", number])
    wiper.await_line(f"of {size}")
    wiping.usb.unplug("stick")
    _, said = wiper.await_line('"outcome"', timeout_s=240)
    found = json.loads(said)

    assert with_another.code != 0
    assert "a drive may have come in its place" in with_another.err
    assert (found["outcome"], found["completed"], found["has_ended"]) == ("failed", False, False), found
    assert found["bytes_written"] < size

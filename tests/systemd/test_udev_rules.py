"""The rules that come with the guard, as Debian's udev evaluates them."""

import shutil
from pathlib import Path

import pytest

from tests.fakes.udev import Udev
from tests.fakes.usb_tree import STORAGE, UsbTree

RULES = Path(__file__).parents[2] / "systemd/udev"
# Remembers which device it was asked to set read-only.
BLOCKDEV = '#!/bin/sh\necho "$@" >>{asked}\nexit {status}\n'


class Host:
    def __init__(self, folder: Path) -> None:
        self.root, self.asked, self.tree = folder / "root", folder / "asked", UsbTree(folder / "sys")
        rules = self.root / "etc/udev/rules.d"
        rules.mkdir(parents=True)
        for file in RULES.glob("*.rules"):
            shutil.copy(file, rules)
        self.blockdev(0)
        self.udev = Udev(self.root, self.tree.root)

    def blockdev(self, status: int) -> None:
        program = self.root / "usr/sbin/blockdev"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(BLOCKDEV.format(asked=self.asked, status=status))
        program.chmod(0o755)

    def disk(self, port: str | None = "1-4", seq: int = 7) -> str:
        """Add a disk with a partition; return its path. Without a port it is one of the machine's own."""
        if port is None:
            below = self.tree.root / "devices/pci0000:00/0000:00:17.0"
            below.mkdir(parents=True)
        else:
            below = self.tree.attach(port, 0x0781, 0x5581, [STORAGE])
        disk = below / "block/sda"
        for folder, kind, name in ((disk, "disk", "sda"), (disk / "sda1", "partition", "sda1")):
            folder.mkdir(parents=True)
            (folder / "uevent").write_text(f"MAJOR=8\nMINOR=0\nDEVNAME={name}\nDEVTYPE={kind}\n")
            (folder / "subsystem").symlink_to(self.tree.root / "class/block")
        (self.tree.root / "class/block").mkdir(exist_ok=True)
        (disk / "diskseq").write_text(f"{seq}\n")
        return f"/{disk.relative_to(self.tree.root)}"

    def may_write(self, seq: int) -> None:
        self.mark("writable", seq)

    def may_mount(self, seq: int) -> None:
        self.mark("released", seq)

    def mark(self, what: str, seq: int) -> None:
        folder = self.root / "run/leadglass-guard" / what
        folder.mkdir(parents=True)
        (folder / str(seq)).touch()

    def set_read_only(self) -> list[str]:
        return self.asked.read_text().splitlines() if self.asked.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_disk_on_the_usb_and_its_partitions_are_read_only_before_anybody_hears_of_them(host: Host) -> None:
    disk = host.disk()
    said = host.udev.handle(disk) + host.udev.handle(f"{disk}/sda1")

    assert host.set_read_only() == ["--setro /dev/sda", "--setro /dev/sda1"]
    assert said.count("LEADGLASS_STORAGE=read-only\n") == 2


def test_nobody_mounts_what_the_guard_has_not_looked_at(host: Host) -> None:
    disk = host.disk()
    said = host.udev.handle(disk) + host.udev.handle(f"{disk}/sda1")

    assert said.count("SYSTEMD_READY=0\n") == 2
    assert said.count("UDISKS_IGNORE=1\n") == 2


def test_what_the_guard_released_may_be_mounted_and_stays_read_only(host: Host) -> None:
    disk = host.disk(seq=7)
    host.may_mount(7)
    said = host.udev.handle(disk, "change") + host.udev.handle(f"{disk}/sda1", "change")

    assert "SYSTEMD_READY=0" not in said
    assert "UDISKS_IGNORE" not in said
    assert said.count("LEADGLASS_STORAGE=read-only\n") == 2
    assert host.set_read_only() == []


def test_another_medium_is_not_released_by_the_mark_of_the_one_before(host: Host) -> None:
    host.may_mount(7)

    assert "SYSTEMD_READY=0\n" in host.udev.handle(host.disk(seq=8), "change")


def test_the_machines_own_disk_is_left_alone(host: Host) -> None:
    disk = host.disk(None)
    host.udev.handle(disk)
    host.udev.handle(f"{disk}/sda1")

    assert host.set_read_only() == []


def test_a_disk_that_policy_lets_be_written_stays_so_when_it_is_announced_again(host: Host) -> None:
    disk = host.disk(seq=7)
    host.may_write(7)
    said = host.udev.handle(disk) + host.udev.handle(f"{disk}/sda1")

    assert host.set_read_only() == []
    assert said.count("LEADGLASS_STORAGE=writable\n") == 2


def test_the_next_disk_under_the_same_name_is_read_only_again(host: Host) -> None:
    disk = host.disk(seq=8)
    host.may_write(7)
    host.udev.handle(disk)

    assert host.set_read_only() == ["--setro /dev/sda"]


def test_a_disk_without_a_number_is_never_taken_for_a_writable_one(host: Host) -> None:
    disk = host.disk()
    (host.tree.root / disk[1:] / "diskseq").unlink()
    host.may_write(7)
    host.udev.handle(disk)

    assert host.set_read_only() == ["--setro /dev/sda"]


def test_closing_a_disk_that_is_written_to_does_not_set_it_read_only(host: Host) -> None:
    host.udev.handle(host.disk(), "change")

    assert host.set_read_only() == []


def test_another_medium_in_the_same_reader_is_read_only_again(host: Host) -> None:
    disk = host.disk(seq=8)
    host.may_write(7)
    with (host.tree.root / disk[1:] / "uevent").open("a") as uevent:
        uevent.write("DISK_MEDIA_CHANGE=1\n")
    host.udev.handle(disk, "change")

    assert host.set_read_only() == ["--setro /dev/sda"]


def test_a_disk_that_cannot_be_set_read_only_is_kept_from_being_mounted(host: Host) -> None:
    host.blockdev(1)
    said = host.udev.handle(host.disk())

    assert "LEADGLASS_STORAGE=failed\n" in said
    assert "SYSTEMD_READY=0\n" in said
    assert "UDISKS_IGNORE=1\n" in said


def test_a_root_hub_that_comes_up_authorises_nothing_by_itself(host: Host) -> None:
    host.tree.attach("1-4")
    hub = host.tree.root / "bus/usb/devices/usb1"
    (hub / "authorized_default").write_text("1\n")
    host.udev.handle(f"/{hub.resolve().relative_to(host.tree.root)}")

    assert (hub / "authorized_default").read_text().strip() == "0"


def test_usbcore_is_told_for_the_controllers_that_come_later(host: Host) -> None:
    module = host.tree.root / "module/usbcore"
    (module / "parameters").mkdir(parents=True)
    (module / "uevent").write_text("")
    (module / "parameters/authorized_default").write_text("1\n")
    host.udev.handle("/module/usbcore")

    assert (module / "parameters/authorized_default").read_text().strip() == "0"

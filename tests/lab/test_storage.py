"""Sticks that policy does not know, allows, allows to be read, and allows when they are encrypted."""

from dataclasses import replace

import pytest

from shared.devices.policy import DeviceRule
from shared.devices.record import GuardEvent
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import Authorized, Seen
from tests.lab.conftest import Guarded
from tests.lab.guard import allowing
from tests.lab.lab import Lab
from tests.lab.media import KEY, NOTE, NOTE_NAME, Media
from tests.lab.tree import NOTHING
from tests.lab.wire import LabError

STICK, NOTE_AT = "3-1", f"/m/{NOTE_NAME.lower()}"


def test_an_unknown_stick_stays_unbound_and_the_reason_is_reported_and_recorded(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")
    device = guard.await_decided(STICK, Authorized.NO)

    assert (device.target, device.cause, device.seen) == (Target.BLOCK, Cause.DEFAULT, Seen.NOW)
    assert 'expected "GOOD", found "UNKNOWN"' in device.detail
    assert lab.tree.authorized(STICK) == "0"
    assert lab.tree.bound(STICK) == NOTHING
    assert f"usb {STICK}: Device is not authorized for usage" in lab.guest.dmesg()
    assert not lab.guest.glob("/sys/block/sd*")
    enforced = guard.await_record(GuardEvent.ENFORCED, STICK)
    assert (enforced.fields["target"], enforced.fields["authorized"]) == ("block", "no")
    lab.usb.unplug("stick")
    guard.await_record(GuardEvent.DETACHED, STICK)


def test_control_without_the_guard_and_with_default_allow_the_same_stick_is_bound(
    guarded: Guarded, sticks: Media
) -> None:
    lab = guarded.lab
    guarded.guard.stop()
    lab.tree.set_defaults("1")
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")

    assert lab.tree.await_disk(STICK) == "sda"
    assert lab.tree.authorized(STICK) == "1"
    assert lab.tree.bound(STICK).drivers == ("usb-storage",)


def test_an_allowed_stick_is_bound_and_can_be_written(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.partitioned, serial="GOOD", port="1")
    device = guard.await_decided(STICK, Authorized.YES)
    assert (device.target, device.cause, device.rule) == (Target.ALLOW, Cause.RULE, 1)
    assert lab.tree.await_disk(STICK) == "sda"
    lab.guest.await_there("/sys/block/sda/sda1")

    lab.guest.run("udevadm settle")  # udev's rule has made it read-only, and the guard lifts that
    lab.guest.await_text("/sys/block/sda/ro", "0")
    lab.guest.run("mkdir -p /m && mount /dev/sda1 /m && echo WRITTEN-IN-THE-LAB > /m/new && umount /m")

    assert b"WRITTEN-IN-THE-LAB" in lab.usb.medium("stick").read_bytes()
    enforced = guard.await_record(GuardEvent.ENFORCED, STICK)
    assert (enforced.fields["target"], enforced.fields["authorized"]) == ("allow", "yes")


def test_a_stick_that_may_be_read_is_mounted_by_itself_and_never_writable(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    guard.follow(with_access('allow id 46f4:0001 serial "READ"', Access.READ_ONLY))
    mounts_by_itself(lab)
    lab.usb.stick("stick", sticks.partitioned, serial="READ", port="1")
    guard.await_decided(STICK, Authorized.YES)
    lab.guest.await_there(NOTE_AT)

    assert lab.guest.run("findmnt --noheadings --output OPTIONS /m").out.startswith("ro,")
    assert lab.guest.read("/sys/block/sda/ro") == "1"
    assert lab.guest.read(NOTE_AT).encode() == NOTE.rstrip()
    with pytest.raises(LabError, match="Read-only file system"):
        lab.guest.write("/m/new", "x")
    assert lab.guest.run("echo x | dd of=/dev/sda conv=fsync", check=False).code != 0
    assert lab.guest.run("mount -o remount,rw /m", check=False).code != 0


def test_before_the_guard_has_looked_at_a_disk_nothing_mounts_it_and_nothing_writes_to_it(
    installed: Guarded, sticks: Media
) -> None:
    lab = installed.lab
    mounts_by_itself(lab)
    plug_and_authorize(lab, sticks)
    lab.guest.await_there("/sys/block/sda/sda1")
    lab.guest.run("udevadm settle")

    assert (lab.guest.read("/sys/block/sda/ro"), lab.guest.read("/sys/block/sda/sda1/ro")) == ("1", "1")
    assert lab.guest.run("udevadm info --query=property /dev/sda1 | grep SYSTEMD_READY").out == "SYSTEMD_READY=0\n"
    assert lab.guest.run("systemctl is-active m.mount", check=False).out == "inactive\n"


def test_control_without_the_guard_s_udev_rule_the_same_stick_is_mounted_to_be_written(
    installed: Guarded, sticks: Media
) -> None:
    lab = installed.lab
    lab.guest.run("rm /etc/udev/rules.d/59-leadglass-storage.rules; udevadm control --reload")
    mounts_by_itself(lab)
    plug_and_authorize(lab, sticks)
    lab.guest.await_there(NOTE_AT)

    assert lab.guest.run("findmnt --noheadings --output OPTIONS /m").out.startswith("rw,")


def test_where_only_encrypted_sticks_are_allowed_a_plain_one_goes_and_luks_stays(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    guard.follow(with_access('allow id 46f4:0001 serial "CRYPT"', Access.READ_WRITE, only_encrypted=True))
    lab.usb.stick("plain", sticks.partitioned, serial="CRYPT", port="1")
    plain = guard.await_record(GuardEvent.STORAGE_JUDGED, STICK)
    device = guard.await_decided(STICK, Authorized.NO)
    assert device.cause is Cause.NOT_ENCRYPTED
    assert lab.tree.authorized(STICK) == "0"
    lab.guest.await_gone("/sys/block/sd*")
    lab.usb.unplug("plain")
    guard.await_record(GuardEvent.DETACHED, STICK, after=plain.number)

    lab.usb.stick("luks", sticks.luks2, serial="CRYPT", port="2")
    judged = guard.await_record(GuardEvent.STORAGE_JUDGED, "3-2")
    disk = lab.tree.await_disk("3-2")

    assert "LUKS" in " ".join(judged.fields.values()).upper()
    assert lab.tree.authorized("3-2") == "1"
    lab.guest.put("/run/key", KEY, mode=0o600)
    lab.guest.await_text(f"/sys/block/{disk}/ro", "0")
    lab.guest.run(f"cryptsetup open --key-file /run/key /dev/{disk} inside")
    lab.guest.run("mkdir -p /m; mount /dev/mapper/inside /m")
    assert lab.guest.read(NOTE_AT).encode() == NOTE.rstrip()


def with_access(rule: str, access: Access, *, only_encrypted: bool = False) -> DeviceRule:
    return replace(allowing(rule), access=access, only_encrypted=only_encrypted)


def mounts_by_itself(lab: Lab) -> None:
    """Have systemd mount what appears on udev's event, as a desktop does."""
    wants = "/etc/systemd/system/dev-sda1.device.wants"
    lab.guest.put("/etc/systemd/system/m.mount", b"[Mount]\nWhat=/dev/sda1\nWhere=/m\n")
    lab.guest.run(f"mkdir -p {wants} /m; ln -s ../m.mount {wants}/; systemctl daemon-reload")


def plug_and_authorize(lab: Lab, sticks: Media) -> None:
    """Let a stick in as a guard does that dies right after."""
    lab.usb.stick("stick", sticks.partitioned, serial="GOOD", port="1")
    lab.tree.await_device(STICK)
    lab.tree.authorize(STICK)

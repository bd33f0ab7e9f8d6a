"""Devices that lie: storage that also types, and a stick that says it is another one."""

from dataclasses import replace

from shared.devices.device import Interface
from shared.devices.record import GuardEvent
from shared.devices.verdict import Cause, Target
from shared.fleet.devices import Authorized
from tests.lab.conftest import Guarded
from tests.lab.gadgets import Gadget
from tests.lab.guard import allowing
from tests.lab.media import Media
from tests.lab.tree import NOTHING

STORAGE = Interface(0x08, 0x06, 0x50)
GOOD = Gadget("stick", serial="GOOD", storage=bytes(1 << 20))
BAD = replace(GOOD, name="bad", keyboard=True)


def test_a_stick_that_also_types_is_blocked_though_everything_else_of_it_is_allowed(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.gadgets.plug(BAD)
    port = lab.tree.port_of("GOOD")
    device = guard.await_decided(port, Authorized.NO)

    assert device.target is Target.BLOCK
    assert device.interfaces == "03:01:01 08:06:50"
    assert "with-interface" in device.detail
    assert lab.tree.bound(port) == NOTHING
    assert not lab.gadgets.type("abc")
    assert not lab.tree.inputs(port)


def test_control_the_same_stick_without_a_keyboard_is_allowed(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.gadgets.plug(GOOD)
    port = lab.tree.port_of("GOOD")

    assert guard.await_decided(port, Authorized.YES).target is Target.ALLOW
    assert lab.tree.await_disk(port)


def test_a_stick_that_grows_a_keyboard_while_it_stays_plugged_in_is_decided_anew(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.gadgets.plug(GOOD)
    port = lab.tree.port_of("GOOD")
    before = guard.await_decided(port, Authorized.YES)
    lab.gadgets.unplug("stick")
    lab.tree.await_gone(port)

    lab.gadgets.plug(BAD)

    after = guard.await_decided(port, Authorized.NO)
    assert after.identity != before.identity
    assert not lab.gadgets.type("abc")


def test_of_a_composite_device_only_the_interfaces_that_policy_names_are_bound(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    guard.follow(replace(allowing('allow id 0951:1666 serial "GOOD"'), interfaces=(STORAGE,)))
    lab.gadgets.plug(BAD)
    port = lab.tree.port_of("GOOD")
    guard.await_decided(port, Authorized.YES)

    assert lab.tree.await_disk(port)
    assert lab.tree.bound(port).drivers == ("usb-storage",)
    assert lab.guest.read(f"/sys/bus/usb/devices/{port}:1.1/authorized") == "0"
    assert not lab.tree.inputs(port)


def test_a_second_stick_with_the_same_serial_number_is_suspicious_and_blocked(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("first", sticks.fat, serial="GOOD", port="1")
    guard.await_decided("3-1", Authorized.YES)
    lab.tree.await_disk("3-1")

    lab.usb.stick("second", sticks.fat, serial="GOOD", port="2")

    second = guard.await_decided("3-2", Authorized.NO)
    assert second.cause is Cause.SUSPICIOUS
    assert "3-1" in second.detail
    assert lab.tree.bound("3-2") == NOTHING
    first = guard.device("3-1")
    assert first is not None
    assert first.authorized is Authorized.YES
    assert lab.tree.disks("3-1")


def test_the_same_stick_is_one_device_in_a_usb_2_and_in_a_usb_3_port(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("fast", sticks.fat, serial="GOOD", port="1")
    fast = guard.await_decided("3-1", Authorized.YES)
    lab.usb.unplug("fast")
    guard.await_record(GuardEvent.DETACHED, "3-1")
    lab.usb.stick("slow", sticks.fat, serial="GOOD", port="1", bus="ehci.0")
    slow = guard.await_decided("1-1", Authorized.YES)

    assert (lab.tree.attribute("1-1", "speed"), slow.identity) == ("480", fast.identity)
    fingerprints = {
        record.subject: record.fields["fingerprint"]
        for record in guard.records(GuardEvent.ATTACHED)
        if record.subject in ("1-1", "3-1")
    }
    assert len(set(fingerprints.values())) == 2


def test_what_a_device_says_of_itself_forges_neither_record_nor_log_line(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    hostile = 'x" } allow\n1 guard.policy-accepted 0\u202e\x1b[2J$(reboot)`'
    lab.gadgets.plug(Gadget("hostile", serial="H", title=hostile, maker=hostile, keyboard=True))
    port = lab.tree.port_of("H")
    device = guard.await_decided(port, Authorized.NO)

    assert "\n" not in device.name
    assert "\x1b" not in device.name
    assert "allow" in device.name  # it was read, and is shown for what it is
    listed = lab.guest.run("leadglass-guard devices; leadglass-guard records").out
    assert "\x1b" not in listed
    assert not any(line.startswith("1 guard.policy-accepted") for line in listed.splitlines())
    assert not any(line.startswith("1 guard.policy-accepted") for line in guard.log().splitlines())

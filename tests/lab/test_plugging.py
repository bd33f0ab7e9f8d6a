"""Many events at once, hubs in hubs, controllers that come later: nothing is missed without a gap record."""

from collections import Counter

from shared.devices.record import GENESIS, GuardEvent
from shared.devices.verdict import Target
from shared.fleet.devices import Authorized
from tests.lab.conftest import Guarded
from tests.lab.media import Media
from tests.lab.tree import NOTHING

# 51 cycles on three buses at once, which the kernel serves side by side.
ROUNDS, PORTS = 17, ("1-1", "2-1", "3-2")


def test_of_fifty_rapid_plug_cycles_each_is_recorded_or_a_gap_says_that_some_are_not(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    before = guard.report()
    for _ in range(ROUNDS):
        lab.usb.keyboard("one", port="1", bus="ehci.0")
        lab.usb.keyboard("two", port="1")
        lab.usb.stick("three", sticks.empty, port="2")
        for port in PORTS:
            lab.guest.await_there(f"/sys/bus/usb/devices/{port}/idVendor")
        for name in ("one", "two", "three"):
            lab.usb.unplug(name)
        for port in PORTS:
            lab.guest.await_gone(f"/sys/bus/usb/devices/{port}")
    lab.usb.stick("last", sticks.empty, serial="GOOD", port="1")
    guard.await_decided("3-1", Authorized.YES)

    records = [record for record in guard.records() if record.number > before.records]
    seen = Counter((record.event, record.subject) for record in records)
    gaps = guard.report().gaps - before.gaps
    assert gaps == sum(count for (event, _), count in seen.items() if event is GuardEvent.GAP)
    for port in PORTS:
        assert seen[GuardEvent.ATTACHED, port] == seen[GuardEvent.DETACHED, port] == ROUNDS or gaps > 0
        assert lab.guest.run(f"dmesg | grep -c 'usb {port}: New USB device found'").out == f"{ROUNDS}\n"
    assert "usbhid" not in lab.guest.run("lsmod").out  # no keyboard ever had an interface for which udev loads it
    chain = guard.records()
    assert [record.prev for record in chain] == [GENESIS, *(record.digest for record in chain[:-1])]


def test_what_hangs_behind_nested_hubs_is_decided_one_after_another(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    for depth in ("1", "1.1", "1.1.1"):
        lab.usb.hub(f"hub-{depth}", port=depth)
    lab.usb.stick("good", sticks.fat, serial="GOOD", port="1.1.1.1")
    lab.usb.keyboard("unknown", port="1.1.1.2")

    for port in ("2-1", "2-1.1", "2-1.1.1", "2-1.1.1.1"):
        assert guard.await_decided(port, Authorized.YES).target is Target.ALLOW
    assert guard.await_decided("2-1.1.1.2", Authorized.NO).parent == "2-1.1.1"
    assert lab.tree.await_disk("2-1.1.1.1")
    assert lab.tree.bound("2-1.1.1.2") == NOTHING
    lab.usb.unplug("hub-1")
    for port in ("2-1", "2-1.1", "2-1.1.1", "2-1.1.1.1", "2-1.1.1.2"):
        guard.await_record(GuardEvent.DETACHED, port)


def test_devices_at_a_controller_that_is_added_are_decided_like_all_others(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.controller("added")
    lab.guest.await_there("/sys/bus/usb/devices/usb5/authorized_default")
    lab.usb.stick("unknown", sticks.fat, serial="UNKNOWN", port="1", bus="added.0")
    lab.usb.stick("good", sticks.fat, serial="GOOD", port="2", bus="added.0")

    guard.await_decided("5-1", Authorized.NO)
    guard.await_decided("5-2", Authorized.YES)
    assert lab.tree.root_hubs()["usb5"] == "0"
    assert lab.tree.bound("5-1") == NOTHING
    assert lab.tree.await_disk("5-2")
    assert [other.name for other in guard.report().others if "USB controller" in other.detail]

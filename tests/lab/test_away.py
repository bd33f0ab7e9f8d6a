"""What is attached while the guard is not there, stopped or killed: the kernel blocks, and a start finds it."""

from shared.devices.record import GuardEvent
from shared.devices.verdict import Cause
from shared.fleet.devices import Authorized, Seen
from tests.lab.conftest import Guarded
from tests.lab.media import Media
from tests.lab.tree import NOTHING


def test_what_was_attached_before_the_guard_ever_started_is_found_and_decided(
    installed: Guarded, sticks: Media
) -> None:
    lab, guard = installed.lab, installed.guard
    lab.usb.stick("stick", sticks.fat, serial="GOOD", port="1")
    lab.tree.await_device("3-1")
    guard.start()

    device = guard.await_decided("3-1", Authorized.NO)
    assert (device.seen, device.cause) == (Seen.WHILE_DOWN, Cause.NO_POLICY)
    assert guard.report().default_deny == "boot"
    assert lab.tree.bound("3-1") == NOTHING


def test_what_came_while_the_guard_was_stopped_differs_from_what_stayed_and_what_comes_now(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stays", sticks.fat, serial="GOOD", port="1")
    guard.await_decided("3-1", Authorized.YES)
    lab.usb.stick("goes", sticks.fat, serial="GOES", port="2")
    guard.await_decided("3-2", Authorized.NO)
    last = guard.report().records
    guard.stop()
    lab.usb.unplug("goes")
    lab.usb.stick("comes", sticks.fat, serial="COMES", port="3")
    lab.tree.await_device("3-3")
    assert lab.tree.bound("3-3") == NOTHING
    guard.start()

    assert guard.await_decided("3-1", Authorized.YES).seen is Seen.BEFORE
    assert guard.await_decided("3-3", Authorized.NO).seen is Seen.WHILE_DOWN
    guard.await_record(GuardEvent.DETACHED, "3-2", after=last)
    assert lab.tree.disks("3-1")
    lab.usb.stick("now", sticks.fat, serial="NOW", port="4")
    assert guard.await_decided("3-4", Authorized.NO).seen is Seen.NOW


def test_while_the_guard_is_dead_the_kernel_blocks_and_what_is_allowed_goes_on_working(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("allowed", sticks.fat, serial="GOOD", port="1")
    guard.await_decided("3-1", Authorized.YES)
    disk = lab.tree.await_disk("3-1")
    guard.kill()
    lab.usb.keyboard("keyboard", port="2")
    lab.tree.await_device("2-2")

    assert lab.tree.authorized("2-2") == "0"
    assert lab.tree.bound("2-2") == NOTHING
    lab.guest.run(f"mkdir -p /m; mount /dev/{disk} /m; ls /m; umount /m")
    guard.start()
    assert guard.await_decided("2-2", Authorized.NO).seen is Seen.WHILE_DOWN
    assert lab.tree.disks("3-1")


def test_systemd_starts_a_killed_guard_again_and_one_that_hangs(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    first = guard.main_pid()
    lab.guest.run(["kill", "-KILL", str(first)])
    lab.guest.await_gone(f"/proc/{first}")
    lab.guest.run("until systemctl is-active --quiet leadglass-guard; do sleep 0.2; done")

    second = guard.main_pid()
    assert second not in (0, first)
    lab.usb.stick("stick", sticks.fat, serial="GOOD", port="1")
    guard.await_decided("3-1", Authorized.YES)
    assert guard.property("WatchdogUSec") == "30s"

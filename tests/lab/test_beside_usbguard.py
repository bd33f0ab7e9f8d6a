"""The same devices plugged in the same order, the guard on one machine and Debian's USBGuard on another."""

from dataclasses import replace

from shared.fleet.devices import Authorized
from tests.lab.conftest import POLICY, Guarded
from tests.lab.guest import Guest
from tests.lab.lab import Lab
from tests.lab.media import Media
from tests.lab.test_badusb import BAD
from tests.lab.tree import Bound
from tests.lab.usbguard import UsbGuard

COMPOSITE = replace(BAD, serial="BAD")
HUB, BEHIND, GOOD, UNKNOWN = "2-1", "2-1.2", "3-2", "3-3"


def plug_all(lab: Lab, sticks: Media) -> None:
    lab.usb.hub("hub", port="1")
    lab.usb.stick("good", sticks.fat, serial="GOOD", port="2")
    lab.usb.stick("unknown", sticks.fat, serial="UNKNOWN", port="3")
    lab.usb.keyboard("keyboard", port="1.2", serial="KEYS")
    lab.gadgets.plug(COMPOSITE)


def became(lab: Lab) -> dict[str, tuple[str, Bound]]:
    """Return what sysfs says of every device that was plugged in, by its port."""
    return {port: (lab.tree.authorized(port), lab.tree.bound(port)) for port in lab.tree.ports()}


def used_kib(guest: Guest, pid: int) -> int:
    status = guest.read(f"/proc/{pid}/status")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def test_both_let_in_and_keep_out_the_same(guarded: Guarded, lab: Lab, sticks: Media) -> None:
    ours, guard = guarded.lab, guarded.guard
    plug_all(ours, sticks)
    guard.await_decided(GOOD, Authorized.YES)
    guard.await_decided(BEHIND, Authorized.NO)
    guard.await_decided(ours.tree.port_of("BAD"), Authorized.NO)
    guard.await_decided(UNKNOWN, Authorized.NO)
    ours.tree.await_disk(GOOD)

    peer = UsbGuard(lab, POLICY)
    peer.start()
    plug_all(lab, sticks)
    peer.await_decided("GOOD", "allow")
    for serial in ("UNKNOWN", "KEYS", "BAD"):
        peer.await_decided(serial, "block")
    lab.tree.await_disk(GOOD)

    assert became(ours) == became(lab)
    assert became(ours)[GOOD][1].drivers == ("usb-storage",)
    assert used_kib(ours.guest, guard.main_pid()) < 30 * 1024

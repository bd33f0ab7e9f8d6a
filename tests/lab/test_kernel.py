"""What the guard builds on, shown by the kernel itself without any guard."""

from tests.lab.gadgets import Gadget
from tests.lab.lab import Lab
from tests.lab.media import Media
from tests.lab.tree import NOTHING, USBCORE

STICK, KEYBOARD, ADDED, ADDED_LATER = "3-1", "2-2", "5-1", "7-1"
COMPOSITE = Gadget("composite", serial="BAD", storage=bytes(1 << 20), keyboard=True)


def test_with_default_deny_neither_stick_nor_keyboard_nor_composite_device_is_bound(lab: Lab, sticks: Media) -> None:
    lab.usb.stick("stick", sticks.fat, serial="S", port="1")
    lab.usb.keyboard("keyboard", port="2")
    lab.gadgets.plug(COMPOSITE)
    for port in (STICK, KEYBOARD):
        lab.tree.await_device(port)
    composite = lab.tree.port_of("BAD")
    lab.guest.run("udevadm settle")

    for port in (STICK, KEYBOARD, composite):
        assert lab.tree.authorized(port) == "0"
        assert lab.tree.bound(port) == NOTHING
        assert f"usb {port}: Device is not authorized for usage" in lab.guest.dmesg()
    assert not lab.guest.glob("/sys/block/sd*")
    assert not lab.guest.glob("/sys/class/input/event*/device/../../../*:*")
    assert not lab.gadgets.type("abc")


def test_control_with_default_allow_the_same_devices_are_bound_and_the_keyboard_types(lab: Lab, sticks: Media) -> None:
    lab.tree.set_defaults("1")
    lab.usb.stick("stick", sticks.fat, serial="S", port="1")
    lab.gadgets.plug(COMPOSITE)

    disk = lab.tree.await_disk(STICK)
    composite = lab.tree.port_of("BAD")
    assert lab.tree.await_disk(composite) != disk
    assert lab.tree.await_input(composite)
    assert lab.tree.bound(composite).drivers == ("usb-storage", "usbhid")
    assert lab.gadgets.type("abc")


def test_what_is_authorised_later_is_bound_then(lab: Lab, sticks: Media) -> None:
    lab.usb.stick("stick", sticks.fat, serial="S", port="1")
    lab.tree.await_device(STICK)
    assert (lab.tree.attribute(STICK, "idVendor"), lab.tree.attribute(STICK, "serial")) == ("46f4", "S")
    assert lab.tree.bound(STICK) == NOTHING

    lab.tree.authorize(STICK)

    assert lab.tree.await_disk(STICK)
    lab.tree.authorize(STICK, "0")
    assert lab.tree.bound(STICK) == NOTHING
    lab.guest.await_gone("/sys/block/sd*")


def test_a_controller_that_is_added_denies_by_the_kernel_s_default_and_not_by_the_other_hubs(
    lab: Lab, sticks: Media
) -> None:
    lab.usb.controller("added")
    lab.guest.await_there("/sys/bus/usb/devices/usb5/authorized_default")
    lab.usb.stick("stick", sticks.fat, serial="S", port="1", bus="added.0")
    lab.tree.await_device(ADDED)
    assert lab.tree.root_hubs()["usb5"] == "0"
    assert lab.tree.bound(ADDED) == NOTHING

    lab.guest.write(USBCORE, "-1")  # as it is without the kernel's parameter; the hubs that are there stay at 0
    lab.usb.controller("later")
    lab.guest.await_there("/sys/bus/usb/devices/usb7/authorized_default")
    lab.usb.stick("other", sticks.fat, serial="S", port="1", bus="later.0")

    assert lab.tree.await_disk(ADDED_LATER)
    assert set(lab.tree.root_hubs().items()) > {("usb3", "0"), ("usb5", "0"), ("usb6", "1"), ("usb7", "1")}


def test_one_interface_of_a_composite_device_can_be_bound_alone(lab: Lab) -> None:
    lab.gadgets.plug(COMPOSITE)
    port = lab.tree.port_of("BAD")
    hub = f"/sys/bus/usb/devices/usb{port.partition('-')[0]}"
    lab.guest.write(f"{hub}/interface_authorized_default", "0")

    lab.tree.authorize(port)
    lab.guest.await_there(f"/sys/bus/usb/devices/{port}:1.1/authorized")
    lab.guest.run("udevadm settle")  # the drivers are loaded for interfaces that are not authorised, too
    assert lab.tree.bound(port).interfaces == (f"{port}:1.0", f"{port}:1.1")
    assert lab.tree.bound(port).drivers == ()
    lab.guest.write(f"/sys/bus/usb/devices/{port}:1.1/authorized", "1")
    assert lab.tree.bound(port).drivers == ()  # authorising an interface alone does not bind it
    lab.guest.write("/sys/bus/usb/drivers_probe", f"{port}:1.1")

    assert lab.tree.bound(port).drivers == ("usbhid",)
    assert lab.tree.await_input(port)
    assert not lab.tree.disks(port)

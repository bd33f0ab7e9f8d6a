"""What may be the console, and that a person says which where there are several."""

from dataclasses import replace

import pytest

from edge_agent.console.choose import AskWhich, NoConsole, NotAConsole, Present, choose, pins, role
from edge_agent.console.pins import Role
from edge_agent.console.place import Place
from shared.devices.device import Interface, UsbDevice
from tests.fakes.usb_tree import CONTROLLER, HUB, KEYBOARD, POINTER, STORAGE

HID, SMART_CARD, NETWORK = (3, 0, 0), (0x0B, 0, 0), (2, 6, 0)


def present(port: str, *interfaces: tuple[int, int, int], problems: tuple[str, ...] = ()) -> Present:
    device = UsbDevice(
        port, "usb1", 0x046D, 0xC31C, "", "", "", "", tuple(Interface(*one) for one in interfaces), problems=problems
    )
    return Present(device, Place.parse(CONTROLLER, port.partition("-")[2]), "a" * 64)


@pytest.mark.parametrize(
    "interfaces, expected",
    [
        ([KEYBOARD], Role.KEYBOARD),
        ([KEYBOARD, HID], Role.KEYBOARD),
        ([POINTER], Role.POINTER),
        ([KEYBOARD, POINTER], Role.BOTH),
        ([HID], Role.INPUT),
        ([KEYBOARD, SMART_CARD], Role.KEYBOARD),
        ([SMART_CARD], None),
        ([KEYBOARD, STORAGE], None),
        ([KEYBOARD, NETWORK], None),
        ([HUB], None),
        ([STORAGE], None),
        ([], None),
    ],
)
def test_a_console_has_input_interfaces_and_none_that_could_do_more(
    interfaces: list[tuple[int, int, int]], expected: Role | None
) -> None:
    assert role(present("1-1", *interfaces).device) is expected


def test_one_keyboard_beside_one_pointer_needs_no_question() -> None:
    attached = [present("1-1", HUB), present("1-1.1", KEYBOARD), present("1-2", POINTER), present("1-3", STORAGE)]

    assert [one.device.port for one in choose(attached, [])] == ["1-1.1", "1-2"]


@pytest.mark.parametrize(
    "others", [[KEYBOARD, KEYBOARD], [POINTER, POINTER], [HID, KEYBOARD], [KEYBOARD, POINTER, HID]]
)
def test_several_that_could_be_meant_are_asked_about(others: list[tuple[int, int, int]]) -> None:
    attached = [present(f"1-{number}", interface) for number, interface in enumerate(others, 1)]

    with pytest.raises(AskWhich) as refused:
        choose(attached, [])
    assert refused.value.ports == tuple(one.device.port for one in attached)


def test_whoever_names_ports_gets_these_in_that_order_and_each_once() -> None:
    attached = [present("1-1", KEYBOARD), present("1-2", POINTER), present("1-3", KEYBOARD)]

    assert [one.device.port for one in choose(attached, ["1-3", "1-2", "1-3"])] == ["1-3", "1-2"]


def test_a_machine_without_a_usb_console_has_nothing_to_pin() -> None:
    with pytest.raises(NoConsole):
        choose([present("1-3", STORAGE), present("1-4", KEYBOARD, STORAGE)], [])


@pytest.mark.parametrize(
    "port, why",
    [
        ("1-9", "nothing is attached"),
        ("1-3", "08:06:50"),
        ("1-4", "not well formed"),
        ("1-1\n2", "nothing is attached"),
    ],
)
def test_what_is_no_console_cannot_be_named_to_be_one(port: str, why: str) -> None:
    attached = [present("1-3", KEYBOARD, STORAGE), present("1-4", KEYBOARD, problems=("not well formed",))]

    with pytest.raises(NotAConsole, match=why) as refused:
        choose(attached, [port])
    assert str(refused.value).isprintable()


def test_the_hubs_on_the_way_are_pinned_with_it() -> None:
    hub, keyboard = present("1-1", HUB), present("1-1.4", KEYBOARD)

    assert {(pin.port, pin.role) for pin in pins([keyboard], [hub, keyboard])} == {
        ("1-1", Role.HUB),
        ("1-1.4", Role.KEYBOARD),
    }


@pytest.mark.parametrize("interfaces", [[HUB, STORAGE], [KEYBOARD], []])
def test_a_hub_that_is_more_or_less_than_a_hub_is_not_pinned(interfaces: list[tuple[int, int, int]]) -> None:
    keyboard = present("1-1.4", KEYBOARD)

    with pytest.raises(NotAConsole, match=r"1-1\.4"):
        pins([keyboard], [present("1-1", *interfaces), keyboard])
    with pytest.raises(NotAConsole):
        pins([keyboard], [keyboard])


def test_a_hub_whose_descriptors_are_out_of_form_is_not_pinned() -> None:
    keyboard = present("1-1.4", KEYBOARD)
    hub = present("1-1", HUB)

    with pytest.raises(NotAConsole):
        pins([keyboard], [replace(hub, device=replace(hub.device, problems=("odd",))), keyboard])

"""What is stored of the console: one form only, hubs only where they are needed, and nothing trusted on reading."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.console.pinned import PinnedConsole, PinsUnreadable, load_pins
from edge_agent.console.pins import MAX_BYTES, Pin, Pins, Role
from edge_agent.console.place import Place
from edge_agent.console.sysfs import ConsoleSysfs
from shared.errors import Malformed
from tests.fakes.usb_tree import CONTROLLER, KEYBOARD, STORAGE, UsbTree

HUB_PIN = Pin(Role.HUB, Place(CONTROLLER, (2,)), 0x05E3, 0x0610, "a" * 64, "1-2", "USB2.0 Hub")
KEYBOARD_PIN = Pin(Role.KEYBOARD, Place(CONTROLLER, (2, 4)), 0x046D, 0xC31C, "b" * 64, "1-2.4", "Keyboard K120")
POINTER_PIN = Pin(Role.POINTER, Place(CONTROLLER, (2, 3)), 0x046D, 0xC077, "c" * 64, "1-2.3", "Mouse")
PINS = Pins().joined([KEYBOARD_PIN, POINTER_PIN, HUB_PIN])


def test_pins_that_were_printed_are_read_back() -> None:
    assert Pins.parse(PINS.encode()) == PINS
    assert Pins.parse(Pins().encode()) == Pins()


def test_what_is_pinned_at_a_place_takes_the_place_of_what_was_pinned_there() -> None:
    other = replace(KEYBOARD_PIN, product=0xC31D, descriptors="d" * 64)

    assert PINS.joined([other]).consoles == (POINTER_PIN, other)


def test_a_hub_stays_as_long_as_a_console_hangs_on_it() -> None:
    without_keyboard = PINS.without(KEYBOARD_PIN.place)

    assert without_keyboard.pins == (HUB_PIN, POINTER_PIN)
    assert without_keyboard.without(POINTER_PIN.place).pins == ()


def test_a_pin_is_found_by_all_that_it_pins() -> None:
    found = (KEYBOARD_PIN.place, 0x046D, 0xC31C, "b" * 64)
    assert PINS.find(*found) == KEYBOARD_PIN
    for index, other in enumerate((POINTER_PIN.place, 0x046E, 0xC31D, "c" * 64)):
        changed = (*found[:index], other, *found[index + 1 :])
        assert PINS.find(*changed) is None  # type: ignore[arg-type]


@given(st.data())
def test_pins_with_a_character_changed_are_refused_or_are_other_pins(data: st.DataObject) -> None:
    printed = PINS.encode()
    at = data.draw(st.integers(0, len(printed) - 2))
    changed = printed[:at] + data.draw(st.binary(min_size=1, max_size=1)) + printed[at + 1 :]
    try:
        read_back = Pins.parse(changed)
    except Malformed:
        return

    assert read_back.encode() == changed


@pytest.mark.parametrize(
    "pins",
    [
        [KEYBOARD_PIN.json(), KEYBOARD_PIN.json()],
        [HUB_PIN.json()],
        [KEYBOARD_PIN.json(), HUB_PIN.json()],
        [{**KEYBOARD_PIN.json(), "controller": '/devices/x", RUN+="/bin/sh'}],
        [{**KEYBOARD_PIN.json(), "ports": "0"}],
        [{**KEYBOARD_PIN.json(), "descriptors": "b" * 63 + '"'}],
        [{**KEYBOARD_PIN.json(), "vendor": "46d"}],
        [{**KEYBOARD_PIN.json(), "role": "storage"}],
        [{**KEYBOARD_PIN.json(), "more": 1}],
    ],
    ids=["twice", "hub to nowhere", "out of order", "controller", "ports", "digest", "vendor", "role", "more"],
)
def test_pins_of_another_form_are_refused(pins: list[object]) -> None:
    text = json.dumps({"v": 1, "pins": pins}, sort_keys=True, separators=(",", ":"))

    with pytest.raises(Malformed):
        Pins.parse(text.encode())


def test_more_than_there_can_be_is_refused_before_it_is_read() -> None:
    with pytest.raises(Malformed, match="larger"):
        Pins.parse(b" " * (MAX_BYTES + 1))


# ---- as the guard knows them


class Guarded:
    def __init__(self, folder: Path) -> None:
        self.state, self.tree = folder / "state", UsbTree(folder / "sys")
        self.state.mkdir()
        self.sysfs = ConsoleSysfs(self.tree.root)
        self.console = PinnedConsole(self.state, self.sysfs)

    def pin(self, port: str) -> Pin:
        pin = Pin(Role.KEYBOARD, self.sysfs.place(port), 0x046D, 0xC31C, self.sysfs.descriptors(port), port, "")
        (self.state / "pins.json").write_bytes(Pins((pin,)).encode())
        return pin


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def test_the_guard_knows_the_pinned_device_whatever_the_number_of_its_bus(guarded: Guarded) -> None:
    guarded.tree.attach("1-4")
    guarded.tree.attach("2-4")
    pin = guarded.pin("1-4")

    assert guarded.console.refresh()
    assert guarded.console.find("1-4", 0x046D, 0xC31C) == guarded.console.find("2-4", 0x046D, 0xC31C) == pin


def test_the_guard_takes_nothing_else_for_it(guarded: Guarded) -> None:
    guarded.tree.attach("1-4")
    guarded.pin("1-4")
    guarded.console.refresh()
    guarded.tree.attach("1-3")
    guarded.tree.attach("1-4", interfaces=[KEYBOARD, STORAGE])

    assert guarded.console.find("1-3", 0x046D, 0xC31C) is None
    assert guarded.console.find("1-4", 0x046D, 0xC31C) is None
    assert guarded.console.find("1-4", 0x046D, 0xC31D) is None
    assert guarded.console.find("1-9", 0x046D, 0xC31C) is None
    assert guarded.console.find("../../etc", 0x046D, 0xC31C) is None
    assert guarded.console.find("usb1", 0x1D6B, 2) is None


def test_a_new_list_is_read_without_a_restart_and_an_old_one_once(guarded: Guarded) -> None:
    guarded.tree.attach("1-4")
    assert not guarded.console.refresh()
    guarded.pin("1-4")
    assert guarded.console.refresh()
    assert not guarded.console.refresh()
    (guarded.state / "pins.json").unlink()

    assert guarded.console.refresh()
    assert guarded.console.pins == Pins()


def test_a_damaged_list_is_told_and_what_was_known_stays(guarded: Guarded) -> None:
    guarded.tree.attach("1-4")
    pin = guarded.pin("1-4")
    guarded.console.refresh()
    (guarded.state / "pins.json").write_text("{")

    with pytest.raises(PinsUnreadable):
        guarded.console.refresh()
    assert guarded.console.find("1-4", 0x046D, 0xC31C) == pin
    with pytest.raises(PinsUnreadable):
        load_pins(guarded.state)


def test_descriptors_that_are_cut_off_or_endless_pin_nothing(guarded: Guarded) -> None:
    guarded.tree.attach("1-4")
    guarded.pin("1-4")
    guarded.console.refresh()
    for raw in (b"\x12\x01", b"x" * 200_000):
        guarded.tree.attach("1-4", raw=raw)
        assert guarded.console.find("1-4", 0x046D, 0xC31C) is None

"""Pins and notices, as somebody may have left them in the guard's folders, and paths as a kernel might print them."""

from edge_agent.console.pins import Pin, Pins, Role
from edge_agent.console.place import Place
from edge_agent.console.rule import rules
from edge_agent.notices.notice import Notice, encode, parse
from edge_agent.notices.sentences import sentence
from tests.edge_agent.notices.told import TOLD
from tests.fuzz.target import Target

_CONTROLLER = "/devices/pci0000:00/0000:00:14.0"
_PINS = Pins().joined(
    [
        Pin(Role.HUB, Place(_CONTROLLER, (2,)), 0x05E3, 0x0610, "a" * 64, "1-2", "USB2.0 Hub"),
        Pin(Role.KEYBOARD, Place(_CONTROLLER, (2, 4)), 0x046D, 0xC31C, "b" * 64, "1-2.4", "Keyboard"),
    ]
)


def _pins(data: bytes) -> None:
    pins = Pins.parse(data)
    assert pins.encode().removesuffix(b"\n") == data.removesuffix(b"\n"), "two encodings of one list are read"
    lines = [line for line in rules(pins.pins).splitlines() if line[:1] not in ("#", "")]
    assert len(lines) == len(pins.pins) + 4, "a line of the rules is not ours"


def _place(data: bytes) -> None:
    place = Place.of(data.decode("utf-8", "replace"))
    assert Place.parse(place.controller, place.port_text) == place
    assert not set(place.pattern.replace("[0-9]*", "")) & set('*?[]|"$%\\ \n'), "udev would read a pattern in it"


def _notices(data: bytes) -> None:
    notices = parse(data)
    assert encode(notices) == data, "two encodings of one list are read"
    for notice in notices:
        for language in ("en", "zh"):
            said = sentence(notice.told, language)
            assert said.splitlines() == [said], "more than a line is told"


TARGETS = (
    Target("console-pins", _pins, (_PINS.encode(), Pins().encode())),
    Target(
        "console-place", _place, (f"{_CONTROLLER}/usb1/1-2/1-2.4".encode(), b"/devices/platform/vhci_hcd.0/usb3/3-1")
    ),
    Target("notices", _notices, (encode([Notice(1, TOLD), Notice(2, TOLD)]), encode([]))),
)

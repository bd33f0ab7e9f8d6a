import pytest

from edge_agent.devices import ports
from edge_agent.devices.ports import NotAPort

PLACES = ["usb1", "usb12", "1-1", "2-14", "1-2.3", "1-2.3.4.1.1.7"]
NO_PLACES = [
    "", ".", "..", "usb", "usb0", "usb01", "1", "1-", "1-0", "1-01", "1-2.", "1-2.0", "1-2..3", "1-2.3.4.1.1.1.1",
    "1-1/", "../1-1", "1-1/../../..", "1-1\n", "1-1\x00", " 1-1", "1-1:1.0", "\N{ARABIC-INDIC DIGIT ONE}-1", "-1",
    "1-1.-2", "usb1/../usb2", "10000-1",
]  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_takes_the_kernels_names(name: str) -> None:
    assert ports.is_port(name)


@pytest.mark.parametrize("name", NO_PLACES)
def test_takes_nothing_else_for_a_port(name: str) -> None:
    assert not ports.is_port(name)
    with pytest.raises(NotAPort):
        ports.parent_of(name)


def test_an_error_quotes_a_hostile_name_on_one_line() -> None:
    with pytest.raises(NotAPort) as raised:
        ports.parent_of("1-1\n\x1b[2J" + "x" * 10_000)

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 120


def test_knows_what_hangs_on_what() -> None:
    assert ports.parent_of("usb1") == ""
    assert ports.parent_of("12-3") == "usb12"
    assert ports.parent_of("1-2.3") == "1-2"
    assert ports.parent_of("1-2.3.4") == "1-2.3"


def test_knows_whose_an_interface_is() -> None:
    assert ports.device_of("1-2.3:1.0") == "1-2.3"
    assert ports.device_of("3-0:1.0") == "usb3"


@pytest.mark.parametrize("name", ["1-1", "usb1:1.0", "1-1:1", "1-1:1.0/..", "1-1:1.0\n", ":1.0", "0-0:1.0", "1-1:-1.0"])
def test_takes_nothing_else_for_an_interface(name: str) -> None:
    with pytest.raises(NotAPort):
        ports.device_of(name)


def test_a_hub_comes_before_what_hangs_on_it() -> None:
    assert sorted(["1-10", "1-2.1", "2-1", "usb2", "1-2", "usb1", "1-2.1.1"], key=ports.in_order) == [
        "usb1", "1-2", "1-2.1", "1-2.1.1", "1-10", "usb2", "2-1",
    ]  # fmt: skip


def test_finds_the_device_that_something_hangs_on() -> None:
    stick = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3"

    assert ports.port_in(stick) == "1-2.3"
    assert ports.port_in(f"{stick}/1-2.3:1.0/host5/target5:0:0/5:0:0:0/block/sda") == "1-2.3"
    assert ports.port_in("/sys/devices/pci0000:00/0000:00:05.0/usb1") == "usb1"
    assert ports.port_in("/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0") == ""


def test_a_network_interface_that_is_called_like_a_root_hub_is_none() -> None:
    adapter = "/sys/devices/pci0000:00/0000:00:14.0/usb3/3-1"

    assert ports.port_in(f"{adapter}/3-1:1.2/net/usb1") == "3-1"
    assert ports.port_in("/sys/devices/platform/gadget.0/net/usb1") == ""
    assert ports.port_in(f"{adapter}/3-1:1.2/net/3-1.1") == "3-1"
    assert ports.port_in(f"{adapter}/4-1") == "3-1"

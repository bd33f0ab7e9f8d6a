"""The console's rule, as Debian's udev evaluates it: it authorises exactly what was pinned, where it was pinned."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.console.files import apply
from edge_agent.console.pins import Pin, Pins, Role
from edge_agent.console.place import NoPlace, Place
from edge_agent.console.plan import plan
from edge_agent.console.rule import rules
from edge_agent.console.sysfs import ConsoleSysfs
from tests.fakes.udev import Udev
from tests.fakes.usb_tree import CONTROLLER, HUB, KEYBOARD, POINTER, STORAGE, UsbTree, descriptors


class Host:
    """A machine with a keyboard behind a hub, pinned, and then everything off the bus."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        tree = UsbTree(folder / "first")
        tree.attach("1-2", 0x05E3, 0x0610, [HUB])
        tree.attach("1-2.4")
        sysfs = ConsoleSysfs(tree.root)
        self.pins = Pins().joined(
            [
                Pin(Role.HUB, sysfs.place("1-2"), 0x05E3, 0x0610, sysfs.descriptors("1-2"), "1-2", ""),
                Pin(Role.KEYBOARD, sysfs.place("1-2.4"), 0x046D, 0xC31C, sysfs.descriptors("1-2.4"), "1-2.4", ""),
            ]
        )
        for wanted in plan(self.pins, has_initramfs_tools=False):
            apply(wanted, self.root)
        self.tree = UsbTree(folder / "sys")
        self.udev = Udev(self.root, self.tree.root)

    def authorized_after(self, port: str, action: str = "add") -> str:
        place = (self.tree.root / "bus/usb/devices" / port).resolve().relative_to(self.tree.root)
        self.udev.handle(f"/{place}", action)
        return self.tree.authorized(port)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_pinned_keyboard_and_the_hub_on_its_way_are_authorised(host: Host) -> None:
    host.tree.attach("1-2", 0x05E3, 0x0610, [HUB])
    host.tree.attach("1-2.4")

    assert host.authorized_after("1-2") == "1"
    assert host.authorized_after("1-2.4") == "1"


def test_it_is_found_again_when_the_controllers_come_up_in_another_order(host: Host) -> None:
    host.tree.attach("3-2", 0x05E3, 0x0610, [HUB])
    host.tree.attach("3-2.4")

    assert host.authorized_after("3-2.4") == "1"


def test_asking_for_change_events_authorises_it_too(host: Host) -> None:
    host.tree.attach("1-2.4")

    assert host.authorized_after("1-2.4", "change") == "1"


@pytest.mark.parametrize(
    "port, vendor, product, interfaces",
    [
        pytest.param("1-2.4", 0x046D, 0xC31C, [KEYBOARD, STORAGE], id="an interface set that grew"),
        pytest.param("1-2.4", 0x046D, 0xC31C, [KEYBOARD, KEYBOARD], id="an interface that is there twice"),
        pytest.param("1-2.4", 0x046D, 0xC31C, [POINTER], id="another interface"),
        pytest.param("1-2.4", 0x046D, 0xC31D, [KEYBOARD], id="another product in that port"),
        pytest.param("1-2.4", 0x0781, 0xC31C, [KEYBOARD], id="another vendor in that port"),
        pytest.param("1-2.3", 0x046D, 0xC31C, [KEYBOARD], id="another port of the hub"),
        pytest.param("1-4", 0x046D, 0xC31C, [KEYBOARD], id="a port of the root hub"),
        pytest.param("1-2.4.1", 0x046D, 0xC31C, [KEYBOARD], id="behind a hub in its port"),
        pytest.param("1-12.4", 0x046D, 0xC31C, [KEYBOARD], id="a port whose number ends alike"),
        pytest.param("1-1.2.4", 0x046D, 0xC31C, [KEYBOARD], id="a way that ends alike"),
        pytest.param("1-2", 0x046D, 0xC31C, [KEYBOARD], id="the keyboard where the hub was"),
        pytest.param("1-2", 0x05E3, 0x0610, [HUB, STORAGE], id="a hub that is more than a hub"),
    ],
)
def test_nothing_else_is_authorised(
    host: Host, port: str, vendor: int, product: int, interfaces: list[tuple[int, int, int]]
) -> None:
    host.tree.attach(port, vendor, product, interfaces)

    assert host.authorized_after(port) == "0"


def test_the_same_device_at_another_controller_is_not_authorised(host: Host) -> None:
    host.tree.attach("1-2.4", controller="/devices/pci0000:00/0000:00:1a.0")

    assert host.authorized_after("1-2.4") == "0"


def test_a_changed_byte_anywhere_in_the_descriptors_is_not_authorised(host: Host) -> None:
    raw = bytearray(descriptors(0x046D, 0xC31C, [KEYBOARD]))
    raw[12] ^= 1  # the release of the firmware
    host.tree.attach("1-2.4", raw=bytes(raw))

    assert host.authorized_after("1-2.4") == "0"


def test_descriptors_that_cannot_be_read_are_not_authorised(host: Host) -> None:
    (host.tree.attach("1-2.4") / "descriptors").unlink()

    assert host.authorized_after("1-2.4") == "0"


def test_without_the_check_program_nothing_is_authorised(host: Host) -> None:
    (host.root / "usr/lib/leadglass/console-check").unlink()
    host.tree.attach("1-2.4")

    assert host.authorized_after("1-2.4") == "0"


def test_a_check_that_accepts_everything_would_let_the_grown_interface_set_in(host: Host) -> None:
    """The negative control: it is the check that keeps it out."""
    (host.root / "usr/lib/leadglass/console-check").write_text("#!/bin/sh\nexit 0\n")
    host.tree.attach("1-2.4", interfaces=[KEYBOARD, STORAGE])

    assert host.authorized_after("1-2.4") == "1"


def test_udev_finds_nothing_amiss_in_the_rules(host: Host) -> None:
    host.tree.attach("1-2.4")

    said = host.udev.handle(f"{CONTROLLER}/usb1/1-2/1-2.4")
    assert not re.findall(r"60-leadglass-console\.rules:\d+.*(?:[Ii]nvalid|[Uu]nknown|[Ff]ailed|ignor).*", said)
    assert "60-leadglass-console.rules" in said


numbers = st.integers(1, 255)
places = st.builds(
    Place,
    st.sampled_from(
        [CONTROLLER, "/devices/platform/dummy_hcd.0", "/devices/platform/soc@0/fe9c0000.usb/xhci-hcd.1.auto"]
    ),
    st.lists(numbers, min_size=1, max_size=6).map(tuple),
)
pins = st.builds(
    Pin, st.sampled_from(Role), places, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF),
    st.binary(min_size=32, max_size=32).map(bytes.hex), st.just("1-1"), st.text(max_size=60),
)  # fmt: skip


@given(st.lists(pins, max_size=5))
def test_no_text_of_a_device_comes_into_the_rule(several: list[Pin]) -> None:
    allowed = re.compile(
        r'KERNEL=="\[0-9\]\*-[0-9.]+", DEVPATH=="[A-Za-z0-9:._,@+/*\[\]-]+", ATTR\{idVendor\}=="[0-9a-f]{4}", '
        r'ATTR\{idProduct\}=="[0-9a-f]{4}", PROGRAM=="/usr/lib/leadglass/console-check %S%p [0-9a-f]{64}", '
        r'ATTR\{authorized\}="1"'
    )
    lines = [line for line in rules(several).splitlines() if line.startswith("KERNEL")]

    assert len(lines) == len(several)
    assert all(allowed.fullmatch(line) for line in lines)


@given(st.lists(pins, max_size=5))
def test_only_rules_of_ours_and_comments_are_in_the_file(several: list[Pin]) -> None:
    starts = {
        line.split("=")[0].split("!")[0].split("{")[0] for line in rules(several).splitlines() if line[:1] not in "#"
    }

    assert starts - {""} <= {"KERNEL", "ACTION", "SUBSYSTEM", "ENV", "LABEL"}


@given(places, st.integers(1, 99))
def test_a_place_is_read_back_from_the_path_that_the_kernel_gives_it(place: Place, bus: int) -> None:
    way = "".join(f"/{bus}-{one.port_text}" for one in (*place.hubs, place))

    assert Place.of(f"{place.controller}/usb{bus}{way}") == place
    assert Place.parse(place.controller, place.port_text) == place


@pytest.mark.parametrize(
    "devpath",
    [
        "",
        f"{CONTROLLER}/usb1",
        f"{CONTROLLER}/usb1/1-2/1-2:1.0",
        f"{CONTROLLER}/usb1/1-2/1-3.4",
        f"{CONTROLLER}/usb1/2-2",
        f"{CONTROLLER}/usb1/1-2/",
        f"{CONTROLLER}/usb1/1-0",
        f"{CONTROLLER}/usb1/1-1.2.3.4.5.6.7",
        f"{CONTROLLER}/usb1/1-300",
        f"{CONTROLLER}/usb1/1-1\n",
        '/devices/a", RUN+="x/usb1/1-1',
        "/devices/a*/usb1/1-1",
        "/devices/a|b/usb1/1-1",
        "/devices/$env{X}/usb1/1-1",
        "/devices/../usb1/1-1",
        "/devices/" + "a" * 600 + "/usb1/1-1",
    ],
)
def test_what_is_no_place_of_a_device_is_refused(devpath: str) -> None:
    with pytest.raises(NoPlace):
        Place.of(devpath)

import os
from pathlib import Path

import pytest

from edge_agent.devices.attributes import DeviceGone, DeviceUnreadable, NotWritten
from edge_agent.devices.ports import NotAPort
from edge_agent.devices.sysfs import SysfsUsb
from shared.devices.device import ConnectType, Interface
from shared.fleet.devices import Authorized
from tests.edge_agent.devices import hostile
from tests.edge_agent.devices.laid_out import lay_out

HUBS = ["usb1", "1-2", "1-2.1", "1-2.1.1", "1-2.1.2", "1-2.2", "usb2", "2-1"]


@pytest.fixture
def usb(tmp_path: Path) -> SysfsUsb:
    return SysfsUsb(lay_out("hubs", tmp_path), tmp_path / "proc")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """The folder of a device that a test changes."""
    return tmp_path / "bus" / "usb" / "devices" / "1-2.1.2"


def read_stick(tmp_path: Path, **attributes: bytes) -> "tuple[str, str, tuple[str, ...]]":
    usb = SysfsUsb(lay_out("hubs", tmp_path))
    for name, value in attributes.items():
        (tmp_path / "bus" / "usb" / "devices" / "1-2.1.2" / name).write_bytes(value)
    device = usb.read("1-2.1.2")
    return device.name, device.serial, device.problems


# ---- reading


def test_lists_what_is_attached_a_hub_before_what_hangs_on_it(usb: SysfsUsb) -> None:
    assert usb.ports() == HUBS
    assert usb.root_hubs() == ["usb1", "usb2"]


def test_a_machine_without_usb_has_no_ports(tmp_path: Path) -> None:
    assert SysfsUsb(tmp_path).ports() == []
    assert SysfsUsb(tmp_path).usbcore_authorized_default() is None


def test_reads_a_device(usb: SysfsUsb) -> None:
    device = usb.read("1-2.1.2")

    assert (device.id, device.name, device.serial) == ("46f4:0001", "QEMU USB HARDDRIVE", "LG-0002")
    assert (device.port, device.parent) == ("1-2.1.2", "1-2.1")
    assert device.interfaces == (Interface(*hostile.STORAGE),)
    assert device.connect_type is ConnectType.UNKNOWN
    assert device.problems == ()
    assert device.parent_fingerprint == usb.read("1-2.1").fingerprint


def test_a_root_hub_hangs_on_its_controller(usb: SysfsUsb) -> None:
    hub = usb.read("usb1")

    assert hub.is_root_hub
    assert hub.connect_type is ConnectType.NONE
    assert hub.parent_fingerprint == usb.read("usb2").parent_fingerprint


def test_the_same_stick_in_a_faster_port_is_one_device(tmp_path: Path) -> None:
    fast = SysfsUsb(lay_out("hubs", tmp_path / "hubs")).read("2-1")
    slow = SysfsUsb(lay_out("moved", tmp_path / "moved")).read("1-2.3")

    assert fast.identity == slow.identity
    assert fast.fingerprint != slow.fingerprint


def test_a_blocked_device_is_read_as_any_other_and_has_no_interface_to_bind(tmp_path: Path) -> None:
    usb = SysfsUsb(lay_out("blocked", tmp_path))

    assert usb.authorized("1-3") is Authorized.NO
    assert usb.read("1-3").interfaces == (Interface(*hostile.KEYBOARD),)
    assert usb.interfaces("1-3") == ()
    assert usb.authorized_default("usb1") == 0


def test_lists_the_interfaces_of_a_composite_device_with_their_drivers(tmp_path: Path) -> None:
    usb = SysfsUsb(lay_out("composite", tmp_path))

    found = usb.interfaces("3-1")
    assert [(each.name, str(each.interface), each.driver) for each in found] == [
        ("3-1:1.0", "08:06:50", "usb-storage"),
        ("3-1:1.1", "03:01:01", "usbhid"),
        ("3-1:1.2", "02:06:00", "cdc_ether"),
        ("3-1:1.3", "0a:00:00", "cdc_ether"),
    ]
    assert {each.authorized for each in found} == {Authorized.YES}


def test_a_root_hubs_interface_is_found_under_its_own_name(usb: SysfsUsb) -> None:
    assert [each.name for each in usb.interfaces("usb1")] == ["1-0:1.0"]


def test_each_attachment_is_another_instance(usb: SysfsUsb) -> None:
    assert usb.instance("1-2.1.2") == usb.instance("1-2.1.2")
    assert len({usb.instance(port) for port in HUBS}) == len(HUBS)


def test_reads_what_the_kernel_was_started_with_and_which_start_this_is(usb: SysfsUsb, tmp_path: Path) -> None:
    (tmp_path / "proc" / "sys" / "kernel" / "random").mkdir(parents=True)
    (tmp_path / "proc" / "cmdline").write_text("quiet usbcore.authorized_default=0\n")
    (tmp_path / "proc" / "sys" / "kernel" / "random" / "boot_id").write_text("6f5d-4c\n")

    assert usb.command_line() == "quiet usbcore.authorized_default=0"
    assert usb.boot() == "6f5d-4c"


# ---- what a device says that means harm


def test_a_name_that_would_clear_the_screen_is_one_printable_line(tmp_path: Path) -> None:
    device = SysfsUsb(lay_out("composite", tmp_path)).read("3-1")

    assert device.serial == "S��[2Jx"
    assert device.name == 'Kbd "quoted" \\ �gnp.中文'
    assert device.name.isprintable()
    assert device.serial.isprintable()


def test_text_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    assert read_stick(tmp_path, product=b"caf\xe9\xff\n")[0] == "caf��"


def test_only_the_kernels_newline_is_taken_off(tmp_path: Path) -> None:
    assert read_stick(tmp_path, serial=b" A\n\n")[1] == " A�"


def test_a_missing_serial_and_name_are_empty(usb: SysfsUsb, stick: Path) -> None:
    (stick / "serial").unlink()
    (stick / "product").unlink()

    assert (usb.read("1-2.1.2").serial, usb.read("1-2.1.2").name) == ("", "")


def test_a_huge_serial_is_cut_and_a_problem(tmp_path: Path) -> None:
    _, serial, problems = read_stick(tmp_path, serial=b"A" * 1_000_000)

    assert len(serial) == 126
    assert problems == ("a serial longer than a string descriptor can hold",)


def test_ids_that_are_not_those_of_the_descriptors_are_a_problem(tmp_path: Path) -> None:
    assert read_stick(tmp_path, idVendor=b"0781\n")[2] == ("vendor and product are not those of its descriptors",)


def test_descriptors_that_are_not_well_formed_are_a_problem(tmp_path: Path) -> None:
    assert read_stick(tmp_path, descriptors=b"")[2] == ("no device descriptor at the beginning",)


@pytest.mark.parametrize("vendor", [b"", b"078\n", b"07811\n", b"0x78\n", b"+781\n", b"07 8", b"\xd9\xa1\xd9\xa1"])
def test_a_device_whose_ids_are_none_cannot_be_read(tmp_path: Path, vendor: bytes) -> None:
    with pytest.raises(DeviceUnreadable):
        read_stick(tmp_path, idVendor=vendor)


@pytest.mark.parametrize("attribute", ["descriptors", "idVendor", "product"])
def test_an_attribute_that_is_no_file_is_not_waited_for(usb: SysfsUsb, stick: Path, attribute: str) -> None:
    (stick / attribute).unlink()
    os.mkfifo(stick / attribute)

    with pytest.raises(DeviceUnreadable):
        usb.read("1-2.1.2")


def test_an_attribute_that_points_elsewhere_is_not_followed(usb: SysfsUsb, stick: Path) -> None:
    (stick / "serial").unlink()
    (stick / "serial").symlink_to("/proc/cmdline")

    with pytest.raises(DeviceUnreadable):
        usb.read("1-2.1.2")


def test_an_interface_that_is_not_one_is_left_out(usb: SysfsUsb, tmp_path: Path, stick: Path) -> None:
    (stick / "1-2.1.2:1.0" / "bInterfaceClass").write_bytes(b"8\n")
    (stick / "1-2.1.2:9.9").mkdir()

    assert usb.interfaces("1-2.1.2") == ()


@pytest.mark.parametrize("port", ["..", "../../module", "1-1/../1-2", "1-2\x00", "", "usb1/", "1-0:1.0"])
def test_no_port_leads_out_of_its_folder(usb: SysfsUsb, port: str) -> None:
    for act in (usb.read, usb.authorized, usb.remove, usb.interfaces, usb.authorized_default, usb.instance):
        with pytest.raises(NotAPort):
            act(port)
    with pytest.raises(NotAPort):
        usb.authorize(port, True)
    with pytest.raises(NotAPort):
        usb.authorize_interface(f"{port}:1.0", True)
    with pytest.raises(NotAPort):
        usb.probe_interface(f"{port}:1.0")


# ---- writing


def test_authorises_and_says_what_the_kernel_has(usb: SysfsUsb, stick: Path) -> None:
    usb.authorize("1-2.1.2", False)
    assert usb.authorized("1-2.1.2") is Authorized.NO
    assert (stick / "authorized").read_bytes() == b"0\n"

    usb.authorize("1-2.1.2", True)
    assert usb.authorized("1-2.1.2") is Authorized.YES


def test_what_is_neither_yes_nor_no_is_unknown(usb: SysfsUsb, stick: Path) -> None:
    (stick / "authorized").write_bytes(b"2\n")

    assert usb.authorized("1-2.1.2") is Authorized.UNKNOWN


def test_authorises_one_interface_and_has_it_probed(usb: SysfsUsb, tmp_path: Path) -> None:
    usb.authorize_interface("1-2.1.2:1.0", False)
    assert [each.authorized for each in usb.interfaces("1-2.1.2")] == [Authorized.NO]

    usb.authorize_interface("1-2.1.2:1.0", True)
    usb.probe_interface("1-2.1.2:1.0")
    assert [each.authorized for each in usb.interfaces("1-2.1.2")] == [Authorized.YES]
    assert (tmp_path / "bus" / "usb" / "drivers_probe").read_bytes() == b"1-2.1.2:1.0"


def test_sets_what_becomes_of_devices_that_come_later(usb: SysfsUsb, tmp_path: Path) -> None:
    parameters = tmp_path / "module" / "usbcore" / "parameters"
    parameters.mkdir(parents=True)
    (parameters / "authorized_default").write_bytes(b"1\n")

    usb.set_usbcore_authorized_default(0)
    usb.set_authorized_default("usb1", 0)
    usb.set_interface_authorized_default("usb1", 0)

    assert usb.usbcore_authorized_default() == 0
    assert usb.authorized_default("usb1") == 0
    assert usb.interface_authorized_default("usb1") == 0
    assert usb.authorized_default("usb2") == 1


def test_nothing_is_made_where_an_attribute_is_missing(usb: SysfsUsb, stick: Path) -> None:
    (stick / "authorized").unlink()

    with pytest.raises(DeviceGone):
        usb.authorize("1-2.1.2", True)
    with pytest.raises(DeviceGone):
        usb.remove("1-2.1.2")
    assert not (stick / "authorized").exists()
    assert not (stick / "remove").exists()


def test_a_verdict_is_not_written_where_a_link_leads(usb: SysfsUsb, stick: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (stick / "authorized").unlink()
    (stick / "authorized").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(NotWritten):
        usb.authorize("1-2.1.2", False)
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


def test_what_the_kernel_does_not_take_is_an_error(usb: SysfsUsb, stick: Path) -> None:
    (stick / "authorized").unlink()
    (stick / "authorized").mkdir()

    with pytest.raises(NotWritten, match=r"authorized of 1-2\.1\.2 could not be written: Is a directory"):
        usb.authorize("1-2.1.2", False)


def test_removing_a_device_writes_to_remove(usb: SysfsUsb, stick: Path) -> None:
    (stick / "remove").write_bytes(b"")

    usb.remove("1-2.1.2")

    assert (stick / "remove").read_bytes() == b"1"


def test_what_is_held_is_asked_of_the_attachment_that_was_there_first(usb: SysfsUsb, stick: Path) -> None:
    port, elsewhere = "1-2.1.2", stick.with_name("taken out")
    with usb.held(port) as instance:
        stick.rename(elsewhere)
        stick.mkdir()
        (stick / "authorized").write_text("0\n")
        (stick / "devnum").write_text("99\n")
        usb.authorize(port, True, instance)
        assert (stick / "authorized").read_text() == "0\n"
        assert (elsewhere / "authorized").read_text().startswith("1")
    with pytest.raises(DeviceGone):
        usb.authorize(port, True, instance)

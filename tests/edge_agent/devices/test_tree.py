from pathlib import Path

import pytest

from edge_agent.devices.events import Kind
from edge_agent.devices.tree import MAX_DETAIL_CHARS, MAX_OF_A_KIND, Present, SysfsTree
from tests.edge_agent.devices.laid_out import lay_out


def of(kind: Kind, root: Path) -> list[Present]:
    return [each for each in SysfsTree(root).present() if each.kind is kind]


def put(folder: Path, **attributes: str) -> Path:
    folder.mkdir(parents=True)
    for name, value in attributes.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_names_the_disks_and_the_usb_device_that_each_hangs_on(tmp_path: Path) -> None:
    disks = {each.name: each for each in of(Kind.BLOCK, lay_out("hubs", tmp_path))}

    assert set(disks) == {"sda", "sdb", "vda"}
    assert {disks["sda"].port, disks["sdb"].port} == {"2-1", "1-2.1.2"}
    assert disks["vda"].port == ""
    assert "model QEMU HARDDISK" in disks["sda"].detail
    assert "driver sd" in disks["sda"].detail


def test_finds_the_disks_of_one_device(tmp_path: Path) -> None:
    tree = SysfsTree(lay_out("hubs", tmp_path))

    assert {*tree.disks_of("2-1"), *tree.disks_of("1-2.1.2")} == {"sda", "sdb"}
    assert tree.disks_of("1-2") == ()
    assert tree.disks_of("") == ("vda",)


def test_names_what_can_be_typed_with_and_where_it_hangs(tmp_path: Path) -> None:
    inputs = of(Kind.INPUT, lay_out("hubs", tmp_path))

    assert {each.port for each in inputs} >= {"1-2.1.1", "1-2.2", ""}
    assert any("name QEMU QEMU USB Keyboard" in each.detail for each in inputs)


def test_names_network_interfaces_that_are_devices(tmp_path: Path) -> None:
    nets = {each.name: each for each in of(Kind.NET, lay_out("composite", tmp_path))}

    assert "lo" not in nets
    # An adapter on the USB is called usb1, as a root hub may be.
    assert nets["usb1"].port == "3-1"
    assert "driver virtio_net" in nets["eth0"].detail


def test_names_usb_controllers_among_pci_devices_and_leaves_out_bridges(tmp_path: Path) -> None:
    found = of(Kind.PCI, lay_out("hubs", tmp_path))

    assert [each.name for each in found if each.detail.startswith("USB controller 0c03")] == ["0000:00:05.0"]
    assert not any("class 06" in each.detail for each in found)


def test_names_what_a_program_types_with(tmp_path: Path) -> None:
    put(tmp_path / "class" / "input" / "input9", name="ydotoold virtual device", phys="")

    assert of(Kind.INPUT, tmp_path) == [Present(Kind.INPUT, "input9", "name ydotoold virtual device, driver none")]


def test_names_cards_drives_and_thunderbolt(tmp_path: Path) -> None:
    put(tmp_path / "bus" / "mmc" / "devices" / "mmc0:aaaa", type="SD", name="SC16G")
    drive = put(tmp_path / "class" / "block" / "sr0", size="0", ro="0")
    put(drive.parent.parent / "drive", vendor="HL-DT-ST", model="DVDRAM")
    (drive / "device").symlink_to("../../drive")
    put(
        tmp_path / "bus" / "thunderbolt" / "devices" / "0-1", vendor_name="X\x1b[2J", device_name="Dock", authorized="0"
    )

    assert SysfsTree(tmp_path).present() == (
        Present(Kind.OPTICAL, "sr0", "vendor HL-DT-ST, model DVDRAM, sectors 0, read-only 0"),
        Present(Kind.SD, "mmc0:aaaa", "type SD, name SC16G"),
        Present(Kind.THUNDERBOLT, "0-1", "vendor X�[2J, name Dock, authorized 0"),
    )


def test_a_machine_without_any_of_it_has_nothing(tmp_path: Path) -> None:
    assert SysfsTree(tmp_path).present() == ()


@pytest.mark.parametrize("name", ["long_name", "composite"])
def test_what_a_device_says_is_one_line_of_bounded_length(name: str, tmp_path: Path) -> None:
    root = lay_out(name, tmp_path)
    put(root / "class" / "input" / "input77", name="x" * 4000 + "\nforged")

    for each in SysfsTree(root).present():
        assert each.detail.isprintable()
        assert len(each.detail) <= MAX_DETAIL_CHARS


def test_more_of_a_kind_than_any_machine_has_are_counted_and_not_listed(tmp_path: Path) -> None:
    for number in range(MAX_OF_A_KIND + 20):
        put(tmp_path / "class" / "input" / f"input{number}", name="x")
    tree = SysfsTree(tmp_path)

    assert (len(tree.present()), tree.left_out) == (MAX_OF_A_KIND, 20)
    assert (len(tree.present()), tree.left_out) == (MAX_OF_A_KIND, 20)


def test_what_is_no_device_takes_no_place_of_one_that_is(tmp_path: Path) -> None:
    for number in range(MAX_OF_A_KIND + 20):
        put(tmp_path / "class" / "net" / f"br{number}", address="02:00:00:00:00:01")
    put(tmp_path / "class" / "net" / "eth0", address="02:00:00:00:00:02")
    (tmp_path / "class" / "net" / "eth0" / "device").symlink_to("../../../devices/card")
    tree = SysfsTree(tmp_path)

    assert ([each.name for each in tree.present()], tree.left_out) == (["eth0"], 0)


def test_what_is_put_back_is_another_one_by_the_kernels_own_number(tmp_path: Path) -> None:
    put(tmp_path / "class" / "input" / "input1", name="x")
    (first,) = SysfsTree(tmp_path).present()
    (same,) = SysfsTree(tmp_path).present()
    (tmp_path / "class" / "input" / "input1").rename(tmp_path / "away")
    put(tmp_path / "class" / "input" / "input1", name="x")
    (second,) = SysfsTree(tmp_path).present()

    assert first.instance == same.instance != second.instance


def test_what_goes_away_meanwhile_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "class" / "input" / "input1", name="stays")
    (tmp_path / "class" / "input" / "input2").symlink_to("../../gone")

    assert [each.name for each in of(Kind.INPUT, tmp_path)] == ["input1"]

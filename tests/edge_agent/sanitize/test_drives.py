"""Which drives there are, what each calls itself and by whose word, and that another one in its place is found."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.answer import Answer
from edge_agent.media.head import Found, Head, Kind
from edge_agent.media.survey import Survey, Volume
from edge_agent.sanitize import bridged
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import DriveGone, DriveSwapped, find_again, find_drives
from edge_agent.sanitize.identify import Name, Said, medium
from edge_agent.sanitize.partition_types import counted
from edge_agent.sanitize.programs import Ran
from shared.fields import Fields
from shared.sanitization.medium import Medium, MediumKind, PartitionCount, SerialSource
from tests.edge_agent.sanitize.drive_trees import (
    AHCI,
    EMMC,
    ISCSI,
    NVME,
    SAS,
    USB,
    USB_DEVICE,
    Tree,
    not_looked_at,
    vpd80,
    vpd83,
    vpd89,
)  # fmt: skip
from tests.edge_agent.sanitize.loops import loop_on

MIB = 1 << 20
BEHIND = Name(
    "", "WDC WD10SPZX-22Z10T1", "01.01A01", "WD-WX11A23B4567", SerialSource.ATA_IDENTIFY, "naa.50014ee2b8c0ffee"
)


def nobody(node: Path) -> None:
    return None


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def found(tree: Tree) -> list[Drive]:
    return find_drives(tree.host, not_looked_at, nobody)


def only(tree: Tree) -> Drive:
    [drive] = found(tree)
    return drive


def test_an_ata_disk_says_its_serial_by_identify(tree: Tree) -> None:
    page = vpd89("ZC1A2B3C", "ST4000NM0035-1V4107", "TN03", "5000c500a1b2c3d4")
    tree.disk("sda", "8:0", AHCI, vendor="ATA     ", model="ST4000NM0035-1V4", vpd_pg80=vpd80(b"cut"), vpd_pg89=page)
    drive = only(tree)

    assert (drive.node, drive.number, drive.sequence) == (tree.host.dev / "sda", "8:0", "0")
    assert drive.medium == Medium(
        MediumKind.ATA_DISK, "", "ST4000NM0035-1V4107", "TN03", "ZC1A2B3C", SerialSource.ATA_IDENTIFY,
        "naa.5000c500a1b2c3d4", 1 << 30, 512, 4096, rotational=True, partitions=(PartitionCount("not read", 1),),
    )  # fmt: skip


def test_an_older_kernel_has_what_identify_said_in_page_80(tree: Tree) -> None:
    tree.disk(
        "sda", "8:0", AHCI, vendor="ATA     ", model="ST4000NM0035-1V4", rev="TN03", vpd_pg80=vpd80(b"    ZC1A2B3C"),
        vpd_pg83=vpd83("5000c500a1b2c3d4", of_port="5000c500a1b2c3d1"),
    )  # fmt: skip
    medium = only(tree).medium

    assert (medium.serial, medium.serial_source) == ("ZC1A2B3C", SerialSource.ATA_IDENTIFY)
    assert medium.wwn == "naa.5000c500a1b2c3d4"  # of the drive, not of the port that it was asked over


def test_sas_nvme_and_emmc_each_by_their_own_answer(tree: Tree) -> None:
    tree.disk(
        "sdb", "8:16", SAS, vendor="SEAGATE ", model="ST2000NM0045", rev="N004", vpd_pg80=vpd80(b"ZC22AB12"),
        wwid="naa.5000c500aabbccdd",
    )  # fmt: skip
    tree.disk(
        "nvme0n1", "259:0", NVME, serial="S5GXNX0T123456   ", model="Samsung SSD 980 PRO 1TB", firmware_rev="5B2QGXA7"
    )
    tree.says(f"sys/{NVME}/nvme0n1/wwid", "eui.002538b3114123ab\n")
    tree.disk(
        "mmcblk0", "179:0", EMMC, cid="150100424a544434520744d9b7c8a100\n", name="BJTD4R", fwrev="0x0700000000000000"
    )
    tree.disk("mmcblk0boot0", "179:8", EMMC)
    nvme, mmc, sas = sorted((drive.medium for drive in found(tree)), key=lambda each: each.kind != MediumKind.NVME)

    assert (nvme.kind, nvme.serial, nvme.serial_source) == (
        MediumKind.NVME,
        "S5GXNX0T123456",
        SerialSource.NVME_IDENTIFY,
    )
    assert (nvme.model, nvme.firmware, nvme.wwn) == ("Samsung SSD 980 PRO 1TB", "5B2QGXA7", "eui.002538b3114123ab")
    assert (mmc.kind, mmc.serial, mmc.serial_source) == (
        MediumKind.MMC, "150100424a544434520744d9b7c8a100", SerialSource.MMC_CID,
    )  # fmt: skip
    assert (sas.kind, sas.vendor, sas.serial, sas.serial_source, sas.wwn) == (
        MediumKind.SCSI_DISK, "SEAGATE", "ZC22AB12", SerialSource.SCSI_VPD, "naa.5000c500aabbccdd",
    )  # fmt: skip


def usb(tree: Tree) -> None:
    tree.disk("sdc", "8:32", USB, vendor="WD", model="My Passport", vpd_pg80=vpd80(b"MADE-UP"))
    for name, value in (
        ("serial", "575831314131"),
        ("manufacturer", "Western Digital"),
        ("product", "My Passport 2626"),
    ):
        tree.says(f"sys/{USB_DEVICE}/{name}", f"{value}\n")


@pytest.mark.parametrize(
    "driver, channel, level, kind",
    [
        ("megaraid_sas", 2, "", MediumKind.VIRTUAL),
        ("megaraid_sas", 0, "", MediumKind.SCSI_SSD),  # a disk that the controller hands on as it is
        ("mpt3sas", 1, "", MediumKind.VIRTUAL),
        ("mpt3sas", 0, "", MediumKind.SCSI_SSD),
        ("smartpqi", 1, "RAID-5\n", MediumKind.VIRTUAL),
        ("smartpqi", 0, "N/A\n", MediumKind.SCSI_SSD),
    ],
)
def test_what_a_raid_controller_made_of_other_disks_is_no_disk(
    tree: Tree, driver: str, channel: int, level: str, kind: MediumKind
) -> None:
    host = "devices/pci0000:00/0000:02:00.0/host4"
    place = f"{host}/target4:{channel}:0/4:{channel}:0:0"
    if level:
        tree.says(f"sys/{place}/raid_level", level)
    tree.says(f"sys/{host}/scsi_host/host4/proc_name", f"{driver}\n")
    tree.disk("sda", "8:0", place, vendor="DELL    ", model="PERC H730 Mini", vpd_pg80=vpd80(b"00a1b2c3"))
    medium = only(tree).medium

    assert (medium.kind, medium.serial, medium.serial_source) == (kind, "00a1b2c3", SerialSource.SCSI_VPD)


def test_behind_a_usb_bridge_the_serial_is_the_bridge_s_unless_the_drive_answers(tree: Tree) -> None:
    usb(tree)
    bridge = only(tree).medium
    [drive] = find_drives(tree.host, not_looked_at, lambda node: BEHIND)

    assert (bridge.kind, bridge.serial, bridge.serial_source) == (
        MediumKind.USB, "575831314131", SerialSource.USB_DESCRIPTOR,
    )  # fmt: skip
    assert (drive.medium.kind, drive.medium.serial, drive.medium.serial_source) == (
        MediumKind.USB, BEHIND.serial, SerialSource.ATA_IDENTIFY,
    )  # fmt: skip
    with pytest.raises(DriveSwapped, match="serial number was WD-WX11A23B4567"):
        find_again(drive, tree.host, None, nobody)
    # One that a bridge only says is not the one that the drive itself said.
    with pytest.raises(DriveSwapped, match="source of the serial number"):
        find_again(drive, tree.host, None, lambda node: replace(BEHIND, source=SerialSource.NVME_IDENTIFY))


def test_what_is_no_drive_is_not_found(tree: Tree) -> None:
    for minor, name in enumerate(("ram0", "zram0", "sr0", "dm-0", "md127", "md_home", "zd0", "nbd0", "loop7")):
        tree.disk(name, f"1:{minor}", "", 0 if name in {"nbd0", "loop7"} else MIB)
    tree.disk("nvme0c0n1", "259:9", NVME, own={"hidden": "1"})

    assert found(tree) == []


def test_a_drive_without_a_serial_says_so_and_virtio_has_the_kernel_s_word(tree: Tree) -> None:
    tree.disk("vdb", "254:16", "devices/pci0000:00/0000:00:05.0/virtio2", vendor="0x1af4", own={"serial": "DISK-7"})
    tree.disk("sdd", "8:48", ISCSI, vendor="LIO-ORG", model="bare")
    bare, virtio = (drive.medium for drive in found(tree))

    assert (virtio.kind, virtio.serial, virtio.serial_source) == (MediumKind.VIRTUAL, "DISK-7", SerialSource.KERNEL)
    assert (bare.serial, bare.serial_source, bare.wwn) == ("", SerialSource.NONE, "")


@pytest.mark.parametrize(
    "file, value, what",
    [
        ("device/vpd_pg80", vpd80(b"OTHER"), "serial number"),
        ("size", b"4096\n", "size"),
        ("device/wwid", b"naa.5000c500aabbccde", "worldwide name"),
        ("device/model", b"ST2000NM0046", "model"),
        ("diskseq", b"99\n", "number in the kernel"),
        ("queue/rotational", b"0\n", "kind"),
    ],
)
def test_finds_a_drive_that_was_swapped(tree: Tree, file: str, value: bytes, what: str) -> None:
    folder = tree.disk(
        "sdb", "8:16", SAS, vendor="SEAGATE ", model="ST2000NM0045", vpd_pg80=vpd80(b"ZC22AB12"),
        wwid="naa.5000c500aabbccdd",
    )  # fmt: skip
    drive = only(tree)
    assert find_again(drive, tree.host).medium.serial == "ZC22AB12"  # control: the same one is let through

    (folder / file).write_bytes(value)
    with pytest.raises(DriveSwapped, match=what):
        find_again(drive, tree.host)


def test_a_drive_that_was_taken_out_is_gone(tree: Tree) -> None:
    tree.disk("sdb", "8:16", SAS, vpd_pg80=vpd80(b"ZC22AB12"))
    drive = only(tree)
    (tree.host.sys / "dev/block/8:16").unlink()

    with pytest.raises(DriveGone):
        find_again(drive, tree.host)


def test_a_real_loop_device_is_told_by_its_file_and_its_partitions_are_counted(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(24 * MIB)
    script = "label: gpt\nstart=2048, size=16384, name=PATIENT\nstart=18432, size=16384\n"
    subprocess.run(["/sbin/sfdisk", "--quiet", str(image)], input=script.encode(), check=True, capture_output=True)
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-t", "ext4", "-L", "MUELLER", "-E", "offset=1048576", str(image), "8M"], check=True
    )
    other = tmp_path / "other"
    other.write_bytes(bytes(24 * MIB))
    with loop_on(image) as node, loop_on(other) as elsewhere:
        here = {each.node: each for each in find_drives()}
        drive = here[node]
        again = find_again(drive)
        with pytest.raises(DriveSwapped, match="serial number"):
            find_again(replace(drive, number=here[elsewhere].number))
    assert drive.medium.serial == again.medium.serial
    assert drive.medium.serial.startswith("loop-")
    assert drive.medium.partitions == (PartitionCount("empty", 1), PartitionCount("ext", 1))
    assert not {"MUELLER", "PATIENT", "image"} & set(str(drive.medium.json()).replace("'", " ").split())


# ---- what lies on it, by count


def test_labels_and_offsets_stay_out_of_the_counts() -> None:
    luks = Head((Found(Kind.LUKS2, 0, "MUELLER, ANNA"),))
    table = Head((Found(Kind.GPT, 512, "2 partitions"),))
    volumes = (Volume(1, MIB, MIB, luks), Volume(2, 2 * MIB, MIB, luks))

    assert counted(Answer("8:0", (), Survey(8 * MIB, table, volumes))) == (PartitionCount("LUKS2", 2),)
    assert counted(Answer("8:0", (), Survey(8 * MIB, luks))) == (PartitionCount("whole disk: LUKS2", 1),)
    assert counted(Answer("8:0", (("8:0", False), ("8:1", False), ("8:2", False)), None, "why")) == (
        PartitionCount("not read", 2),
    )


# ---- all of it is the drive's word


@given(
    st.sampled_from(["sda", "nvme0n1", "mmcblk0", "vda", "loop3"]),
    st.sampled_from([AHCI, SAS, USB, NVME]),
    st.dictionaries(
        st.sampled_from(
            ["device/vpd_pg80", "device/vpd_pg83", "device/vpd_pg89", "device/serial", "usb/serial", "wwid"]
        ),
        st.binary(max_size=600),
    ),
)
def test_whatever_a_drive_says_of_itself_fits_a_report(name: str, place: str, said: dict[str, bytes]) -> None:
    found = medium(Said(name, f"/sys/{place}/block/{name}", MIB, 512, 512, rotational=False, attributes=said), ())

    assert Medium.parse(Fields(found.json(), "medium")) == found
    assert (found.serial_source is SerialSource.NONE) == (found.serial == "")


# ---- behind a bridge; written by hand, as smartctl 7.3 prints it

_SAT = b"""{"json_format_version":[1,0],"smartctl":{"version":[7,3],"exit_status":0},
"device":{"name":"/dev/sdc","info_name":"/dev/sdc [SAT]","type":"sat","protocol":"ATA"},
"model_name":"WDC WD10SPZX-22Z10T1","serial_number":"WD-WX11A23B4567","firmware_version":"01.01A01",
"wwn":{"naa":5,"oui":5358,"id":11286937582}}"""


def test_what_a_drive_behind_a_bridge_answers_to_smartctl() -> None:
    name = bridged.ask(Path("/dev/sdc"), lambda command, timeout_s=30.0, /: Ran(0, _SAT))

    assert name == Name(
        "", "WDC WD10SPZX-22Z10T1", "01.01A01", "WD-WX11A23B4567", SerialSource.ATA_IDENTIFY, "naa.50014ee2a0c0ffee"
    )


@pytest.mark.parametrize(
    "ran",
    [
        Ran(None, why="smartctl is not installed"),
        Ran(0, _SAT.replace(b'"ATA"', b'"SCSI"')),  # the bridge speaks for itself
        Ran(0, _SAT.replace(b"WD-WX11A23B4567", b"")),
        Ran(1, b""),
        Ran(0, b"[]"),
    ],
)
def test_without_an_answer_from_behind_there_is_no_name(ran: Ran) -> None:
    assert bridged.ask(Path("/dev/sdc"), lambda command, timeout_s=30.0, /: ran) is None

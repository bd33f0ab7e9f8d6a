"""What a drive can do is asked of it, and what cannot be done says why in words for whoever stands before it."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.sanitize import capabilities
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.programs import Ran, Run
from shared.sanitization.medium import MediumKind
from shared.sanitization.technique import Available, Technique
from tests.edge_agent.sanitize.drive_trees import not_looked_at
from tests.edge_agent.sanitize.firmware.drives import AtaDrive, NvmeDrive, ScsiDrive, of, recorded

YES, NO, UNKNOWN = Available.YES, Available.NO, Available.UNKNOWN
ATA = [one for one in Technique if one.value.startswith("ata-")]
NVME = [one for one in Technique if one.value.startswith("nvme-")]
SANITIZES = [one for one in NVME if "sanitize" in one.value]
SCSI = [one for one in Technique if one.value.startswith("scsi-")]
FIRMWARE = [*ATA, *NVME, *SCSI, Technique.MMC_SANITIZE]


def found(kind: MediumKind, run: Run, tmp_path: Path | None = None) -> dict[Technique, tuple[Available, str]]:
    drive = of(kind)
    if tmp_path is not None:
        (tmp_path / "queue").mkdir()
        (tmp_path / "queue" / "discard_max_bytes").write_text("4096\n")
        drive = replace(drive, sysfs=tmp_path)
    listed = capabilities.considered(drive, Tools(run), not_looked_at)
    assert [one.technique for one in listed] == list(Technique)
    assert all(one.why for one in listed)
    return {one.technique: (one.available, one.why) for one in listed}


def no_tools(command: object, timeout_s: float = 30.0, /) -> Ran:
    return Ran(None, why="hdparm is not installed")


def test_a_drive_that_has_it_all_has_all_of_its_own_protocol_and_nothing_of_another(tmp_path: Path) -> None:
    said = found(MediumKind.ATA_SSD, AtaDrive(), tmp_path)

    assert {one for one in FIRMWARE if said[one][0] is YES} == set(ATA)
    assert said[Technique.NVME_FORMAT_USER] == (NO, "the drive is ATA")
    assert said[Technique.DISCARD][0] is YES
    assert said[Technique.OVERWRITE][0] is YES
    assert said[Technique.DESTRUCTION][0] is NO


def test_a_frozen_drive_says_how_a_person_gets_it_out_of_that() -> None:
    said = found(MediumKind.ATA_DISK, AtaDrive("frozen"))

    assert {said[one][0] for one in ATA} == {NO}
    assert "sleep and wake" in said[Technique.ATA_SECURE_ERASE][1]
    assert "frozen against sanitize" in said[Technique.ATA_SANITIZE_BLOCK][1]


def test_a_locked_drive_has_none_of_them() -> None:
    said = found(MediumKind.ATA_DISK, AtaDrive(password="theirs", is_locked=True))

    assert {said[one][0] for one in ATA} == {NO}
    assert all("locked by a password" in said[one][1] for one in ATA)


def test_a_tool_that_is_missing_is_unknown_and_names_its_package() -> None:
    said = found(MediumKind.ATA_DISK, no_tools)

    assert {said[one][0] for one in ATA} == {UNKNOWN}
    assert "package hdparm" in said[Technique.ATA_SECURE_ERASE][1]


def test_behind_a_usb_bridge_nothing_is_tried() -> None:
    said = found(MediumKind.USB, AtaDrive())

    assert {said[one][0] for one in FIRMWARE} == {UNKNOWN}
    assert "connect it directly" in said[Technique.ATA_SANITIZE_BLOCK][1]


def test_a_virtual_drive_has_no_firmware() -> None:
    assert {found(MediumKind.VIRTUAL, no_tools)[one][0] for one in FIRMWARE} == {NO}


def test_what_an_nvme_drive_names_is_there_and_no_more() -> None:
    said = found(MediumKind.NVME, NvmeDrive(actions=0b010))

    assert {one for one in NVME if said[one][0] is YES} == {
        Technique.NVME_SANITIZE_BLOCK, Technique.NVME_FORMAT_USER, Technique.NVME_FORMAT_CRYPTO,
    }  # fmt: skip


def test_a_sanitize_that_would_take_other_namespaces_along_is_not_to_be_had() -> None:
    said = found(MediumKind.NVME, NvmeDrive(namespaces=(1, 2)))

    assert {said[one][0] for one in SANITIZES} == {NO}
    assert "1 other namespace(s)" in said[Technique.NVME_SANITIZE_CRYPTO][1]
    assert said[Technique.NVME_FORMAT_USER][0] is YES
    assert said[Technique.NVME_FORMAT_CRYPTO][0] is NO


@pytest.mark.parametrize("of_the_erase", [True, False])
def test_a_format_that_covers_every_namespace_is_not_to_be_had_either(of_the_erase: bool) -> None:
    covering = NvmeDrive(namespaces=(1, 2), erase_covers_all=of_the_erase, format_covers_all=not of_the_erase)
    said = found(MediumKind.NVME, covering)

    assert {said[one][0] for one in NVME} == {NO}


@pytest.mark.parametrize("controllers, part", [(2, "2 controllers"), (-1, "several controllers")])
def test_a_drive_of_several_controllers_is_not_sanitized(controllers: int, part: str) -> None:
    said = found(MediumKind.NVME, NvmeDrive(controllers=controllers))

    assert {said[one][0] for one in SANITIZES} == {NO}
    assert part in said[Technique.NVME_SANITIZE_BLOCK][1]
    assert said[Technique.NVME_FORMAT_CRYPTO][0] is YES


def test_a_crypto_format_that_leaves_capacity_out_is_not_to_be_had() -> None:
    said = found(MediumKind.NVME, NvmeDrive(unallocated_bytes=1 << 30))

    assert said[Technique.NVME_FORMAT_CRYPTO][0] is NO
    assert said[Technique.NVME_SANITIZE_CRYPTO][0] is YES


def test_a_scsi_drive_has_what_it_lists_and_one_that_lists_nothing_is_unknown() -> None:
    def silent(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        return Ran(9, b"", b"Report supported operation codes: Illegal request, Invalid opcode\n")

    said = found(MediumKind.SCSI_DISK, ScsiDrive(has=(2,)))
    assert {one for one in SCSI if said[one][0] is YES} == {Technique.SCSI_SANITIZE_BLOCK}
    assert {found(MediumKind.SCSI_DISK, silent)[one][0] for one in SCSI} == {UNKNOWN}  # type: ignore[arg-type]


@pytest.mark.parametrize("register, available", [(b"0x55", YES), (b"0x15", NO)])
def test_a_card_has_what_its_register_says(register: bytes, available: Available) -> None:
    ran = recorded("emmc-5.1-extcsd")

    said = found(MediumKind.MMC, lambda *_: Ran(0, ran.stdout.replace(b"0x55", register)))

    assert said[Technique.MMC_SANITIZE][0] is available

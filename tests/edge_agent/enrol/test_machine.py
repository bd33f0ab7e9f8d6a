"""A machine is known again by digests of what identifies it, and by nothing that many machines have."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.enrol.machine import _APPLICATION, app_specific, machine_digests

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def root(folder: Path, machine_id: str = MACHINE_ID, **firmware: str) -> Path:
    (folder / "etc").mkdir()
    (folder / "etc/machine-id").write_text(machine_id + "\n")
    dmi = folder / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    for name, value in firmware.items():
        (dmi / name).write_text(value + "\n")
    return folder


def test_what_the_firmware_says_and_the_machine_id_make_a_digest_each(tmp_path: Path) -> None:
    uuid, serial = "4C4C4544-0043-3510-8052-B9C04F4A4E32", "7C5RJN2"

    found = machine_digests(root(tmp_path, product_uuid=uuid, product_serial=serial))
    assert len(set(found)) == 3
    assert {len(digest) for digest in found} == {32}
    assert not any(text.encode() in b"".join(found) for text in (uuid, serial, MACHINE_ID))


@pytest.mark.parametrize(
    "nobodys",
    ["To be filled by O.E.M.", "Default string", "00000000-0000-0000-0000-000000000000", "", "None", "ffffffff"],
)
def test_what_makers_leave_in_place_of_a_number_is_no_identity(tmp_path: Path, nobodys: str) -> None:
    assert len(machine_digests(root(tmp_path, product_uuid=nobodys, board_serial=nobodys))) == 1


@pytest.mark.parametrize("machine_id", ["", "uninitialized", "00"])
def test_a_machine_that_has_no_id_yet_is_not_taken_for_another(tmp_path: Path, machine_id: str) -> None:
    assert machine_digests(root(tmp_path, machine_id)) == ()


def test_a_machine_that_tells_nothing_has_no_digest(tmp_path: Path) -> None:
    assert machine_digests(tmp_path) == ()


@pytest.mark.skipif(shutil.which("systemd-id128") is None, reason="systemd-id128 is not installed here")
def test_the_machine_id_is_derived_as_systemd_does() -> None:
    asked = ["systemd-id128", "machine-id", f"--app-specific={_APPLICATION.hex()}"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    assert app_specific(bytes.fromhex(Path("/etc/machine-id").read_text())).hex() == told

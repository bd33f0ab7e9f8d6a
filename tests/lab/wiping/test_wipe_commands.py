"""What drives do themselves, each in a whole wipe: ordered, approved, done at the terminal, proved, certified or not.

QEMU's NVMe drive erases by a format and has no sanitize; disks whose firmware is a program in the guest sanitize, say
so without doing it, or do nothing. A drive that kept its data gets a certificate of nobody, whatever it answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioning.demo.processes import ProgramFailed, run
from shared.sanitization.certificate import WipeCertificate
from shared.sanitization.technique import SanitizationClass
from tests.lab.image import Image
from tests.lab.lab import Lab
from tests.lab.wiping.hospital import (
    ENTER,
    LARGE,
    PATIENT,
    TICKET,
    Hospital,
    at_the_terminal,
    beginning,
    brought,
    carried,
    drives,
    fill,
    host_of,
    technician,
)

SIZE = 24 << 20
PURGE = ("--least", "purge")
SANITIZE = {"ATA-0001": "ata-sanitize-block", "SCSI-0001": "scsi-sanitize-block"}
READ_ALL_OF_IT = ("--technique", "overwrite")  # behind what leaves the drive with nobody knows what


@dataclass(frozen=True)
class Room:
    """`node` is where a drive whose firmware is a program lies, by its serial number."""

    hospital: Hospital
    host: Lab
    files: dict[str, Path]
    node: dict[str, str]

    def filled(self, serial: str, mode: str = "ok") -> None:
        if serial in self.files:
            fill(self.files[serial])
            return
        self.host.guest.write(f"/run/{serial}.mode", mode)
        dd = f"dd of={self.node[serial]} bs=1M count=1 iflag=fullblock oflag=direct status=none"
        self.host.guest.run(f"yes '{PATIENT.decode()}' | {dd}")

    def wiped(self, serial: str, *by: str) -> tuple[str, str, dict[str, Any]]:
        """Order, approve, do and bring; return the order, the last screen, and the order as the centre shows it."""
        order = carried(self.hospital, self.host, drives(self.host)[serial], *by)
        code, seen = at_the_terminal(
            self.host, [*beginning(serial), ("leadglass-wipe report", "q")], "--ticket", TICKET
        )
        shown = brought(self.hospital, self.host, order)
        assert (code == 0) is (shown["state"] == "verified"), seen[-1]
        return order, seen[-1], shown

    def is_left(self, serial: str) -> bool:
        """Say whether any of the patient's data is on the drive, past every cache."""
        if serial in self.files:
            return PATIENT in self.files[serial].read_bytes()
        line = (
            f"dd if={self.node[serial]} bs=1M count=1 iflag=direct status=none | grep --count --text {PATIENT.decode()}"
        )
        return self.host.guest.run(line, check=False).out.strip() not in ("", "0")

    def certified(self, order: str) -> WipeCertificate:
        folder = self.hospital.folder / f"of-{order}"
        self.hospital.centre.person("wipe", "certify", order, "--out", str(folder))
        ca = self.hospital.folder / "agent" / "identity" / "ca.pem"
        for suffix in ("json", "pdf"):
            run("leadglass-verify", "certificate", str(folder / f"wipe-{order}.{suffix}"), "--ca", str(ca)).succeeded()
        return WipeCertificate.parse((folder / f"wipe-{order}.json").read_bytes())

    def is_certified_by_nobody(self, order: str) -> bool:
        """Say whether a certificate was asked for, and there is none."""
        folder = self.hospital.folder / f"of-{order}"
        with pytest.raises(ProgramFailed, match="gets no certificate"):
            self.hospital.centre.person("wipe", "certify", order, "--out", str(folder))
        return not folder.exists() or not [*folder.iterdir()]


@pytest.fixture(scope="module")
def room(hospital: Hospital, guest_image: Image) -> Iterator[Room]:
    with host_of(hospital, guest_image) as host:
        files = {
            "F0RGETS": host.drives.nvme("F0RGETS", "nvme0n1", SIZE, "slot0"),
            "KEEPS-IT": host.drives.nvme("KEEPS-IT", "nvme1n1", SIZE, "slot1", discard="ignore"),
        }
        _, node = host.drives.firmware("ATA-0001:ata", "SCSI-0001:scsi", "HIDES-01:ata:256")
        yield Room(hospital, host, files, node)


def test_an_nvme_format_is_cleared_and_claims_no_more(room: Room) -> None:
    room.filled("F0RGETS")

    order, screen, shown = room.wiped("F0RGETS", "--technique", "nvme-format-user", *READ_ALL_OF_IT)

    assert "CLEARED, verified" in screen, screen
    assert (shown["state"], shown["detail"]) == ("verified", "cleared-verified")
    assert not room.is_left("F0RGETS")
    judged = room.certified(order).body.statement.judged
    assert judged.reached is SanitizationClass.CLEAR


def test_a_purge_that_the_drive_cannot_prove_is_refused_before_the_first_write(room: Room) -> None:
    """QEMU's NVMe drive has no sanitize, and its format with a crypto erase is not offered by the drive itself."""
    room.filled("F0RGETS")
    by = (*PURGE, "--technique", "nvme-sanitize-block", "--technique", "nvme-format-crypto", *READ_ALL_OF_IT)
    order = carried(room.hospital, room.host, drives(room.host)["F0RGETS"], *by)
    steps = [("Approved by", ENTER), ("THIS IS THE DRIVE OF THE TICKET", ENTER), ("Nothing was written", "q")]

    code, seen = at_the_terminal(room.host, steps, "--ticket", TICKET)

    assert (code, "nothing that the ticket allows" in " ".join(seen[-1].split())) == (1, True), seen[-1]
    assert room.is_left("F0RGETS")
    assert brought(room.hospital, room.host, order)["state"] == "refused"
    assert room.is_certified_by_nobody(order)


@pytest.mark.parametrize("serial", ["ATA-0001", "SCSI-0001"])
def test_a_sanitize_that_was_seen_to_run_is_purged(room: Room, serial: str) -> None:
    room.filled(serial)

    order, screen, shown = room.wiped(serial, *PURGE, "--technique", SANITIZE[serial], *READ_ALL_OF_IT)

    assert "PURGED, verified" in screen, screen
    assert shown["detail"] == "purged-verified"
    assert not room.is_left(serial)
    statement = room.certified(order).body.statement
    assert statement.judged.reached is SanitizationClass.PURGE
    assert statement.reported is not None
    sanitize, overwrite = statement.reported.report.steps
    assert (sanitize.accepted, sanitize.completed, overwrite.completed) == (True, True, True)
    assert sanitize.progress_seen or sanitize.facts["log_names_run"] is True


def test_a_host_protected_area_is_opened_wiped_with_the_rest_and_named(room: Room) -> None:
    room.filled("HIDES-01")
    before = drives(room.host)["HIDES-01"]["size_bytes"]

    order, screen, shown = room.wiped("HIDES-01", *READ_ALL_OF_IT)

    assert "CLEARED, verified" in screen, screen
    assert not room.is_left("HIDES-01")
    reported = room.certified(order).body.statement.reported
    assert reported is not None
    assert reported.report.medium_after is not None
    assert reported.report.medium_after.size_bytes == before + 256 * 512
    assert [area.state.value for area in reported.report.hidden if area.kind.value == "hpa"] == ["removed"]
    assert shown["state"] == "verified"


def test_a_drive_that_is_pulled_while_it_is_written_has_failed(room: Room) -> None:
    room.host.drives.nvme("P0LLED", "nvme2n1", LARGE, "slot3")
    order = carried(room.hospital, room.host, drives(room.host)["P0LLED"])
    steps = [*beginning("P0LLED"), ("writing random data", ""), ("leadglass-wipe report", "q")]
    at_work = room.host.guest.spawn(technician(steps, "--ticket", TICKET))
    at_work.await_line("writing random data", 300)

    room.host.drives.pull("P0LLED", "nvme2n1")

    _, screen = at_work.await_line("leadglass-wipe report", 300)
    assert "FAILED" in screen
    assert at_work.await_end(60) == 1
    shown = brought(room.hospital, room.host, order)
    assert (shown["state"], "ENODEV" in shown["detail"] or "EIO" in shown["detail"]) == ("failed", True), shown
    assert room.is_certified_by_nobody(order)


@pytest.mark.parametrize(
    "serial, mode, state",
    [
        # Success, progress, a log that names this very run; and every byte is there.
        ("ATA-0001", "lie", "incomplete"),
        ("SCSI-0001", "lie", "incomplete"),
        # Success, and never at work.
        ("ATA-0001", "idle", "unknown"),
        # Begun, and ended in an error; of the last one, for the drive gives out nothing after it.
        ("SCSI-0001", "fail", "failed"),
    ],
)
def test_a_drive_that_lies_or_fails_is_never_certified(room: Room, serial: str, mode: str, state: str) -> None:
    """The same tickets, drives and screens as of those that are purged: nothing differs but what the drive did."""
    room.filled(serial, mode)

    order, screen, shown = room.wiped(serial, *PURGE, "--technique", SANITIZE[serial], *READ_ALL_OF_IT)

    assert shown["state"] == state, (shown["detail"], screen)
    assert "Do not let this drive leave the building" in " ".join(screen.split())
    assert room.is_certified_by_nobody(order)


def test_a_drive_that_forgets_nothing_that_it_was_told_to_forget_is_never_certified(room: Room) -> None:
    room.filled("KEEPS-IT")

    order, screen, shown = room.wiped("KEEPS-IT", "--technique", "discard")

    assert "LOGICAL DELETE ONLY" in screen or "PARTIAL" in screen
    assert shown["state"] == "incomplete"
    assert room.is_left("KEEPS-IT")
    assert room.is_certified_by_nobody(order)

"""What drives do themselves, each in a whole wipe: ordered, approved, done at the terminal, proved, certified or not.

QEMU's NVMe drive erases by a format, answers a discard with success and forgets nothing, and has no sanitize; a
disk whose firmware is a program in the guest sanitizes, says so without doing it, or does nothing. A drive that kept
its data gets a certificate of nobody, whatever it answered. Each takes about a minute; every run has one that is
purged beside one that was not meant, and one that lies, and `make soak` the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioning.demo.processes import ProgramFailed, run
from shared.sanitization.certificate import Statement, WipeCertificate
from shared.sanitization.technique import SanitizationClass
from tests.lab.image import Image
from tests.lab.lab import Lab
from tests.lab.wiping.hospital import (
    ENTER,
    FULL,
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

SIZE, HIDDEN = 24 << 20, 256
NVME, ATA = "NVME-0001", "ATA-0001"
READ_ALL_OF_IT = ("--technique", "overwrite")  # behind what leaves the drive with nobody knows what
PURGE = ("--least", "purge", "--technique", "ata-sanitize-block", *READ_ALL_OF_IT)


@dataclass
class Room:
    """`here` is each drive as it is ordered by, `file` that of the NVMe drive, `node` where the other one lies."""

    hospital: Hospital
    host: Lab
    file: Path
    node: str
    here: dict[str, dict[str, Any]]

    def filled(self, serial: str, mode: str = "ok") -> None:
        if serial == NVME:
            fill(self.file)
            return
        self.host.guest.write(f"/run/{serial}.mode", mode)
        dd = f"dd of={self.node} bs=64k count=8 iflag=fullblock oflag=direct status=none"
        self.host.guest.run(f"yes '{PATIENT.decode()}' | {dd}")

    def wiped(self, serial: str, *by: str) -> tuple[str, list[str], dict[str, Any]]:
        """Order, approve, do and bring; return the order, the screens, and the order as the centre shows it."""
        if serial == ATA:  # larger than it was, once its hidden area has been opened
            sectors = self.host.guest.read(f"/sys/block/{Path(self.node).name}/size")
            self.here[ATA]["size_bytes"] = int(sectors) * 512
        order = carried(self.hospital, self.host, self.here[serial], *by)
        code, seen = at_the_terminal(
            self.host, [*beginning(serial), ("leadglass-wipe report", "q")], "--ticket", TICKET
        )
        shown = brought(self.hospital, self.host, order)
        assert (code == 0) is (shown["state"] == "verified"), seen[-1]
        return order, seen, shown

    def is_left(self, serial: str) -> bool:
        """Say whether any of the patient's data is on the drive, past every cache."""
        if serial == NVME:
            return PATIENT in self.file.read_bytes()
        line = f"dd if={self.node} bs=64k iflag=direct status=none | grep --count --text {PATIENT.decode()}"
        return self.host.guest.run(line, check=False).out.strip() not in ("", "0")

    def certified(self, order: str) -> Statement:
        folder = self.hospital.folder / f"of-{order}"
        self.hospital.centre.person("wipe", "certify", order, "--out", str(folder))
        ca = self.hospital.folder / "agent" / "identity" / "ca.pem"
        run("leadglass-verify", "certificate", str(folder / f"wipe-{order}.json"), "--ca", str(ca)).succeeded()
        return WipeCertificate.parse((folder / f"wipe-{order}.json").read_bytes()).body.statement

    def is_certified_by_nobody(self, order: str) -> bool:
        """Say whether a certificate was asked for, and there is none."""
        folder = self.hospital.folder / f"of-{order}"
        with pytest.raises(ProgramFailed, match="gets no certificate"):
            self.hospital.centre.person("wipe", "certify", order, "--out", str(folder))
        return not folder.exists() or not [*folder.iterdir()]


@pytest.fixture(scope="module")
def room(hospital: Hospital, guest_image: Image) -> Iterator[Room]:
    with host_of(hospital, guest_image) as host:
        file = host.drives.nvme(NVME, "nvme0n1", SIZE, "slot0", discard="ignore")
        _, node = host.drives.firmware(f"{ATA}:ata:{HIDDEN}")
        yield Room(hospital, host, file, node[ATA], drives(host))


@pytest.mark.soak
def test_an_nvme_format_is_cleared_and_claims_no_more(room: Room) -> None:
    room.filled(NVME)

    order, screens, shown = room.wiped(NVME, "--technique", "nvme-format-user", *READ_ALL_OF_IT)

    assert "CLEARED, verified" in screens[-1], screens[-1]
    assert (shown["state"], shown["detail"]) == ("verified", "cleared-verified")
    assert not room.is_left(NVME)
    assert room.certified(order).judged.reached is SanitizationClass.CLEAR


@pytest.mark.soak
def test_a_discard_that_was_answered_with_success_and_forgot_nothing_is_never_certified(room: Room) -> None:
    room.filled(NVME)

    order, screens, shown = room.wiped(NVME, "--technique", "discard")

    assert "LOGICAL DELETE ONLY" in screens[-1] or "PARTIAL" in screens[-1], screens[-1]
    assert shown["state"] == "incomplete"
    assert room.is_left(NVME)
    assert room.is_certified_by_nobody(order)


@pytest.mark.soak
def test_a_host_protected_area_is_opened_wiped_with_the_rest_and_named(room: Room) -> None:
    room.filled(ATA)
    shown_before = room.here[ATA]["size_bytes"]

    order, screens, _ = room.wiped(ATA)

    assert "CLEARED, verified" in screens[-1], screens[-1]
    assert not room.is_left(ATA)
    reported = room.certified(order).reported
    assert reported is not None
    assert reported.report.medium_after is not None
    assert reported.report.medium_after.size_bytes == shown_before + HIDDEN * 512
    assert [area.state.value for area in reported.report.hidden if area.kind.value == "hpa"] == ["removed"]


def test_a_sanitize_that_was_seen_to_run_is_purged_and_the_other_drive_left_alone(room: Room) -> None:
    room.filled(NVME)
    room.filled(ATA)

    order, screens, shown = room.wiped(ATA, *PURGE)

    assert "not the one: another serial" in screens[1]
    assert "PURGED, verified" in screens[-1], screens[-1]
    assert shown["detail"] == "purged-verified"
    assert not room.is_left(ATA)
    assert room.file.read_bytes() == FULL
    statement = room.certified(order)
    assert statement.judged.reached is SanitizationClass.PURGE
    assert statement.reported is not None
    sanitize, overwrite = statement.reported.report.steps
    assert (sanitize.accepted, sanitize.completed, overwrite.completed) == (True, True, True)
    assert sanitize.progress_seen or sanitize.facts["log_names_run"] is True


@pytest.mark.parametrize(
    "mode, state",
    [
        # Success, progress, a log that names this very run; and every byte is there.
        ("lie", "incomplete"),
        # Success, and never at work.
        pytest.param("idle", "unknown", marks=pytest.mark.soak),
    ],
)
def test_a_drive_that_lies_is_never_certified(room: Room, mode: str, state: str) -> None:
    """The same ticket, drive and screens as of the one that is purged: nothing differs but what the drive did."""
    room.filled(ATA, mode)

    order, screens, shown = room.wiped(ATA, *PURGE)

    assert shown["state"] == state, (shown["detail"], screens[-1])
    assert "Do not let this drive leave the building" in " ".join(screens[-1].split())
    assert room.is_certified_by_nobody(order)


@pytest.mark.soak
def test_a_purge_that_the_drive_cannot_prove_is_refused_before_the_first_write(room: Room) -> None:
    """QEMU's NVMe drive has no sanitize, and does not offer a format with a crypto erase."""
    room.filled(NVME)
    by = ("--least", "purge", "--technique", "nvme-sanitize-block", "--technique", "nvme-format-crypto")
    order = carried(room.hospital, room.host, room.here[NVME], *by)
    steps = [("Approved by", ENTER), ("THIS IS THE DRIVE OF THE TICKET", ENTER), ("Nothing was written", "q")]

    code, seen = at_the_terminal(room.host, steps, "--ticket", TICKET)

    assert (code, "nothing that the ticket allows" in " ".join(seen[-1].split())) == (1, True), seen[-1]
    assert room.is_left(NVME)
    assert brought(room.hospital, room.host, order)["state"] == "refused"
    assert room.is_certified_by_nobody(order)


@pytest.mark.soak
def test_a_drive_that_is_pulled_while_it_is_written_has_failed(room: Room) -> None:
    """The last of this machine: the drive does not come back."""
    room.host.drives.nvme("P0LLED", "nvme1n1", LARGE, "slot1")
    order = carried(room.hospital, room.host, drives(room.host)["P0LLED"])
    steps = [*beginning("P0LLED"), ("writing random data", ""), ("leadglass-wipe report", "q")]
    at_work = room.host.guest.spawn(technician(steps, "--ticket", TICKET))
    at_work.await_line("writing random data", 600)

    room.host.drives.pull("P0LLED", "nvme1n1")

    _, screen = at_work.await_line("leadglass-wipe report", 600)
    assert "FAILED" in screen
    assert at_work.await_end(120) == 1
    shown = brought(room.hospital, room.host, order)
    assert shown["state"] == "failed", shown
    assert room.is_certified_by_nobody(order)

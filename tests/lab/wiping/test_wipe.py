"""A certified wipe from the order to its verification by somebody who has nothing but the certificate.

The centre and its people are outside, the host is the guest, with drives of its own, and has no network: ticket and
report are carried as files. Every run has the same way with what drives do themselves (test_wipe_commands.py); these,
and the way beside the agent (test_wipe_beside_the_agent.py), are for `make soak`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from provisioning.demo.processes import run
from tests.lab.image import Image
from tests.lab.wiping.hospital import (
    ENTER,
    FULL,
    LARGE,
    PATIENT,
    SIZE,
    STATE,
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


@pytest.mark.soak
def test_from_the_order_to_a_certificate_that_a_stranger_verifies(
    guest_image: Image, hospital: Hospital, tmp_path: Path
) -> None:
    with host_of(hospital, guest_image) as host:
        other = host.drives.nvme("OTHER", "nvme0n1", SIZE, "slot0")
        fill(other)
        meant = host.drives.nvme("S3R1AL4711", "nvme1n1", SIZE, "slot1")
        fill(meant)
        order = carried(hospital, host, drives(host)["S3R1AL4711"])

        code, seen = at_the_terminal(
            host, [*beginning("S3R1AL4711"), ("leadglass-wipe report", "q")], "--ticket", TICKET
        )

        assert (code, len(seen)) == (0, 6), seen[-1]
        assert "not the one: another serial" in seen[1]
        assert "CLEARED" in seen[-1]
        assert PATIENT not in meant.read_bytes()
        assert other.read_bytes() == FULL
        assert brought(hospital, host, order)["state"] == "verified"

    certificates = tmp_path / "certificates"
    hospital.centre.person("wipe", "certify", order, "--out", str(certificates))
    ca = hospital.folder / "agent" / "identity" / "ca.pem"
    for name in (f"wipe-{order}.json", f"wipe-{order}.pdf"):
        run("leadglass-verify", "certificate", str(certificates / name), "--ca", str(ca)).succeeded()
    # One character of it, and nobody takes it.
    altered = certificates / "altered.json"
    altered.write_bytes((certificates / f"wipe-{order}.json").read_bytes().replace(b"S3R1AL4711", b"S3R1AL4712"))
    assert run("leadglass-verify", "certificate", str(altered), "--ca", str(ca)).exit_code != 0


@pytest.mark.soak
def test_a_drive_that_was_swapped_is_refused_and_a_wipe_that_lost_its_machine_is_brought_to_its_end(
    guest_image: Image, hospital: Hospital, tmp_path: Path
) -> None:
    state, kept = tmp_path / "state.img", tmp_path / "meant.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(state), "64M"], check=True)
    with host_of(hospital, guest_image, state) as host:
        meant = host.drives.nvme("MEANT", "nvme0n1", LARGE, "slot0")
        fill(meant)
        here = drives(host)["MEANT"]
        order = carried(hospital, host, {**here, "serial": "TAKEN-OUT"})

        _, seen = at_the_terminal(host, [("Approved by", ENTER), ("None of these", "q")], "--ticket", TICKET)

        assert "not the one: another serial" in seen[-1]
        assert meant.read_bytes()[: len(FULL)] == FULL
        (note,) = host.guest.glob(f"{STATE}/out/{order}.*.note")
        assert json.loads(host.guest.read(note))["event"] == "refused"

        carried(hospital, host, here)
        at_work = host.guest.spawn(technician([*beginning("MEANT"), ("random data", "")], "--ticket", TICKET))
        at_work.await_line("random data", 120)
        os.link(meant, kept)
    with host_of(hospital, guest_image, state) as again:
        again.drives.nvme("MEANT", "nvme0n1", LARGE, "slot0", file=kept)

        code, seen = at_the_terminal(again, [("leadglass-wipe report", "q")], "resume")

    assert code == 0, seen[-1]
    assert "CLEARED" in seen[-1]
    assert "went on to its end" in seen[-1]
    assert PATIENT not in kept.read_bytes()

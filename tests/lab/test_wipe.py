"""A certified wipe from the order to its verification by somebody who has nothing but the certificate.

The centre and its people are outside, the host is the guest, with drives of its own, and has no network: ticket and
report are carried as files.
"""

import base64
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte
import pytest
import wcwidth

from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.https import HttpsDoor, accepted, verified_context
from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.pinning import pin
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import load_trust
from edge_agent.usb_policy.verify_child import judge
from provisioning.demo.processes import run
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from shared.sanitization.exchange import ASKED_FILE, Asked
from tests.edge_agent.sanitize import terminals
from tests.lab.centre import Centre, centre
from tests.lab.guard import package
from tests.lab.guest import quoted
from tests.lab.image import Image
from tests.lab.lab import INSIDE, Lab

POLICY = """\
layer: organisation
modalities: [{ae_title: CT1, description: "CT 2, room 1.14"}]
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 5}
wipe: {least: clear, read_back: whole, approvals: 1, ticket_hours: 24}
"""
WIPE = "/opt/leadglass/bin/leadglass-wipe"
STATE, AGENT, GUARD = "/var/lib/leadglass-wipe", "/var/lib/leadglass", "/var/lib/leadglass-guard"
SIZE, ENTER = 24 << 20, "\r"
PATIENT = b"PATIENT^DATA"


@dataclass(frozen=True)
class Hospital:
    """`dan` is the credential of the technician, who may order and not approve."""

    centre: Centre
    dan: Path
    folder: Path

    def technician(self, *arguments: str) -> Any:
        return self.centre.person("wipe", *arguments, "--json", credential=self.dan).json()

    def approve(self, order: str) -> None:
        self.centre.person("wipe", "approve", order, "--yes")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    with centre(folder, "localhost") as running:
        running.publish(POLICY)
        run("leadglass-server", "policy", "key", "new", str(folder / "dan"), "--name", "Dan").succeeded()
        dan = folder / "dan.json"
        running.person("person", "add", "--key", f"{folder}/dan.pub", "--role", "technician", "--out", str(dan))
        host = AgentFolder(folder / "agent")
        enrol(host, running.enrol_url, EnrolmentCode.parse(running.code("CT 2")), "CT 2")
        accept_policy(host, folder / "guard")
        yield Hospital(running, dan, folder)


def accept_policy(host: AgentFolder, state: Path) -> None:
    """Have a device guard with this folder follow the centre's policy, as its agent and its child do between them."""
    state.mkdir(mode=0o700)
    pin(state, host.path)
    trust, doors = load_trust(state), load_identity(host).config.doors
    with closing(HttpsDoor(doors.host, doors.https_port, verified_context(host.ca, host.tls))) as door:
        paths = ("/api/v1/policy/head", *(f"/api/v1/policy/layers/{layer}" for layer in trust.layers))
        head, *layers = (accepted(door.name, door.get(path)).body for path in paths)
    GuardPolicyStore(state, trust).take(judge(state, Offer(head, tuple(layers)).encode()))


@pytest.fixture
def host(guest_image: Image, hospital: Hospital) -> Iterator[Lab]:
    """The enrolled host with the program on it; its agent asked the centre last when it was connected."""
    with Lab(guest_image) as lab:
        lab.guest.put("/run/package.tar", package())
        lab.guest.put("/run/data.tar", packed({"agent": hospital.folder / "agent", "guard": hospital.folder / "guard"}))
        lab.guest.run(
            "tar xf /run/package.tar -C / && mkdir /run/data && tar xf /run/data.tar -C /run/data && "
            f"cp -a /run/data/agent {AGENT} && cp -a /run/data/guard {GUARD} && "
            f"mkdir -p {STATE}/out {AGENT}/wipe-tickets"
        )
        lab.guest.put(f"{AGENT}/wipe-tickets/{ASKED_FILE}", Asked(SystemClock().now(), hold=False).encode())
        lab.guest.put("/run/technician.py", (INSIDE / "technician.py").read_bytes())
        places = {
            "terminals.py": Path(terminals.__file__), "pyte": Path(pyte.__file__).parent,
            "wcwidth": Path(wcwidth.__file__).parent,
        }  # fmt: skip
        lab.guest.put("/run/technician.tar", packed(places))
        lab.guest.run("mkdir /run/technician && tar xf /run/technician.tar -C /run/technician")
        yield lab


def packed(places: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, place in places.items():
            tar.add(place, name)
    return buffer.getvalue()


def at_the_terminal(host: Lab, steps: Sequence[tuple[str, str]], *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code, and each screen that was waited for."""
    command = quoted("python3", "/run/technician.py", json.dumps(steps), WIPE, *arguments)
    done = host.guest.run(command, timeout_s=300, check=False)
    return done.code, [json.loads(line) for line in done.out.splitlines()]


def order_for(hospital: Hospital, drive: dict[str, Any]) -> str:
    ordered = hospital.technician(
        "order", "CT 2", "--serial", drive["serial"], "--model", drive["model"], "--wwn", drive["wwn"],
        "--size-bytes", str(drive["size_bytes"]), "--reason", "disposal", "--text", "goes back to its maker",
        "--technician", "Dan", "--technique", "overwrite",
    )  # fmt: skip
    hospital.approve(ordered["order"])
    return str(ordered["order"])


def drives(host: Lab) -> dict[str, dict[str, Any]]:
    told = host.guest.run(f"{WIPE} drives --json", timeout_s=120).out
    return {drive["serial"]: drive for drive in map(json.loads, told.splitlines())}


def test_from_the_order_to_a_certificate_that_a_stranger_verifies(
    host: Lab, hospital: Hospital, tmp_path: Path
) -> None:
    other = host.drives.nvme("OTHER", "nvme0n1", SIZE, "slot0")
    other.write_bytes((PATIENT * SIZE)[:SIZE])
    meant = host.drives.nvme("S3R1AL4711", "nvme1n1", SIZE, "slot1")
    meant.write_bytes((PATIENT * SIZE)[:SIZE])
    drive = drives(host)["S3R1AL4711"]
    order = order_for(hospital, drive)
    ticket = tmp_path / "ticket"
    hospital.centre.person("wipe", "ticket", order, "--out", str(ticket), credential=hospital.dan)
    host.guest.put("/run/ticket", ticket.read_bytes())

    code, seen = at_the_terminal(
        host,
        [
            ("Approved by", ENTER), ("THIS IS THE DRIVE OF THE TICKET", ENTER),
            ("Type the last 4 characters", f"4711{ENTER}"), ("Type your own name", f"Dan{ENTER}"),
            ("Press w to begin", "w"), ("leadglass-wipe report", "q"),
        ],
        "--ticket", "/run/ticket",
    )  # fmt: skip

    assert (code, len(seen)) == (0, 6), seen[-1]
    assert "not the one: another serial" in seen[1]
    assert "CLEARED" in seen[-1]
    assert PATIENT not in meant.read_bytes()
    assert other.read_bytes() == (PATIENT * SIZE)[:SIZE]

    report = tmp_path / "report"
    signed = host.guest.run(f"{WIPE} report {order} --out /run/report && base64 /run/report").out
    report.write_bytes(decoded(signed))
    assert hospital.technician("import", str(report))["state"] == "verified"
    certificates = tmp_path / "certificates"
    hospital.centre.person("wipe", "certify", order, "--out", str(certificates))
    ca = hospital.folder / "agent" / "identity" / "ca.pem"
    for name in (f"wipe-{order}.json", f"wipe-{order}.pdf"):
        run("leadglass-verify", "certificate", str(certificates / name), "--ca", str(ca)).succeeded()
    # One character of it, and nobody takes it.
    altered = certificates / "altered.json"
    altered.write_bytes((certificates / f"wipe-{order}.json").read_bytes().replace(b"S3R1AL4711", b"S3R1AL4712"))
    assert run("leadglass-verify", "certificate", str(altered), "--ca", str(ca)).exit_code != 0


def decoded(text: str) -> bytes:
    lines = text.splitlines()
    return base64.b64decode("".join(line for line in lines if " " not in line))


def test_a_drive_that_was_swapped_is_refused_and_one_whose_wipe_was_killed_is_brought_to_an_end(
    host: Lab, hospital: Hospital, tmp_path: Path
) -> None:
    swapped = host.drives.nvme("SWAPPED", "nvme0n1", SIZE, "slot0")
    swapped.write_bytes((PATIENT * SIZE)[:SIZE])
    approved = {"serial": "APPROVED", "model": "QEMU NVMe Ctrl", "wwn": "", "size_bytes": SIZE}
    order = order_for(hospital, {**drives(host)["SWAPPED"], **approved})
    ticket = tmp_path / "ticket"
    hospital.centre.person("wipe", "ticket", order, "--out", str(ticket), credential=hospital.dan)
    host.guest.put("/run/ticket", ticket.read_bytes())

    _, seen = at_the_terminal(host, [("Approved by", ENTER), ("None of these", "q")], "--ticket", "/run/ticket")

    assert "not the one: another serial" in seen[-1]
    assert swapped.read_bytes() == (PATIENT * SIZE)[:SIZE]
    (note,) = host.guest.glob(f"{STATE}/out/{order}.*.note")
    assert json.loads(host.guest.read(note))["event"] == "refused"

"""A hospital with its centre and its people outside, and one enrolled host: a guest with drives of its own, no network.

Ticket and report are carried as files, and a person at the host's terminal is a script of what is shown and typed.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyte
import wcwidth

from control_plane.db.engine import open_database, sqlite_url
from control_plane.people.accounts import Accounts
from control_plane.policy.authoring import load_credential, store_credential
from control_plane.settings import Folders
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.https import HttpsDoor, accepted, verified_context
from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.pinning import pin
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import load_trust
from edge_agent.usb_policy.verify_child import judge
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from shared.sanitization.exchange import ASKED_FILE, Asked
from tests.edge_agent.sanitize import terminals
from tests.lab.centre import Centre, centre
from tests.lab.guard import package
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
TICKET, ENTER = "/run/ticket", "\r"
NOT_SHOWN = 99  # inside/technician.py
PATIENT = b"PATIENT^DATA"
# The larger is still being written when it is seen to be.
SIZE, LARGE = 24 << 20, 256 << 20
FULL = (PATIENT * SIZE)[:SIZE]


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


@contextmanager
def hospital(folder: Path) -> Iterator[Hospital]:
    with centre(folder, "localhost") as running:
        running.publish(POLICY)
        dan = technician_of(running)
        host = AgentFolder(folder / "agent")
        enrol(host, running.enrol_url, EnrolmentCode.parse(running.code("CT 2")), "CT 2")
        accept_policy(host, folder / "guard")
        yield Hospital(running, dan, folder)


def technician_of(running: Centre) -> Path:
    """Return the credential of somebody who may order and not approve, whose account is as old as the approver's.

    Whom the approver gave an account within the week would count as nobody else.
    """
    database = open_database(sqlite_url(Folders(running.folder / "data").database))
    token = Accounts(database, SystemClock()).create("Dan", "technician")
    first = load_credential(running.folder / "handover" / "credential-first-administrator.json")
    credential = running.folder / "dan.json"
    store_credential(credential, replace(first, person="Dan", role="technician", token=token))
    return credential


def accept_policy(host: AgentFolder, state: Path) -> None:
    """Have a device guard with this folder follow the centre's policy, as its agent and its child do between them."""
    state.mkdir(mode=0o700)
    pin(state, host.path)
    trust, doors = load_trust(state), load_identity(host).config.doors
    with closing(HttpsDoor(doors.host, doors.https_port, verified_context(host.ca, host.tls))) as door:
        paths = ("/api/v1/policy/head", *(f"/api/v1/policy/layers/{layer}" for layer in trust.layers))
        head, *layers = (accepted(door.name, door.get(path)).body for path in paths)
    GuardPolicyStore(state, trust).take(judge(state, Offer(head, tuple(layers)).encode()))


@contextmanager
def host_of(hospital: Hospital, guest_image: Image, state: Path | None = None) -> Iterator[Lab]:
    """The enrolled host with the program on it; its agent asked the centre last when it was connected.

    `state` is a disk for what the program notes, which outlives the machine.
    """
    with Lab(guest_image) as lab:
        lab.guest.run(f"mkdir -p {STATE}")
        if state is not None:
            lab.disk(state)
            lab.guest.run(f"mount /dev/vdb {STATE}")
        lab.guest.put("/run/package.tar", package())
        lab.guest.put("/run/data.tar", packed({"agent": hospital.folder / "agent", "guard": hospital.folder / "guard"}))
        lab.guest.run(
            "tar xf /run/package.tar -C / && mkdir /run/data && tar xf /run/data.tar -C /run/data && "
            f"cp -a /run/data/agent {AGENT} && cp -a /run/data/guard {GUARD} && "
            f"mkdir -p {STATE}/out {AGENT}/wipe-tickets"
        )
        lab.guest.put(f"{AGENT}/wipe-tickets/{ASKED_FILE}", Asked(SystemClock().now(), hold=False).encode())
        put_technician(lab)
        yield lab


def put_technician(lab: Lab) -> None:
    """Put the program into the guest that is a person at a terminal."""
    places = {
        "technician.py": INSIDE / "technician.py",
        "tests/edge_agent/sanitize/terminals.py": Path(terminals.__file__),
        "pyte": Path(pyte.__file__).parent, "wcwidth": Path(wcwidth.__file__).parent,
    }  # fmt: skip
    lab.guest.put("/run/technician.tar", packed(places))
    lab.guest.run("mkdir /run/technician && tar xf /run/technician.tar -C /run/technician")


def packed(places: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for name, place in places.items():
            tar.add(place, name)
    return buffer.getvalue()


def technician(steps: Sequence[tuple[str, str]], *arguments: str) -> list[str]:
    return ["python3", "/run/technician/technician.py", json.dumps(steps), WIPE, *arguments]


def at_the_terminal(host: Lab, steps: Sequence[tuple[str, str]], *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code, and each screen that was waited for."""
    done = host.guest.run(technician(steps, *arguments), timeout_s=900, check=False)
    seen = [json.loads(line) for line in done.out.splitlines()]
    assert done.code != NOT_SHOWN, seen[-1]
    return done.code, seen


def beginning(serial: str) -> list[tuple[str, str]]:
    """Return what a technician does up to the first write."""
    return [
        ("Approved by", ENTER), ("THIS IS THE DRIVE OF THE TICKET", ENTER),
        ("Type the last 4 characters", f"{serial[-4:]}{ENTER}"), ("Type your own name", f"Dan{ENTER}"),
        ("Press w to begin", "w"),
    ]  # fmt: skip


def fill(drive: Path) -> None:
    """Put patients' data at the drive's beginning, and leave its size as it is."""
    with drive.open("r+b") as opened:
        opened.write(FULL)


def order_for(hospital: Hospital, drive: dict[str, Any], *by: str) -> str:
    """Order and approve the wipe of a drive; `by` are options that say how."""
    ordered = hospital.technician(
        "order", "CT 2", "--serial", drive["serial"], "--model", drive["model"], "--wwn", drive["wwn"],
        "--size-bytes", str(drive["size_bytes"]), "--reason", "disposal", "--text", "goes back to its maker",
        "--technician", "Dan", *(by or ("--technique", "overwrite")),
    )  # fmt: skip
    hospital.approve(ordered["order"])
    return str(ordered["order"])


def drives(host: Lab) -> dict[str, dict[str, Any]]:
    told = host.guest.run(f"{WIPE} drives --json", timeout_s=300).out
    return {drive["serial"]: drive for drive in map(json.loads, told.splitlines())}


def carried(hospital: Hospital, host: Lab, drive: dict[str, Any], *by: str) -> str:
    """Order and approve the wipe of a drive, carry the ticket to the host, and return the order."""
    order = order_for(hospital, drive, *by)
    ticket = hospital.folder / f"{order}.ticket"
    hospital.centre.person("wipe", "ticket", order, "--out", str(ticket), credential=hospital.dan)
    host.guest.put(TICKET, ticket.read_bytes())
    return order


def brought(hospital: Hospital, host: Lab, order: str) -> dict[str, Any]:
    """Carry the report to the centre, and return the order as it stands then."""
    host.guest.run(f"{WIPE} report {order} --out /run/{order}.report")
    report = hospital.folder / f"{order}.report"
    report.write_bytes(host.guest.get(f"/run/{order}.report"))
    shown: dict[str, Any] = hospital.technician("import", str(report))
    return shown

"""A wipe from a technician's order to the host's evidence, as people and the host's agent do it, over real doors."""

import contextlib
import dataclasses
from datetime import datetime
from pathlib import Path

import pytest

from control_plane.__main__ import main
from control_plane.people.accounts import Accounts
from control_plane.policy.authoring import load_credential, store_credential
from edge_agent.config import AgentFolder, load_identity
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.parts import Bell
from edge_agent.wipes.inbox import TicketInbox
from edge_agent.wipes.outbox import WipeOutbox
from edge_agent.wipes.part import WipePart
from edge_agent.wipes.store import WipeStore
from provisioning.verify.__main__ import main as verify
from shared.clock import SystemClock
from shared.sanitization.envelope import SignedTicket
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.qr_text import from_lines, to_lines
from shared.sanitization.report import MAX_BYTES, WipeReport
from shared.sanitization.ticket import Ticket
from shared.signing import Label, sign_statement
from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_hosts import Terminal, enrolled
from tests.fakes.host import Host
from tests.fakes.signers import CentreKeys
from tests.shared.made import policy
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import POLICY as WIPE

YAML = """
layer: organisation
modalities: [{ae_title: CT1, description: "CT, room 1.14"}]
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
wipe: {least: clear, read_back: whole, approvals: 1, ticket_hours: 24}
"""
DRIVE = ("--serial", wipes.DISK.serial, "--model", wipes.DISK.model, "--wwn", wipes.DISK.wwn,
         "--size-bytes", str(wipes.DISK.size_bytes))  # fmt: skip
WISH = ("--reason", "disposal", "--text", "goes back to its maker", "--technician", "Dan", "--technique", "overwrite")


class HostSide:
    """An enrolled host: its agent's part, and the folder of its `leadglass-wipe`."""

    def __init__(self, folder: AgentFolder, beside: Path) -> None:
        self.folder, self.identity = folder, load_identity(folder)
        self.inside = Host.enrolled(folder, CentreKeys.new(bytes))
        self.out = beside / "out"
        self.out.mkdir()

    def exchange(self) -> list[bytes]:
        """Tell and ask once; return the tickets that lie there then."""
        doors = self.identity.config.doors
        door = HttpsDoor(doors.host, doors.https_port, verified_context(self.folder.ca, self.folder.tls))
        inbox = self.folder.path / "wipe-tickets"
        with contextlib.closing(door):
            WipePart(
                door, TicketInbox(inbox, self.inside.log), WipeOutbox(self.out), WipeStore(self.inside.database),
                host_id=self.identity.config.host_id, policy=lambda: dataclasses.replace(policy(), wipe=WIPE),
                journal=self.inside.journal, database=self.inside.database, clock=SystemClock(), log=self.inside.log,
                bell=Bell(),
            ).exchange()  # fmt: skip
        return [file.read_bytes() for file in inbox.glob("*.ticket")]

    def note(self, ticket: Ticket, seq: int, event: NoteEvent) -> None:
        told = WipeNote(ticket.ticket_id, seq, event, SystemClock().now(), "")
        (self.out / told.file_name).write_bytes(told.encode())

    def report(self, ticket: Ticket) -> Path:
        signed = sign_statement(self.identity.signer, Label.WIPE_REPORT, now(wipes.report_of(ticket), ticket).encode())
        file = self.out / f"{ticket.ticket_id}.report"
        file.write_bytes(signed)
        return file


def now(report: WipeReport, ticket: Ticket) -> WipeReport:
    """Return the report as of a wipe that began when its ticket was issued, and took a millionth of its time."""

    def at(moment: datetime) -> datetime:
        return ticket.issued + (moment - wipes.STARTED) / 1_000_000

    (step,), (check,) = report.steps, report.checks
    assert step.ended is not None
    assert check.ended is not None
    return dataclasses.replace(
        report,
        started=at(report.started),
        ended=at(report.ended),
        steps=(dataclasses.replace(step, started=at(step.started), ended=at(step.ended)),),
        checks=(dataclasses.replace(check, started=at(check.started), ended=at(check.ended)),),
    )


@pytest.fixture
def terminal(ada: Administrator) -> Terminal:
    ada.publish(YAML)
    return Terminal(ada)


@pytest.fixture
def technician(terminal: Terminal, tmp_path: Path) -> Terminal:
    """Return the terminal of somebody who may order and not approve, whose account is as old as ada's."""
    token = Accounts(terminal.ada.database, SystemClock()).create("Dan", "technician")
    ada = load_credential(Path(terminal.who[1]))
    store_credential(tmp_path / "dan.json", dataclasses.replace(ada, person="Dan", role="technician", token=token))
    dan = Terminal(terminal.ada)
    dan.who = ("--as", str(tmp_path / "dan.json"), *terminal.who[2:])
    return dan


def test_a_wipe_is_ordered_approved_done_and_proved(terminal: Terminal, technician: Terminal, tmp_path: Path) -> None:
    code = terminal.json("code", "--asset", "CT 2")["code"]
    host_id = enrolled(terminal, code, "CT 2")
    host = HostSide(AgentFolder(tmp_path / "CT 2"), tmp_path)
    ordered = technician.json("wipe", "order", "CT 2", *DRIVE, *WISH)
    order = ordered["order"]

    assert (ordered["state"], ordered["host"], ordered["approvals_needed"]) == ("requested", host_id, 1)
    assert host.exchange() == []
    assert technician.run("wipe", "approve", order, "--yes")[0] == 1, "who asked, and has no such role"
    unsure = terminal.run("wipe", "approve", order)
    assert (unsure[0], wipes.DISK.serial in unsure[2], "goes back" in unsure[2]) == (1, True, False)
    assert f"wipe approve {order}" in terminal.said("status")
    digest = unsure[2].partition("--digest ")[2].split()[0]
    other = terminal.run("wipe", "approve", order, "--yes", "--digest", digest[::-1])
    assert (other[0], "nothing was signed" in other[2]) == (1, True), "a centre may show one ticket and give another"
    assert terminal.json("wipe", "approve", order, "--yes", "--digest", digest)["state"] == "approved"

    (envelope,) = host.exchange()
    ticket = SignedTicket.parse(envelope).claimed
    assert (str(ticket.ticket_id), ticket.requester, ticket.person) == (order, "Dan", "Dan")
    for seq, event in enumerate((NoteEvent.ACCEPTED, NoteEvent.STARTED), 1):
        host.note(ticket, seq, event)
    host.exchange()
    assert technician.json("wipe", "show", order)["state"] == "running"
    assert technician.run("wipe", "cancel", order, "--reason", "no longer wanted")[0] == 1
    host.report(ticket)
    assert host.exchange() == []

    shown = technician.json("wipe", "show", order)
    assert (shown["state"], shown["detail"]) == ("verified", "cleared-verified")
    assert technician.said("wipe", "list").count(f"{order} verified") == 1
    assert technician.said("wipe", "list", "--host", "CT 2") == technician.said("wipe", "list", "--host", host_id)
    assert "wipe.judged" in terminal.said("audit", "tail")
    assert terminal.run("audit", "verify")[0] == 0

    made_now, later = tmp_path / "made", tmp_path / "later"
    assert "cleared-verified" in technician.said("wipe", "certify", order, "--location", "room 4", "--out", made_now)
    terminal.said("wipe", "certificate", order, "--out", later)
    for name in (f"wipe-{order}.json", f"wipe-{order}.pdf"):
        assert (later / name).read_bytes() == (made_now / name).read_bytes()
        assert verify(["certificate", str(later / name), "--ca", str(host.folder.ca)]) == 0
    said = terminal.said("wipe", "certificate", order, "--qr")
    codes = later / "codes.txt"
    codes.write_text("\n".join(line for line in said.splitlines() if line.startswith("LGW1:")))
    assert verify(["certificate", str(codes), "--ca", str(host.folder.ca)]) == 0
    assert technician.json("wipe", "show", order)["state"] == "certified"
    assert terminal.run("audit", "verify")[0] == 0


def done(host: HostSide, terminal: Terminal, technician: Terminal, *wish: str) -> tuple[str, Path]:
    """Order a wipe, approve it, have the host prove it; return its order and its certificate."""
    order = technician.json("wipe", "order", "CT 2", *DRIVE, *wish)["order"]
    terminal.said("wipe", "approve", order, "--yes")
    (envelope,) = host.exchange()
    host.report(SignedTicket.parse(envelope).claimed)
    host.exchange()
    folder = terminal.ada.folder / f"certificate-{order}"
    technician.said("wipe", "certify", order, "--out", folder)
    return order, folder / f"wipe-{order}.json"


def test_one_person_takes_a_host_out_of_service_on_the_certificate_of_its_wipe(
    terminal: Terminal, technician: Terminal, tmp_path: Path
) -> None:
    hosts = [enrolled(terminal, terminal.json("code", "--asset", asset)["code"], asset) for asset in ("CT 2", "CT 3")]
    host = HostSide(AgentFolder(tmp_path / "CT 2"), tmp_path)
    _, for_repair = done(host, terminal, technician, "--reason", "repair", *WISH[2:])
    order, certificate = done(host, terminal, technician, *WISH)
    other = ("--serial", "OTHER1", *DRIVE[2:], *WISH)
    begun = technician.json("wipe", "order", "CT 2", *other)["order"]
    terminal.said("wipe", "approve", begun, "--yes")
    (envelope,) = host.exchange()
    host.note(SignedTicket.parse(envelope).claimed, 1, NoteEvent.STARTED)
    host.exchange()
    code, _, errors = terminal.run("host", "decommission", hosts[0], "--certificate", certificate)
    assert (code, "OTHER1" in errors, f"order {begun}, which has no certificate" in errors) == (1, True, True)
    said = technician.said("wipe", "order", "CT 2", *other)
    instead = said.split()[0]
    assert f"WARNING    order {begun} of CT 2 is running, for the same drive" in said
    unsure = terminal.run("wipe", "approve", instead)
    assert (unsure[0], f"order {begun} of CT 2 is running" in unsure[2]) == (1, True)
    unsaid = terminal.run("wipe", "approve", instead, "--yes")
    assert (unsaid[0], f"{instead} is not the only one for its drive" in unsaid[2]) == (1, True)
    assert f"NOT THE ONLY ORDER FOR THIS DRIVE: {begun}" in terminal.said("wipe", "list", "--host", "CT 2")
    assert f"{begun} of CT 2 (running)" in terminal.said("status") or f"{instead} of CT 2" in terminal.said("status")
    terminal.said("wipe", "approve", instead, "--yes", "--beside", "it lies in pieces")
    technician.said("wipe", "destroyed", instead, "--witness", "Cai", "--means", "shredder HSM 3, H-5")
    forged = tmp_path / "forged.json"
    forged.write_bytes(certificate.read_bytes().replace(b'"reason":"disposal"', b'"reason":"return"'))

    for wrong, of in ((for_repair, hosts[0]), (certificate, hosts[1]), (forged, hosts[0])):
        assert terminal.run("host", "decommission", of, "--certificate", wrong)[0] == 1
    assert technician.run("host", "decommission", hosts[0], "--certificate", certificate)[0] == 1
    assert set(terminal.said("hosts", "list").split()) == set(hosts)
    assert "out of service" in terminal.said("host", "decommission", hosts[0], "--certificate", certificate)
    assert terminal.run("host", "decommission", hosts[0], "--certificate", certificate)[0] == 1
    assert terminal.said("hosts", "list").split() == [hosts[1]]
    assert technician.json("wipe", "show", order)["state"] == "certified"
    assert f"({hosts[0]}, decommissioned)" in terminal.said("wipe", "show", order)
    assert "by the certificate of a wipe" in terminal.said("audit", "tail")


def test_who_made_the_technician_s_account_lately_is_nobody_s_second_person(terminal: Terminal, tmp_path: Path) -> None:
    enrolled(terminal, terminal.json("code", "--asset", "CT 2")["code"], "CT 2")
    assert main(["policy", "key", "new", str(tmp_path / "eve"), "--name", "Eve"]) == 0
    credential = tmp_path / "eve.json"
    terminal.said("person", "add", "--key", tmp_path / "eve.pub", "--role", "technician", "--out", credential)
    eve = Terminal(terminal.ada)
    eve.who = ("--as", str(credential), *terminal.who[2:])
    order = eve.json("wipe", "order", "CT 2", *DRIVE, *WISH)["order"]

    code, _, errors = terminal.run("wipe", "approve", order, "--yes")
    assert (code, "Eve does not count as another person yet" in errors) == (1, True)
    assert eve.json("wipe", "show", order)["state"] == "requested"


def test_a_ticket_and_a_report_are_carried_to_and_from_a_host_without_a_network(
    terminal: Terminal, technician: Terminal, tmp_path: Path
) -> None:
    code = terminal.json("code", "--asset", "CT 2")["code"]
    enrolled(terminal, code, "CT 2")
    host = HostSide(AgentFolder(tmp_path / "CT 2"), tmp_path)
    order = technician.json("wipe", "order", "CT 2", *DRIVE, *WISH)["order"]
    file = tmp_path / "ticket"
    assert technician.run("wipe", "ticket", order, "--out", file)[0] == 1, "nobody has approved it"
    terminal.said("wipe", "approve", order, "--yes")
    technician.said("wipe", "ticket", order, "--out", file)
    drawn = technician.said("wipe", "ticket", order, "--qr")
    lines = [line for line in drawn.splitlines() if line.startswith("LGW1:")]
    assert from_lines(lines) == file.read_bytes()

    report = host.report(SignedTicket.parse(file.read_bytes()).claimed)
    terminal.said("host", "revoke", technician.json("wipe", "show", order)["host"], "--reason", "it was sold")
    altered = tmp_path / "altered"
    altered.write_bytes(report.read_bytes()[:-1] + b"\0")
    assert technician.run("wipe", "import", altered)[0] == 1
    large = tmp_path / "large"
    large.write_bytes(bytes(MAX_BYTES + 257))
    code, _, errors = technician.run("wipe", "import", large)
    assert (code, f"{large} is larger than any report" in errors) == (2, True)
    scanned = tmp_path / "scanned"
    scanned.write_text("\n".join(reversed(to_lines(report.read_bytes(), 480))))
    assert technician.json("wipe", "import", scanned)["state"] == "verified"
    assert technician.json("wipe", "import", report)["state"] == "verified"


def test_a_host_is_held_and_let_go_by_two(terminal: Terminal, technician: Terminal) -> None:
    code = terminal.json("code", "--asset", "CT 2")["code"]
    enrolled(terminal, code, "CT 2")
    order = technician.json("wipe", "order", "CT 2", *DRIVE, *WISH)["order"]
    assert technician.run("wipe", "hold", "CT 2", "--reason", "ransom note")[0] == 1
    terminal.said("wipe", "hold", "CT 2", "--reason", "ransom note")

    assert "CT 2" in technician.said("wipe", "holds")
    assert terminal.run("wipe", "approve", order, "--yes")[0] == 1
    assert technician.run("wipe", "order", "CT 2", *DRIVE, *WISH)[0] == 1
    code, _, errors = terminal.run("wipe", "lift", "CT 2", "--reason", "it was nothing")
    assert (code, "takes two persons" in errors) == (1, True)

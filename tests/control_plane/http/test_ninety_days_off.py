"""A host that was off for so long that its certificate ended: it asks by itself, and goes on once a person says so."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from control_plane.app import ControlPlane
from control_plane.enrolment.certified import bar
from control_plane.policy.authoring import load_credential
from control_plane.settings import Settings
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.lapsed import Asking, AskTurnedDown
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal, CertificateTurnedAway
from edge_agent.enrol.standing import read_standing
from edge_agent.https import HttpsDoor, verified_context
from shared.clock import SystemClock
from tests.control_plane.begun import begun
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

# TLS goes by the machine's own clock, and the server's certificate, of ninety days, has to be good at both ends.
OFF = timedelta(days=90) - timedelta(hours=2)
ENROLLED = SystemClock().now() - OFF


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock of both sides, which stands where it stood when the host was enrolled."""
    return FakeClock(ENROLLED)


@pytest.fixture
def door(tmp_path: Path, clock: FakeClock) -> Iterator[Open]:
    folders, made = begun(tmp_path, at=clock.now())
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    centre.start()
    try:
        yield Open(centre, folders, made, load_credential(made.credential), centre.addresses())
    finally:
        centre.stop()


class Machine:
    """The identity of a host, and the part of its agent that keeps it certified, as a start makes them."""

    def __init__(self, folder: AgentFolder, door: Open, clock: FakeClock) -> None:
        self.folder, self.door, self.clock = folder, door, clock
        self.opened: list[HttpsDoor] = []

    def start(self) -> CertificateRenewal:
        identity, log = load_identity(self.folder), MemoryLog()
        context, url = (
            verified_context(self.folder.ca, self.folder.tls),
            urlsplit(str(self.door.addresses["hosts_url"])),
        )
        self.at_the_door = HttpsDoor(url.hostname or "", url.port or 0, context)
        self.opened.append(self.at_the_door)
        return CertificateRenewal(
            self.at_the_door,
            self.folder,
            identity.keys,
            host_id=identity.config.host_id,
            asking=Asking(self.folder, identity, self.clock, log),
            present=identity.tls_certificate,
            root=PinnedRoot(
                self.folder.ca, identity.trust, fetch=lambda: b"", contexts=[context], log=log, note=lambda _: None
            ),
            contexts=[context],
            clock=self.clock,
            log=log,
        )

    @property
    def shown(self) -> str:
        """Return the fingerprint that `leadglass-agent status` shows."""
        return read_standing(None, self.folder).fingerprint


@pytest.fixture
def machine(door: Open, tmp_path: Path, clock: FakeClock) -> Iterator[Machine]:
    folder = AgentFolder(tmp_path / "agent")
    folder.path.mkdir()
    enrol(folder, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
    clock.advance(OFF)
    machine = Machine(folder, door, clock)
    yield machine
    for opened in machine.opened:
        opened.close()


def approve(door: Open, machine: Machine) -> int:
    host = load_identity(machine.folder).config.host_id
    body = json.dumps({"fingerprint": machine.shown}).encode()
    return door.signed_in("POST", f"/api/v1/hosts/{host}/approval", body).status


def status(door: Open) -> tuple[str, list[str]]:
    said = json.loads(door.signed_in("GET", "/api/v1/status").body)
    return said["hosts"][0]["standing"], said["not_evaluated"]


def test_ninety_days_off(door: Open, machine: Machine) -> None:
    """It asks over restarts with one key, a person compares that, and it is let in as the host that it was."""
    before, part = load_identity(machine.folder), machine.start()
    assert machine.at_the_door.says_expired()
    assert part.has_lapsed
    assert not part.regain()
    asked = machine.shown
    assert len(asked) == 19
    standing, not_proved = status(door)
    assert standing == "lapsed"
    assert any(asked in said for said in not_proved)

    restarted = machine.start()
    assert not restarted.regain()
    assert machine.shown == asked
    assert approve(door, machine) == 200
    assert restarted.regain()
    assert machine.at_the_door.get("/api/v1/policy/head").status == 404
    after = load_identity(machine.folder)
    assert (after.config, after.signer.public) == (before.config, before.signer.public)
    assert after.tls_certificate.not_valid_after_utc > SystemClock().now()
    assert machine.shown == ""
    assert status(door)[0] == "active"


def test_a_key_that_had_its_certificate_is_shown_no_more_and_keeps_no_host_out_later(
    door: Open, machine: Machine, clock: FakeClock
) -> None:
    """As where the agent was killed between the certificate and the end of its ask."""
    part = machine.start()
    part.regain()
    fresh = machine.folder.identity / "fresh.pem"
    asked, kept = machine.shown, fresh.read_bytes()
    approve(door, machine)
    assert part.regain()
    fresh.write_bytes(kept)
    assert machine.shown == ""

    with door.centre._database.begin() as session:
        bar(session, load_identity(machine.folder).config.host_id, clock.now())
    restarted = machine.start()
    restarted.turned_away()
    with pytest.raises(AskTurnedDown, match="a fresh one is needed"):
        restarted.regain()
    assert not restarted.regain()
    assert machine.shown not in {"", asked}
    assert approve(door, machine) == 200
    assert restarted.regain()


def test_a_host_that_nobody_approved_gets_nothing(door: Open, machine: Machine) -> None:
    """The control is `test_ninety_days_off`, where somebody did."""
    before = machine.folder.tls.read_bytes()
    part = machine.start()

    assert not any(part.regain() for _ in range(3))
    assert machine.folder.tls.read_bytes() == before
    assert machine.at_the_door.says_expired()


def test_a_host_that_was_revoked_while_it_was_off_gets_nothing(door: Open, machine: Machine) -> None:
    host = load_identity(machine.folder).config.host_id
    assert door.signed_in("POST", f"/api/v1/hosts/{host}/revocation", b'{"reason": "stolen"}').status == 201
    part = machine.start()

    with pytest.raises(AskTurnedDown):
        part.regain()
    assert approve(door, machine) == 409


def test_a_clock_that_is_behind_keeps_no_host_from_asking(door: Open, machine: Machine, clock: FakeClock) -> None:
    machine.clock = FakeClock(clock.now() - OFF + timedelta(days=6))
    part = machine.start()
    assert not part.has_lapsed

    with pytest.raises(CertificateTurnedAway):
        part.renew_if_due()
    part.turned_away()
    assert not part.regain()
    assert _asked(door) == machine.shown


def test_a_host_that_has_not_lapsed_renews_and_asks_no_more(door: Open, tmp_path: Path, clock: FakeClock) -> None:
    """A clock that is ahead, or a late answer about the certificate before, makes it ask once."""
    clock.advance(OFF)
    folder = AgentFolder(tmp_path / "agent")
    folder.path.mkdir()
    enrol(folder, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
    machine, before = Machine(folder, door, FakeClock(clock.now() + timedelta(days=8))), folder.tls.read_bytes()
    part = machine.start()
    part.turned_away()

    assert part.regain()
    assert folder.tls.read_bytes() != before
    assert machine.shown == ""
    assert not part._is_turned_away
    machine.at_the_door.close()


def _asked(door: Open) -> str:
    asks = json.loads(door.signed_in("GET", "/api/v1/hosts/asks").body)["asks"]
    return str(asks[0]["fingerprint"])

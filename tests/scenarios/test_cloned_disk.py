"""A disk image of a host is copied and both machines run: neither is believed until a person has decided."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from control_plane.app import ControlPlane
from control_plane.db.models import AuditRow
from control_plane.first_start import first_start
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, Settings
from edge_agent.agent import Agent
from edge_agent.agent import Settings as AgentSettings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.health.local import read_status
from provisioning.demo.processes import wait_until
from shared.audit.record import Action, Event, Happening, Outcome
from shared.clock import SystemClock
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.fakes.log import MemoryLog

_PATIENCE_S = 60


class ClockAhead:
    """The machine's clock, put forward: what tells a clone waits for a minute between two reports."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return SystemClock().now() + self._ahead

    def put_forward(self, by: timedelta) -> None:
        self._ahead += by


@pytest.fixture
def clock() -> ClockAhead:
    return ClockAhead()


@pytest.fixture
def door(tmp_path: Path, clock: ClockAhead) -> Iterator[Open]:
    folders = Folders(tmp_path / "data")
    made = first_start(
        folders, tmp_path / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
    )
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    centre.start()
    try:
        yield Open(centre, folders, made, load_credential(made.credential), centre.addresses())
    finally:
        centre.stop()


@contextmanager
def running(folder: AgentFolder, clock: ClockAhead) -> Iterator[Agent]:
    agent = Agent(AgentSettings(folder, Address("127.0.0.1", 0, "LEADGLASS")), clock, MemoryLog())
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        yield agent
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


class Ward:
    """The host, its copy, and what the centre says of them."""

    def __init__(self, door: Open, folder: Path) -> None:
        self.door = door
        self.original, self.copy = AgentFolder(folder / "original"), AgentFolder(folder / "copy")
        self.original.path.mkdir()
        enrol(self.original, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
        self.host = str(load_identity(self.original).config.host_id)

    def asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self.door.signed_in(method, path, data).body)

    def standing(self) -> str:
        return str(self.asked("GET", "/api/v1/status")["hosts"][0]["standing"])

    def doubt(self) -> str:
        return str(self.asked("GET", "/api/v1/status")["hosts"][0]["doubt"])

    def has_reported(self) -> bool:
        return self.asked("GET", "/api/v1/status")["hosts"][0]["last_seen"] is not None

    def records(self) -> int:
        """Return how many audit records of the host the centre holds."""
        with self.door.centre._database() as session:
            held = select(func.count()).select_from(AuditRow).where(AuditRow.source == self.host)
            return session.scalar(held) or 0

    def said(self, folder: AgentFolder) -> str:
        """Return what the centre said last, as `leadglass-agent status` shows it."""
        return read_status(folder).standing.said

    def shown(self, folder: AgentFolder) -> str:
        return read_status(folder).standing.fingerprint


def until(holds: Callable[[], bool]) -> None:
    assert wait_until(holds, _PATIENCE_S) is not None


def record(agent: Agent) -> None:
    """Have the agent record something that the centre then has not."""
    agent.journal.record(Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS))


def report(agent: Agent) -> None:
    agent._bells.report.ring()


@contextmanager
def both_running(ward: Ward, clock: ClockAhead) -> Iterator[tuple[Agent, Agent]]:
    """Two machines from one disk, which the centre has found out: the first one went on after the second had begun."""
    with running(ward.original, clock):
        until(lambda: ward.records() > 0)
    shutil.copytree(ward.original.path, ward.copy.path)
    with running(ward.original, clock) as first:
        until(lambda: ward.has_reported() and read_status(ward.original).audit_waiting == 0)
        with running(ward.copy, clock) as second:
            until(lambda: ward.doubt() == "restored")  # so far it could be one machine, put back
            clock.put_forward(timedelta(minutes=2))
            report(first)
            until(lambda: ward.standing() == "quarantined")
            yield first, second


def test_cloned_disk_image(door: Open, clock: ClockAhead, tmp_path: Path) -> None:
    """Both are quarantined and keep what they record; re-keyed, the approved one goes on and the copy gets nothing."""
    ward = Ward(door, tmp_path)
    with both_running(ward, clock) as machines:
        held = ward.records()
        for machine in machines:
            record(machine)
        until(lambda: {ward.said(ward.original), ward.said(ward.copy)} == {"quarantined"})
        assert ward.records() == held
        ward.asked("POST", f"/api/v1/hosts/{ward.host}/settle", {"reason": "a copied disk", "rekey": True})
        until(lambda: bool(ward.shown(ward.original) and ward.shown(ward.copy)))
        assert ward.shown(ward.original) != ward.shown(ward.copy)
        until(lambda: len(ward.asked("GET", "/api/v1/hosts/asks")["asks"]) == 2)
        assert ward.standing() == "lapsed"

        chosen = {"fingerprint": ward.shown(ward.original)}
        ward.asked("POST", f"/api/v1/hosts/{ward.host}/approval", chosen)
        until(lambda: not ward.shown(ward.original))
        until(lambda: ward.standing() == "active")
        until(lambda: ward.records() > held)
        assert ward.shown(ward.copy)
        certificates = [load_identity(folder).tls_certificate for folder in (ward.original, ward.copy)]
        assert certificates[0].not_valid_before_utc > certificates[1].not_valid_before_utc


def test_a_doubt_that_was_harmless_lets_the_host_go_on(door: Open, clock: ClockAhead, tmp_path: Path) -> None:
    """The control of `test_cloned_disk_image`: without the copy, a person's word alone ends the quarantine."""
    ward = Ward(door, tmp_path)
    with both_running(ward, clock):
        held = ward.records()
    with running(ward.original, clock):
        assert door.signed_in("POST", f"/api/v1/hosts/{ward.host}/settle", b'{"reason": "harmless"}').status == 200
        until(lambda: ward.records() > held)
        assert ward.standing() == "active"
    assert ward.said(ward.original) == ""

"""A disk image of a host is copied and both machines run: neither is believed until a person has decided."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pynetdicom import _config

from control_plane.app import ControlPlane
from control_plane.first_start import first_start
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, Settings
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.health.local import LocalStatus, read_status
from provisioning.demo.processes import wait_until
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.edge_agent.capture.images import Image, load
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.edge_agent.test_agent import send
from tests.scenarios.agent_ahead import ClockAhead
from tests.scenarios.desk import ONE_CT, run

__all__ = ["senders_close_their_sockets"]

_PATIENCE_S = 120
_IMAGES = [load(name) for name in ("CT_small.dcm", "MR_small.dcm")]


@pytest.fixture
def clock(tmp_path: Path) -> ClockAhead:
    file = tmp_path / "clock"
    file.write_text("0")
    return ClockAhead(file)


@pytest.fixture
def door(tmp_path: Path, clock: ClockAhead, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
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


@dataclass(frozen=True)
class Machine:
    """A disk with an agent's folder, and the process that runs on it."""

    folder: AgentFolder
    clock_file: Path

    @contextmanager
    def running(self) -> Iterator["Machine"]:
        self.ready_file.unlink(missing_ok=True)
        arguments = str(self.folder.path), str(self.ready_file), str(self.clock_file)
        program = f"from tests.scenarios.agent_ahead import main; main(*{arguments!r})"
        with subprocess.Popen([sys.executable, "-c", program]) as child:
            try:
                until(lambda: self.port is not None)
                yield self
            finally:
                child.terminate()
                child.wait(90)

    @property
    def ready_file(self) -> Path:
        return self.folder.path.with_suffix(".ready")

    @property
    def port(self) -> int | None:
        return json.loads(self.ready_file.read_bytes())["dicom_port"] if self.ready_file.exists() else None

    def take(self, image: Image) -> None:
        """Have a modality send an image to it, which it acknowledges whatever the centre thinks of it."""
        assert send(cast(Any, SimpleNamespace(listener=SimpleNamespace(port=self.port))), image) == 0

    @property
    def status(self) -> LocalStatus:
        """Return what `leadglass-agent status` shows there."""
        return read_status(self.folder)


class Ward:
    """A host with the copy of its disk, and the people who see what the centre says of it."""

    def __init__(self, door: Open, folder: Path, clock: ClockAhead) -> None:
        self.door, self.clock = door, clock
        original, copy = (AgentFolder(folder / name) for name in ("original", "copy"))
        self.original, self.copy = (Machine(one, folder / "clock") for one in (original, copy))
        policy = folder / "policy.yaml"
        policy.write_text(ONE_CT)
        who = ("--as", str(door.handed_over.credential), "--url", str(door.addresses["people_url"]))
        run("leadglass-server", "policy", "publish", str(policy), *who).succeeded()
        original.path.mkdir()
        enrol(original, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
        self.host = str(load_identity(original).config.host_id)

    @contextmanager
    def cloned(self) -> Iterator[None]:
        """Run both machines until the centre has found out: the first one goes on after the second has begun."""
        with self.original.running():
            self.original.take(_IMAGES[0])
            until(lambda: self.objects() == 1)
        shutil.copytree(self.original.folder.path, self.copy.folder.path)
        with self.original.running():
            until(lambda: self.original.status.audit_waiting == 0)
            with self.copy.running():
                until(lambda: self.shown()["doubt"] == "restored")  # so far it could be one machine, put back
                self.clock.put_forward(timedelta(minutes=2))
                until(lambda: self.shown()["standing"] == "quarantined")
                yield

    def asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self.door.signed_in(method, f"/api/v1/{path}", data).body)

    def shown(self) -> Any:
        return self.asked("GET", "status")["hosts"][0]

    def objects(self) -> int:
        return int(self.asked("GET", "status")["objects"]["count"])


def until(holds: Callable[[], bool]) -> None:
    assert wait_until(holds, _PATIENCE_S) is not None


@pytest.fixture
def ward(door: Open, tmp_path: Path, clock: ClockAhead) -> Ward:
    return Ward(door, tmp_path, clock)


def test_cloned_disk_image(ward: Ward) -> None:
    """Both are quarantined and keep what they take in; re-keyed, the approved one goes on and the copy gets nothing."""
    both = ward.original, ward.copy
    with ward.cloned():
        for machine in both:
            machine.take(_IMAGES[1])
        until(lambda: [machine.status.standing.said for machine in both] == ["quarantined"] * 2)
        assert (ward.objects(), [machine.status.waiting for machine in both]) == (1, [1, 1])

        ward.asked("POST", f"hosts/{ward.host}/settle", {"reason": "a copied disk", "rekey": True})
        until(lambda: len(ward.asked("GET", "hosts/asks")["asks"]) == 2)
        fingerprints = [machine.status.standing.fingerprint for machine in both]
        assert len(set(fingerprints)) == 2
        assert ward.shown()["standing"] == "lapsed"
        ward.asked("POST", f"hosts/{ward.host}/approval", {"fingerprint": fingerprints[0]})

        until(lambda: ward.objects() == 2)
        until(lambda: ward.original.status.waiting == 0)
        assert ward.shown()["standing"] == "active"
        assert ward.original.status.standing.fingerprint == ""
        assert (ward.copy.status.waiting, ward.copy.status.standing.fingerprint) == (1, fingerprints[1])


def test_a_doubt_that_was_harmless_lets_the_host_go_on(ward: Ward) -> None:
    """The control of `test_cloned_disk_image`: without the copy, a person's word alone ends the quarantine."""
    with ward.cloned():
        ward.original.take(_IMAGES[1])
    with ward.original.running():
        until(lambda: ward.original.status.standing.said == "quarantined")
        assert ward.objects() == 1

        ward.asked("POST", f"hosts/{ward.host}/settle", {"reason": "the copy is wiped"})
        until(lambda: ward.objects() == 2)
        until(lambda: ward.original.status.standing.said == "")
        assert ward.shown()["standing"] == "active"

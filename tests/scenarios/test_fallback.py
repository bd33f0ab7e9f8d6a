"""The agent is dead: the modality's fallback route works, and what took it is shown as unprotected. Real processes."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from provisioning.demo.processes import Child, Children, Ran, wait_until
from tests.control_plane.coverage.day import STATION, Image, series_of
from tests.fakes.orthanc import Orthanc, orthanc
from tests.fakes.ports import free_port
from tests.scenarios.desk import run

DAY = date(2026, 2, 27)
_POLICY = """\
layer: organisation
modalities:
  - ae_title: CT1
    description: CT, room 1.14
    station: {{modality: CT, station_name: {station}}}
coverage: {{calling_ae_title: LEADGLASS, ae_title: PACS, host: 127.0.0.1, port: {port}}}
grading: {{default: restricted}}
timings: {{state_every_s: 1, pull_every_s: 1}}
"""


@dataclass(frozen=True)
class Hospital:
    folder: Path
    url: str
    agent: Child
    dicom_port: int
    pacs: Orthanc

    def person(self, *command: str) -> Ran:
        credential = self.folder / "handover" / "credential-first-administrator.json"
        return run("leadglass-server", *command, "--as", str(credential), "--url", self.url)

    def status(self) -> Any:
        return json.loads(self.person("status", "--json").out)


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    ready, agent_ready = tmp_path / "ready.json", tmp_path / "agent.json"
    port, data, agent = free_port(), str(tmp_path / "data"), str(tmp_path / "agent")
    with orthanc(tmp_path / "pacs", ae_title="PACS") as pacs, Children(tmp_path) as children:
        doors = ("--host-port", "0", "--enrol-port", "0", "--people-port", "0", "--no-broker")
        centre = children.start(
            "leadglass-server", "run", "--data", data, "--handover", str(tmp_path / "handover"), *doors,
            "--ready-file", str(ready),
        )  # fmt: skip
        where = centre.wait_ready(ready, 60)
        inside = Hospital(tmp_path, where["people_url"], centre, port, pacs)
        policy = tmp_path / "policy.yaml"
        policy.write_text(_POLICY.format(station=STATION, port=pacs.dicom_port))
        inside.person("policy", "publish", str(policy)).succeeded()
        code = json.loads(inside.person("code", "--asset", "CT 2", "--json").out)["code"]
        enrol = ("enrol", "--data", agent, "--url", where["enrol_url"], "--asset", "CT 2", "--keys", "file")
        run("leadglass-agent", *enrol, text_in=code + "\n").succeeded()
        running = children.start(
            "leadglass-agent", "run", "--data", agent, "--dicom-port", str(port), "--ready-file", str(agent_ready)
        )
        running.wait_ready(agent_ready, 120)
        assert wait_until(lambda: inside.status()["hosts"][0]["state"] == "capturing", 120) is not None
        yield Hospital(tmp_path, where["people_url"], running, port, pacs)


def send(images: Sequence[Image], folder: Path, port: int, called: str) -> bool:
    """Send as a modality does; return whether all were stored."""
    program = shutil.which("storescu")
    if program is None:
        pytest.skip("storescu is not installed (Debian package dcmtk)")
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"{called}-{number}.dcm")
        files[-1].write_bytes(image.part10())
    command = [program, "-aet", "CT1", "-aec", called, "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, check=False, timeout=180).returncode == 0


def test_images_that_took_the_fallback_while_the_agent_was_dead_are_shown_as_unprotected(hospital: Hospital) -> None:
    before, meanwhile = series_of(DAY, 2), series_of(DAY, 3)
    assert send(before, hospital.folder, hospital.dicom_port, "LEADGLASS")
    assert send(before, hospital.folder, hospital.pacs.dicom_port, "PACS")
    assert wait_until(lambda: hospital.status()["objects"]["count"] == 2, 120) is not None
    assert hospital.person("coverage", "run", "--day", DAY.isoformat()).exit_code == 0

    os.kill(hospital.agent.pid, signal.SIGKILL)
    assert wait_until(lambda: not hospital.agent.is_running, 120) is not None

    # The modality sees that we are not there, and what it falls back to takes its images.
    assert not send(meanwhile, hospital.folder, hospital.dicom_port, "LEADGLASS")
    assert send(meanwhile, hospital.folder, hospital.pacs.dicom_port, "PACS")
    ran = hospital.person("coverage", "run", "--day", DAY.isoformat())
    assert (ran.exit_code, "2 protected, unprotected 3" in ran.out) == (1, True), ran.out
    which = ("coverage", "show", "--day", DAY.isoformat(), "--modality", "CT1", "--reason", "the agent was down")
    listed = json.loads(hospital.person(*which, "--json").out)
    assert set(listed["unprotected"]["instances"]) == {image.uid for image in meanwhile}
    assert f"coverage of CT1 on {DAY}: 3 images in PACS are not in the vault: unprotected" in hospital.person(
        "status"
    ).out.replace("not proved ", "")

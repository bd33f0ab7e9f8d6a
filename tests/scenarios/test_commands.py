"""An administrator tells a host what to do: signed at their own desk, done once, answered with what proves it."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from control_plane.fleet.broker import find_mosquitto
from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from edge_agent.export_folder.named import ExportFolder
from provisioning.demo.processes import wait_until
from shared.clock import SystemClock
from tests.edge_agent.capture.images import load
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.edge_agent.test_agent import send
from tests.fakes.log import MemoryLog
from tests.scenarios.desk import run
from tests.scenarios.test_moving_a_spool import Hospital, host_of, listening
from tests.threads import in_thread

__all__ = ["senders_close_their_sockets"]

_POLICY = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
  - {ae_title: US1, description: "ultrasound", export_folder: keep}
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def running(folder: AgentFolder, exports: Path) -> AbstractContextManager[Agent]:
    settings = Settings(
        folder, Address("127.0.0.1", 0, "LEADGLASS"), export_folders=(ExportFolder("US1", os.fsencode(exports)),)
    )
    return in_thread(Agent(settings, SystemClock(), MemoryLog()))


def told(hospital: Hospital, *command: str) -> dict[str, Any]:
    """Issue a command; return it with what became of it, once its host has answered."""
    (issued,) = hospital.person("command", *command)
    ended: list[dict[str, Any]] = []

    def has_ended() -> bool:
        ended[:] = hospital.person("commands", "--command", issued["command"])
        return bool(ended[0]["state"] != "waiting")

    assert wait_until(has_ended, 120, look_every_s=0.2) is not None
    return ended[0]


def test_a_host_does_what_it_is_told_and_proves_it(hospital: Hospital) -> None:
    exports = hospital.folder / "exports"
    exports.mkdir()
    (exports / "one").write_bytes(Path(load("CT_small.dcm").path).read_bytes())
    (exports / "two").write_bytes(b"no image")
    with hospital.centre():
        policy = hospital.folder / "policy.yaml"
        policy.write_text(_POLICY)
        hospital.person("policy", "publish", str(policy))
        folder = hospital.enrol("CT 2")
        host, before = host_of(folder), x509.load_pem_x509_certificate(folder.tls.read_bytes())
        with running(folder, exports) as agent:
            assert listening(agent)
            report = told(hospital, host, "diagnostics", "--argument", "events=50")
            rescan = told(hospital, host, "rescan", "--argument", "ae_title=US1")
            rotated = told(hospital, host, "rotate-certificate")
            isolated = told(hospital, host, "isolate", "--yes")
            closed = agent.listener.port
        after = x509.load_pem_x509_certificate(folder.tls.read_bytes())
        with running(folder, exports) as again:
            status = wait_until(lambda: hospital.person("status")["hosts"][0]["state"] == "isolated", 120)
            still_closed = again.listener.port
            rejoined = told(hospital, host, "rejoin")
            assert listening(again)
            assert send(again, load("CT_small.dcm")) == 0
        unsure = hospital.person("status")["not_evaluated"]
        audit = hospital.person("audit", "tail")

    assert (report["state"], report["facts"]["policy_in_force"], report["facts"]["isolated"]) == ("done", 1, False)
    assert any(event.endswith(" policy.accepted") for event in report["facts"]["events"])
    assert (rescan["state"], rescan["facts"]["files"]) == ("done", 2)
    assert (rotated["state"], rotated["facts"]["serial"]) == ("done", f"{after.serial_number:x}")
    assert rotated["facts"]["serial_before"] == f"{before.serial_number:x}"
    assert (isolated["state"], closed) == ("done", None)
    assert (status is not None, still_closed) == (True, None)
    assert rejoined["state"] == "done"
    assert not [gap for gap in unsure if "command" in gap]
    begun = [
        record for record in audit["records"] if record["event"] in ("fleet.command-issued", "fleet.command-begun")
    ]
    assert {tuple(who["name"] for who in record["who"]) for record in begun} == {("ada",), ("ada", "ada")}
    assert all(any(what["kind"] == "key" for what in record["what"]) for record in begun)
    seen = [record["event"] for record in audit["records"]]
    assert {"fleet.command-issued", "fleet.command-begun", "fleet.command-ended", "fleet.command-answered"} <= set(seen)


def test_without_a_word_that_it_is_meant_nobody_is_isolated(hospital: Hospital) -> None:
    with hospital.centre():
        who = ("--as", str(hospital.folder / "handover" / "credential-ada.json"), "--url", hospital.people_url)
        asked = run("leadglass-server", "command", "host-" + "0" * 32, "isolate", *who)

    assert asked.exit_code == 1
    assert "not protected until `rejoin`" in asked.err


@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_with_a_broker_a_host_hears_of_its_command_long_before_it_would_ask(hospital: Hospital) -> None:
    """It asks once an hour here; what there is in a minute it was told of."""
    exports = hospital.folder / "exports"
    exports.mkdir()
    with hospital.centre(with_broker=True):
        policy = hospital.folder / "policy.yaml"
        policy.write_text(_POLICY.replace("pull_every_s: 1", "pull_every_s: 3600"))
        hospital.person("policy", "publish", str(policy))
        folder = hospital.enrol("CT 2")
        with running(folder, exports) as agent:
            assert listening(agent)
            assert wait_until(lambda: hospital.person("status")["broker"]["state"] == "running", 120) is not None
            first = told(hospital, host_of(folder), "diagnostics")
            second = told(hospital, host_of(folder), "diagnostics")

    assert (first["state"], second["state"]) == ("done", "done")

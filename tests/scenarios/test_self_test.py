"""The end of a visit: a phantom goes the whole way and is compared at the centre, and what was found is handed over."""

import json
from pathlib import Path

import pytest
from pynetdicom import _config

from edge_agent.config import AgentFolder
from provisioning.demo.processes import wait_until
from provisioning.finding import Verdict
from provisioning.self_test.patience import Patience
from provisioning.self_test.run import Context, run
from provisioning.self_test.sending import AgentPort
from provisioning.step import Step
from shared.clock import SystemClock
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.edge_agent.test_agent import running, send
from tests.fakes.log import MemoryLog
from tests.scenarios.test_moving_a_spool import IMAGES, Hospital, listening

__all__ = ["senders_close_their_sockets"]

_POLICY = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
  - {ae_title: LEADGLASS-TEST, description: self-test, addresses: [127.0.0.1]}
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    return Hospital(tmp_path)


def verdicts(step: Step) -> dict[str, Verdict]:
    return {found.check: found.verdict for found in step.findings}


def test_a_visit_ends_with_a_phantom_compared_at_the_centre(hospital: Hospital) -> None:
    with hospital.centre():
        policy = hospital.folder / "policy.yaml"
        policy.write_text(_POLICY)
        hospital.person("policy", "publish", str(policy))
        folder = hospital.enrol("CT 2")
        with running(folder, MemoryLog()) as agent:
            assert listening(agent)
            context = Context(folder, AgentPort(port=agent.listener.port or 0), SystemClock(), patience=Patience(30))
            step = run(context)
            print(*step.findings, sep="\n")
            assert {c: v for c, v in verdicts(step).items() if v is not Verdict.PASS and c != "clock"} == {
                "inclusion-proof": Verdict.NOT_EVALUATED,
                "device-decided": Verdict.NOT_EVALUATED,
            }

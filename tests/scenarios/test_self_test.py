"""The end of a visit: a phantom goes the whole way and is compared at the centre, and what was found is handed over."""

import json
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from edge_agent.agent import Agent
from edge_agent.config import AgentFolder, load_identity
from edge_agent.https import DoorRefused
from provisioning import __main__ as provision
from provisioning.finding import Finding, Verdict
from provisioning.outcome import Outcome
from provisioning.self_test import sending
from provisioning.self_test.centre import connected
from provisioning.self_test.image import said_of
from provisioning.self_test.made import Phantom, make_phantom
from provisioning.self_test.patience import Patience
from provisioning.self_test.sending import AgentPort
from provisioning.verify import __main__ as verify
from shared.clock import SystemClock
from shared.identity import ObjectId
from shared.self_test.exchange import Comparison, SelfTestQuestion, sign_question
from tests.edge_agent.capture.images import load
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.edge_agent.test_agent import running, send
from tests.fakes.centre import Authority
from tests.fakes.log import MemoryLog
from tests.scenarios.test_moving_a_spool import Hospital, listening

__all__ = ["senders_close_their_sockets"]

PATIENT = load("CT_small.dcm")
_ADMITS = "  - {ae_title: LEADGLASS-TEST, description: self-test, addresses: [127.0.0.1]}\n"
_POLICY = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
ADMITSgrading:
  default: restricted
  rules: [{when: {calling_ae_title: [LEADGLASS-TEST]}, grade: restricted}]
timings: {state_every_s: 1, pull_every_s: 1}
"""


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    return Hospital(tmp_path)


def test_a_visit_ends_with_a_phantom_compared_at_the_centre(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    with hospital.centre():
        publish(hospital, "")
        folder = hospital.enrol("CT 2")
        with running(folder, MemoryLog()) as agent:
            assert listening(agent)
            before = self_tested_by_command(folder, agent, hospital.folder / "before.json", code=1)
            publish(hospital, _ADMITS)
            outcome = self_tested_by_command(folder, agent, hospital.folder / "after.json", code=0)
            refuses_what_is_no_phantom_of_the_asking_host(hospital, folder, agent)
            opened = events(hospital, "vault.self-test-compared")
            finds_what_was_altered(hospital, folder, agent)
            pdf = handed_over(hospital, folder, outcome, capsys)

    assert found(before, "phantom-admitted").verdict is Verdict.FAIL
    assert "ae_title: LEADGLASS-TEST" in found(before, "phantom-admitted").fix
    assert found(before, "phantom-opened").verdict is Verdict.NOT_EVALUATED
    # Whether anything keeps this machine's clock is not ours to say.
    rest = {one.check: one.verdict for one in outcome.findings if one.check != "clock"}
    assert {check for check, verdict in rest.items() if verdict is not Verdict.PASS} == {
        "device-decided",
    }
    assert [record["outcome"] for record in opened] == [0]
    proven_offline(hospital, folder, pdf, capsys)


def publish(hospital: Hospital, admits: str) -> None:
    policy = hospital.folder / "policy.yaml"
    policy.write_text(_POLICY.replace("ADMITS", admits))
    hospital.person("policy", "publish", str(policy))


def self_tested_by_command(folder: AgentFolder, agent: Agent, out: Path, *, code: int) -> Outcome:
    """Return what an engineer's command wrote down before it ended with `code`."""
    where = ("--data", str(folder.path), "--dicom-port", str(agent.listener.port), "--no-guard")
    assert provision.main(["self-test", *where, "--config", str(out.with_suffix(".toml")), "--out", str(out)]) == code
    return Outcome.parse(out.read_bytes())


def found(outcome: Outcome, check: str) -> Finding:
    return next(one for one in outcome.findings if one.check == check)


def events(hospital: Hospital, event: str) -> list[dict[str, Any]]:
    return [record for record in hospital.person("audit", "tail")["records"] if record["event"] == event]


def refuses_what_is_no_phantom_of_the_asking_host(hospital: Hospital, folder: AgentFolder, agent: Agent) -> None:
    """Ask about a patient's image, about one that says it is a self-test and is none, and as another host."""
    assert send(agent, PATIENT) == 0
    patients = captured(agent, PATIENT.sop_instance)
    unmarked = Phantom(
        "1.2.826.0.1.99", make_phantom(SystemClock().now()).dataset.replace(b"NO PATIENT", b"JOHN SMITH")
    )
    sending.send(unmarked, AgentPort(port=agent.listener.port or 0))
    theirs = captured(agent, unmarked.sop_instance_uid)
    other = hospital.enrol("CT 3")

    assert "another than LEADGLASS-TEST" in refused(folder, patients, PATIENT.dataset)
    assert "not marked" in refused(folder, theirs, unmarked.dataset)
    assert "of this host" in refused(other, theirs, unmarked.dataset)
    reasons = [record["reason"] for record in events(hospital, "vault.open-refused")]
    assert [reason.partition(":")[0] for reason in reasons] == ["NotOfThisHost", "NotAPhantom", "NotAPhantom"]


def finds_what_was_altered(hospital: Hospital, folder: AgentFolder, agent: Agent) -> None:
    """Ask whether a phantom is another one; then alter its body at the centre, and ask again."""
    made = make_phantom(SystemClock().now())
    sending.send(made, AgentPort(port=agent.listener.port or 0))
    object_id, identity = captured(agent, made.sop_instance_uid), load_identity(folder)
    question = SelfTestQuestion(identity.config.host_id, object_id, make_phantom(SystemClock().now()).sha256, bytes(32))
    signed = sign_question(question, identity.signer)
    with connected(folder, identity, SystemClock()) as centre:
        assert said_of(centre.compare(signed), question, signed, identity.trust).comparison is Comparison.DIFFERS
    assert events(hospital, "vault.self-test-compared")[0]["outcome"] == 8

    (body,) = (hospital.folder / "data").rglob(f"{object_id}.body")
    data = bytearray(body.read_bytes())
    data[len(data) // 2] ^= 1
    body.write_bytes(data)
    assert "status 422" in refused(folder, object_id, made.dataset)


def captured(agent: Agent, sop_instance_uid: str) -> ObjectId:
    """Return the object that an image became, once the vault has it and its record."""
    from shared.sealing.binding import hash_sop_instance

    key = load_identity(agent._settings.folder).config.sop_hash_key

    def delivered() -> ObjectId | None:
        instances = agent.captures.claims._instances.of(hash_sop_instance(key, sop_instance_uid))
        done = instances and agent.captures.receipts.holds(instances[0].object_id) and not agent.journal.waiting()
        return instances[0].object_id if done else None

    object_id = Patience(120).until(delivered)
    assert object_id is not None
    return object_id


def refused(folder: AgentFolder, object_id: ObjectId, dataset: bytes) -> str:
    """Return in which words the centre refuses to compare."""
    identity = load_identity(folder)
    phantom = Phantom("", dataset)
    question = SelfTestQuestion(identity.config.host_id, object_id, phantom.sha256, bytes(32))
    with connected(folder, identity, SystemClock()) as centre, pytest.raises(DoorRefused) as said:
        centre.compare(sign_question(question, identity.signer))
    return str(said.value)


def handed_over(hospital: Hospital, folder: AgentFolder, outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the PDF that the command wrote, with the signed file beside it."""
    given, out = hospital.folder / "self-test.json", hospital.folder / "report"
    given.write_bytes(outcome.encode())
    persons = ("--engineer", "王小明", "--received-by", "Ada")
    places = ("--data", str(folder.path), "--out", str(out), "--guard-socket", str(hospital.folder / "none"))
    assert provision.main(["hand-over", "--found", str(given), *places, *persons]) == 0
    (pdf,) = out.glob("*.pdf")
    assert f"{pdf}\n" in capsys.readouterr().out
    return pdf


def proven_offline(hospital: Hospital, folder: AgentFolder, pdf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check file and PDF with the centre gone, under the root that the host pinned and under another."""
    other = hospital.folder / "other.pem"
    other.write_bytes(Authority().pem)
    for file in (pdf, pdf.with_suffix(".json")):
        assert verify.main(["hand-over", str(file), "--root", str(folder.ca), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        states = {check["check"]: check["state"] for check in said["checks"]}
        assert states["the centre opened the phantom"] == "passed"
        assert "not evaluated" in said["conclusion"]
        assert verify.main(["hand-over", str(file), "--root", str(other)]) == 1
        assert "NOT PROVEN" in capsys.readouterr().out

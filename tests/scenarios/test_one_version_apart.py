"""Host and control plane one minor version apart, either way: what the newer one says that the other does not know."""

import json
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from provisioning.verify.audit_export import ChainState, judge_export
from shared import canonical
from shared.audit.batch import ChainHead
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord, StoredRecord
from shared.enrolment.chain import Trust
from shared.errors import Malformed
from shared.fleet.state import HostState
from tests.control_plane.vault.bench import Bench
from tests.faults.agent import AGENT, running
from tests.faults.conftest import centre, enrolled  # noqa: F401
from tests.faults.evidence import verify_all
from tests.faults.modality import Modality, images
from tests.faults.vault import Vault

_PERSON = "A. Auditor"


def test_what_a_newer_host_records_is_held_verified_and_shown_by_the_name_it_has(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "centre")
    host = bench.enrol()
    host.note()
    newer = json.loads(AuditRecord.parse(host.journal[0].public).encode())
    newer |= {"event": "capture.dose-checked", "code": "110107", "seq": 2, "prev": host.head.leaf.hex()}
    stored = StoredRecord(canonical.encode(newer | {"private": None}), None)
    host.journal.append(stored)
    host.head = ChainHead(2, stored.leaf)
    host.note()

    assert host.deliver(1, 3) == 3

    source = str(host.host_id)
    assert bench.reading.verify(_PERSON)[source].state == "verified"
    shown = bench.reading.records(_PERSON, source, after=0, limit=9)
    assert [one["event"] for one in shown] == ["agent.started", "capture.dose-checked", "agent.started"]
    outside = judge_export(bench.reading.export(_PERSON), Trust((bench.ca.root,)))
    assert {one.source: one.state for one in outside.sources}[source] is ChainState.VERIFIED
    assert not [event for event in bench.events() if event is Event.AUDIT_REFUSED]


def test_a_host_goes_on_capturing_under_a_centre_that_says_more_than_it_knows(
    centre: Vault,  # noqa: F811
    enrolled: AgentFolder,  # noqa: F811
) -> None:
    centre.reads = "dose, budget, something-else"
    policy = json.loads(centre.policy(2).encode())
    head, layer = centre.signers.publish(canonical.encode({**policy, "dose_limits": {"CT1": 5}}), 2)
    modality = Modality(images(6))

    with running(enrolled, module=AGENT) as agent:
        agent.port()
        agent.terminate()
    centre.head, centre.layer = head.encode(), layer.encode()
    with running(enrolled, module=AGENT) as agent:
        centre.wait_for(lambda: any(state.policy_error for state in centre.states), 60)
        modality.send(agent.port())
        agent.wait_until_idle()

    # It acts by the policy that it understands, says which one it does not and why, and takes every image.
    said = next(state for state in reversed(centre.states) if state.policy_error)
    assert "dose_limits" in said.policy_error
    assert (said.policy_in_force, said.listening) == (1, True)
    assert len(modality.acknowledged) == len(modality.sent) == 6
    verify_all(centre, enrolled.path, modality)
    refused = [record for record in map(AuditRecord.parse, (one.public for one in centre.audit))
               if record.event is Event.POLICY_REFUSED]  # fmt: skip
    assert refused
    assert refused[0].outcome is not Outcome.SUCCESS


def test_the_control_a_report_that_says_more_than_its_reader_knows_is_refused_so_it_is_asked_first(
    centre: Vault,  # noqa: F811
) -> None:
    """Why a host writes a new member only where the centre's answers name it."""
    from tests.shared.fleet.test_state_and_receipt import STATE

    known = json.loads(STATE.encode())
    assert HostState.parse(canonical.encode(known)) == STATE

    with pytest.raises(Malformed, match="unknown field 'dose'"):
        HostState.parse(canonical.encode({**known, "dose": {}}))

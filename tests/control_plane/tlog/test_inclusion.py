"""A host asks where its own record is in the centre's Merkle log, and believes nothing but what is proved."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import load_identity
from shared.audit.batch import sign_batch
from shared.audit.centre_key import NotTheCentresKey
from shared.audit.record import GENESIS, Action, Event, Happening, Outcome, StoredRecord, compose
from shared.audit.tlog.exchange import PATH, InclusionAnswer, InclusionQuestion
from shared.audit.tlog.log_key import offered_key
from shared.audit.tlog.proof_text import ProofText, verify_inclusion
from shared.audit.tlog.proofs import ProofWrong
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.fakes.centre import Authority


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


def delivered(host: Host) -> StoredRecord:
    identity, happening = load_identity(host.folder), Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
    stored = compose(
        happening, source=str(host.host_id), seq=1, prev=GENESIS, time=host.clock.now(),
        salt=secrets.token_bytes(32), key=None,
    )  # fmt: skip
    batch = sign_batch(str(host.host_id), GENESIS, [stored], identity.signer).encode()
    assert host._doors[0].post("/api/v1/audit/batches", batch, "application/json").status == 200
    return stored


def test_a_host_gets_a_proof_of_its_own_records_alone_that_leads_to_the_authority(ward: Ward) -> None:
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    stored, trust = delivered(a), load_identity(a.folder).trust

    def ask(host: Host, leaf: bytes) -> tuple[int, bytes]:
        answer = host._doors[0].post(PATH, InclusionQuestion(leaf).encode(), "application/json")
        return answer.status, answer.body

    status, body = ask(a, stored.leaf)
    assert status == 200, body
    proof = InclusionAnswer.parse(body).proof
    key = offered_key(ProofText.parse(proof).extra, trust)
    included = verify_inclusion(proof, stored.leaf, [key])
    assert included.head.size > included.index > 0
    with pytest.raises(ProofWrong):
        verify_inclusion(proof, bytes(32), [key])
    with pytest.raises(NotTheCentresKey):
        offered_key(ProofText.parse(proof).extra, Authority().trust)

    assert ask(a, bytes(32))[0] == 404
    assert ask(b, stored.leaf)[0] == 404
    ward.revoke(a)
    assert ask(a, stored.leaf)[0] == 403
    assert b._doors[0].post(PATH, b"{}", "application/json").status == 422

"""A host asks where its own record is in the centre's Merkle log, and believes nothing but what is proved."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.__main__ import main as server
from edge_agent.config import load_identity
from provisioning.verify.__main__ import main as verify
from shared.audit.batch import sign_batch
from shared.audit.centre_key import NotTheCentresKey
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import GENESIS, StoredRecord, compose
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
    stored, status = sent(host)
    assert status == 200
    return stored


def sent(host: Host) -> tuple[StoredRecord, int]:
    """Send a first record of `host`, and return it with the answer's status."""
    identity, happening = load_identity(host.folder), Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
    stored = compose(
        happening, source=str(host.host_id), seq=1, prev=GENESIS, time=host.clock.now(),
        salt=secrets.token_bytes(32), key=None,
    )  # fmt: skip
    batch = sign_batch(str(host.host_id), GENESIS, [stored], identity.signer).encode()
    return stored, host._doors[0].post("/api/v1/audit/batches", batch, "application/json").status


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


def test_a_person_takes_away_a_checkpoint_a_proof_and_all_of_the_log(ward: Ward, tmp_path: Path) -> None:
    def person(*command: object) -> int:
        url = str(ward.door.addresses["people_url"])
        return server([*map(str, command), "--as", str(ward.made.credential), "--url", url])

    host = ward.enrol("CT A")
    delivered(host)
    ca, kept = tmp_path / "ca.pem", tmp_path / "kept"
    ca.write_bytes(load_identity(host.folder).trust.pem())
    assert person("audit", "checkpoint", "--out", kept) == 0
    assert person("audit", "proof", "--record", host.host_id, 1, "--out", tmp_path / "one") == 0
    assert person("audit", "proof", "--record", host.host_id, "one", "--out", tmp_path / "none") != 0
    assert person("audit", "tiles", "--out", tmp_path / "all") == 0
    assert person("audit", "verify", "--kept", kept) == 0

    assert verify(["log", str(tmp_path / "all"), "--ca", str(ca), "--kept", str(kept)]) == 0
    proof, record = tmp_path / "one.tlog-proof", tmp_path / "one.json"
    assert verify(["log", str(proof), "--record", str(record), "--ca", str(ca)]) == 0
    assert ward.people("GET", "/api/v1/log/tile/0/005").status == 404
    assert ward.people("GET", "/api/v1/log/tile/0/5").status == 400
    read = ward.people("GET", "/api/v1/audit/records").body.decode()
    for what in ("checkpoint", f"proof of record 1 of {host.host_id}", "tile/entries/000", "key of checkpoints"):
        assert what in read

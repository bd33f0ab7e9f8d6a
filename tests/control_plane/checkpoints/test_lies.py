"""A host brings what the centre never signed: it is answered as everybody is, and stops nothing."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.checkpoints import guard
from control_plane.db.models import AuditStatement
from shared.audit.batch import Statement
from shared.audit.checkpoint import Checkpoint, CheckpointAnswer, CheckpointQuestion, verify_checkpoint
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, SoftwareSigner, sign_statement, signing_key_id
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.control_plane.witnesses.logs import OtherLog

FAR = Checkpoint(10**6, bytes(32))


def stated(signer: EvidenceSigner, source: str = CONTROL_PLANE, label: Label = Label.AUDIT_BATCH) -> bytes:
    return sign_statement(signer, label, Statement(source, FAR.seq, FAR.seq, bytes(32), FAR.leaf).encode())


def bring(host: Host, signed: bytes) -> None:
    host.store.keep(FAR, signed)
    host.witness.ask()


def refusals(ward: Ward) -> list[dict[str, object]]:
    records = json.loads(ward.people("GET", "/api/v1/audit/records").body)["records"]
    return [record for record in records if record["event"] == "log.checkpoint-refused"]


@pytest.mark.parametrize("lie", ["signed by the host", "signed by the centre as something else", "bits flipped"])
def test_a_forged_checkpoint_stops_nothing_and_is_recorded_once(ward: Ward, lie: str) -> None:
    b = ward.enrol("CT B")
    own = ward.door.centre._keys.signer("evidence/journal/1")
    b.witness.ask()
    held = b.store.held().signed
    assert held is not None
    forged = {
        "signed by the host": stated(SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))),
        "signed by the centre as something else": stated(own, label=Label.RECEIPT),
        "bits flipped": held[:-1] + bytes([held[-1] ^ 1]),
    }[lie]
    bring(b, forged)
    bring(b, forged)

    b.renewal.renew()
    assert "saw number" not in ward.gaps()
    assert len(refusals(ward)) == 1


def test_a_checkpoint_that_the_centre_did_sign_stops_it(ward: Ward) -> None:
    """Keep this as the control: the very same words under the journal's key."""
    b = ward.enrol("CT B")
    bring(b, stated(ward.door.centre._keys.signer("evidence/journal/1")))

    assert f"{b.host_id} saw number {FAR.seq}" in ward.gaps()


def test_a_forged_checkpoint_stops_a_centre_that_believes_hosts(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what ignores the lie is the signature."""

    def believing(signed: bytes, _key: EvidencePublicKey) -> Checkpoint:
        return FAR if signing_key_id(signed) != own.public.key_id else verify_checkpoint(signed, own.public)

    own = ward.door.centre._keys.signer("evidence/journal/1")
    b = ward.enrol("CT B")
    monkeypatch.setattr(guard, "verify_checkpoint", believing)
    bring(b, stated(SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))))

    assert "saw number" in ward.gaps()


def test_a_checkpoint_of_a_hosts_log_is_none_of_the_centres(ward: Ward) -> None:
    b = ward.enrol("CT B")
    bring(b, stated(ward.door.centre._keys.signer("evidence/journal/1"), source=str(b.host_id)))

    assert "saw number" not in ward.gaps()


def test_a_head_of_another_log_takes_nothing_from_the_numbers_beside_it(ward: Ward) -> None:
    """A log with a new key knows no head that hosts keep; what it lost of its own numbers is found all the same."""
    b = ward.enrol("CT B")
    b.witness.ask()
    b.store.keep(FAR, stated(ward.door.centre._keys.signer("evidence/journal/1")))
    b.store.keep_head(OtherLog().checkpoint(5))
    b.witness.ask()

    assert f"{b.host_id} saw number {FAR.seq}" in ward.gaps()
    assert len(refusals(ward)) == 1


def test_a_host_of_the_version_before_is_answered_in_its_own(ward: Ward) -> None:
    b = ward.enrol("CT B")
    body = b._doors[1].post("/api/v1/log/checkpoint", CheckpointQuestion(None).encode(), "application/json").body

    assert CheckpointAnswer.parse(body).at_seen is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"seen":"AAAA","v":1}', b'{"seen":null,"v":2}', b"[" * 9000])
def test_what_is_no_question_is_refused(ward: Ward, body: bytes) -> None:
    b = ward.enrol("CT B")
    answer = b._doors[1].post("/api/v1/log/checkpoint", body, "application/json")

    assert answer.status in (413, 422)


def test_the_exchange_is_for_hosts_alone_and_not_for_one_that_is_revoked(ward: Ward) -> None:
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    ward.revoke(a)
    asked = CheckpointQuestion(None).encode()
    statuses = [host._doors[1].post("/api/v1/log/checkpoint", asked, "application/json").status for host in (a, b)]

    assert statuses == [403, 200]


def test_a_mark_that_is_not_of_this_log_is_said_and_left_for_whoever_looks_into_it(ward: Ward) -> None:
    b, forged = ward.enrol("CT B"), stated(SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    for content in (b"junk", forged):
        ward.folders.log_mark.write_bytes(content)
        ward.door.centre._log.look()

        assert "the mark beside the root key is not of this log" in ward.gaps()
        assert ward.folders.log_mark.read_bytes() == content
    b.renewal.renew()


def test_a_mark_that_cannot_be_read_is_said(ward: Ward) -> None:
    ward.folders.log_mark.unlink()
    ward.folders.log_mark.mkdir()
    ward.door.centre._log.look()

    assert "the mark beside the root key: " in ward.gaps()
    assert "cannot be read or written" in ward.gaps()


def test_a_statement_that_somebody_wrote_into_the_log_does_not_become_the_mark(ward: Ward) -> None:
    ward.door.centre._log.look()  # or its own job would move the mark up to what stands there now
    before = ward.folders.log_mark.read_bytes()
    forged = stated(SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    row = AuditStatement(source=CONTROL_PLANE, first=FAR.seq, last=FAR.seq, statement=forged)
    with ward.door.centre._database.begin() as session:
        session.add(row)
    ward.door.centre._log.look()

    assert "its newest statement does not hold" in ward.gaps()
    assert ward.folders.log_mark.read_bytes() == before
    with ward.door.centre._database.begin() as session:
        session.delete(row)

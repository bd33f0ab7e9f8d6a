"""A host that was enrolled after the copy of the database that was put back: its images get in, a forger's do not."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.enrolment.authority import Kind
from edge_agent.config import load_identity
from edge_agent.enrol.claiming import write_claim
from shared.audit.batch import sign_batch
from shared.audit.record import GENESIS, Action, Event, Happening, Outcome, compose
from shared.enrolment.claim import ClaimFile, HostClaim, sign_claim
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing.binding import Binding
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import SoftwareSigner
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.control_plane.http.conftest import Answer
from tests.control_plane.vault.bench import ENTRY, GRADE, TRANSFER_SYNTAX
from tests.fakes.centre import Authority
from tests.fakes.clock import FakeClock

REASON = "it was enrolled on Tuesday, and the disk broke on Wednesday"
MACHINE = (bytes(31) + b"\x07",)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


class Restored:
    """A centre that has a copy from before `late` was enrolled, and two administrators."""

    def __init__(self, ward: Ward) -> None:
        self.ward, self.ben = ward, ward.door.centre._accounts.create("ben", "administrator")
        copied = ward.copy()
        self.late = ward.enrol("CT late")
        self.image = self._captured()
        self.claim = ward.folder / "late.claim"
        write_claim(self.late.folder, MACHINE, ward.clock.now(), self.claim)
        ward.restore(copied, with_mark=True, with_list=True)

    def accept(self) -> None:
        assert self.ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke"}).status == 200

    def offer(self, claim: bytes) -> Answer:
        body: dict[str, object] = {"claim": base64.b64encode(claim).decode(), "reason": REASON[:60]}
        return self.ward.people("POST", "/api/v1/hosts/take-back", body)

    def approve(self, request: str, token: str = "") -> int:
        headers = {"Authorization": f"Bearer {token or self.ben}", "Content-Type": "application/json"}
        return self.ward.door.people("POST", f"/api/v1/requests/{request}/approve", b"{}", **headers).status

    def delivers_its_image(self) -> int:
        object_id, sealed = self.image
        return self.late._doors[0].put_file(f"/api/v1/objects/{object_id}", io.BytesIO(sealed), len(sealed)).status

    def _captured(self) -> tuple[ObjectId, bytes]:
        keys = {(one.purpose, one.grade): one.key for one in self.ward.door.centre._keys.sealing_keys()}
        out, binding = io.BytesIO(), Binding(ObjectId.new(), self.late.host_id, bytes(32), TRANSFER_SYNTAX)
        sealer = ObjectSealer(StreamSink(out), binding)
        sealer.update(b"image" * 50)
        wraps = keys[KeyPurpose.DATA, GRADE], keys[KeyPurpose.INDEX, ""]
        sealing = Sealing(GRADE, *wraps, 1, self.ward.clock.now())
        sealer.finish(sealing, ENTRY, load_identity(self.late.folder).signer)
        return binding.object_id, out.getvalue()

    def delivers(self) -> int:
        """Return how the host door answers what this host captured and recorded and could not deliver before."""
        signer, host = load_identity(self.late.folder).signer, str(self.late.host_id)
        happening = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
        now = self.ward.clock.now()
        record = compose(happening, source=host, seq=1, prev=GENESIS, time=now, salt=bytes(32), key=None)
        batch = sign_batch(host, GENESIS, [record], signer).encode()
        self.late.hang_up()
        return self.late._doors[0].post("/api/v1/audit/batches", batch, "application/octet-stream").status


def test_a_host_enrolled_after_the_copy_delivers_once_two_persons_have_said_so(ward: Ward) -> None:
    restored = Restored(ward)
    assert restored.delivers() == 403
    restored.late.witness.ask()
    restored.accept()

    asked = json.loads(restored.offer(restored.claim.read_bytes()).body)
    assert (asked["subject"], asked["asked_by"]) == (str(restored.late.host_id), "ada")
    assert asked["reason"].startswith("CT late, no further layers: ")
    assert restored.delivers() == 403
    assert restored.approve(asked["request"], ward.door.credential.token) == 409  # who asked
    assert restored.delivers() == 403
    assert restored.approve(asked["request"]) == 200

    assert restored.delivers() == 200
    assert restored.delivers_its_image() == 200
    restored.late.report(1)
    hosts = json.loads(ward.people("GET", "/api/v1/status").body)["hosts"]
    (shown,) = [one for one in hosts if one["host"] == str(restored.late.host_id)]
    assert (shown["asset"], shown["standing"]) == ("CT late", "active")
    verdicts = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)
    assert verdicts["certificates"]["state"] == "verified", verdicts
    assert restored.offer(restored.claim.read_bytes()).status == 409  # it is known


def test_what_was_forged_is_taken_for_nobody(ward: Ward) -> None:
    before = ward.enrol("CT before")
    restored = Restored(ward)
    restored.late.witness.ask()
    restored.accept()
    genuine = ClaimFile.parse(restored.claim.read_bytes())
    identity = load_identity(restored.late.folder)
    said = HostClaim(restored.late.host_id, "CT late", (), MACHINE, ward.clock.now())
    mallory = ec.generate_private_key(ec.SECP256R1())

    for forged, why in (
        (replace(genuine, signed=sign_claim(said, SoftwareSigner(mallory), "").signed), "of another key"),
        (sign_claim(replace(said, host_id=HostId.new()), identity.signer, genuine.evidence_certificate), "another id"),
        (sign_claim(said, SoftwareSigner(mallory), foreign(mallory, said.host_id)), "of another authority"),
        (sign_claim(said, identity.signer, identity.tls.decode().partition("-----BEGIN PRIV")[0]), "of TLS"),
        (ClaimFile.parse(claim_of(before, ward)), "of a host that is known"),
        (issued_now(ward, mallory, said), "of a time of which nothing is lost"),
    ):
        answer = restored.offer(forged.encode())
        assert answer.status in (409, 422), (why, answer.body)
    assert restored.offer(b"{}").status == 400
    assert json.loads(ward.people("GET", "/api/v1/requests").body)["requests"] == []
    assert restored.delivers() == 403
    assert restored.offer(restored.claim.read_bytes()).status == 202  # control


def claim_of(host: Host, ward: Ward) -> bytes:
    out = ward.folder / f"{host.host_id}.claim"
    write_claim(host.folder, MACHINE, ward.clock.now(), out)
    return out.read_bytes()


def foreign(key: ec.EllipticCurvePrivateKey, host_id: HostId) -> str:
    return Authority().issue(str(host_id), "evidence", key.public_key()).decode()


def issued_now(ward: Ward, key: ec.EllipticCurvePrivateKey, said: HostClaim) -> ClaimFile:
    """Return a claim with a certificate that the authority's key made after what is lost was found."""
    forged, authority = replace(said, host_id=HostId.new()), ward.door.centre._ca
    later = FakeClock(ward.clock.now() + timedelta(hours=1))
    with ward.door.centre._database() as session:
        made = replace(authority, clock=later)
        pem = made.issue(session, Kind.EVIDENCE, str(forged.host_id), key.public_key())
        session.rollback()
    return sign_claim(forged, SoftwareSigner(key), pem)


def test_a_host_that_was_revoked_within_the_loss_is_not_taken_back(ward: Ward) -> None:
    ben = ward.door.centre._accounts.create("ben", "administrator")
    copied = ward.copy()
    late = ward.enrol("CT late")
    claim = claim_of(late, ward)
    ward.revoke(late)
    ward.restore(copied, with_mark=True, with_list=True)
    restored = Restored.__new__(Restored)
    restored.ward, restored.ben, restored.late = ward, ben, late
    restored.accept()

    refused = restored.offer(claim)
    assert (refused.status, b"it was revoked since" in refused.body) == (409, True)

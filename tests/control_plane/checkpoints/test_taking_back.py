"""A host that was enrolled after the copy of the database that was put back: its images get in, a forger's do not."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.backup.restored import RESTORED, RestoreSettling
from control_plane.backup.restored import Restored as Backup
from control_plane.db.models import Fact
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.taking_back import TAKE_BACK, said_of
from edge_agent.config import load_identity
from edge_agent.enrol.claiming import Claiming, write_claim
from edge_agent.enrol.lapsed import AskTurnedDown
from shared.audit.batch import sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import GENESIS, compose
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
from tests.fakes.log import MemoryLog

REASON = "it was enrolled on Tuesday, and the disk broke on Wednesday"
MACHINE = (bytes(31) + b"\x07",)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


class Restored:
    """A centre that has a copy from before `late` was enrolled, and two administrators, or one who is `alone`."""

    def __init__(self, ward: Ward, *, alone: bool = False) -> None:
        self.ward = ward
        self.ben = "" if alone else ward.door.centre._accounts.create("ben", "administrator")
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

    def shows_itself(self) -> bool:
        """Have the host tell the enrolment door who it is, as its agent does when it hears that it is unknown."""
        clock, identity = self.ward.clock, load_identity(self.late.folder)
        return Claiming(self.late.folder, identity, lambda: MACHINE, clock, MemoryLog()).show()

    def take_back(self) -> Answer:
        body: dict[str, object] = {"host": str(self.late.host_id), "reason": REASON[:60]}
        return self.ward.people("POST", "/api/v1/hosts/take-back", body)

    def records(self, event: Event) -> int:
        answer = self.ward.people("GET", "/api/v1/audit/records?source=control-plane&limit=1000")
        return sum(record["event"] == event.value for record in json.loads(answer.body)["records"])

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


def test_a_host_that_the_log_lost_is_named_by_its_own_word_and_delivers_once_it_was_taken_back(ward: Ward) -> None:
    restored = Restored(ward)
    name = str(restored.late.host_id)
    assert restored.delivers() == 403
    assert restored.take_back().status == 409  # nothing was shown yet
    restored.late.witness.ask()

    assert restored.shows_itself()
    assert restored.shows_itself()
    assert f"CT late: a machine shows that it is {name}" in ward.gaps()
    ward.folders.revoked.mkdir()
    assert "a machine shows" not in ward.gaps()  # whether it was revoked cannot be told; the status goes on
    ward.folders.revoked.rmdir()
    (shown,) = json.loads(ward.people("GET", "/api/v1/hosts/asks").body)["claims"]
    assert (shown["host"], shown["asset"], shown["layers"]) == (name, "CT late", [])
    assert restored.records(Event.HOST_ASKED) == 1  # what it repeats is no news
    restored.accept()
    asked = json.loads(restored.take_back().body)
    assert (asked["subject"], asked["done"]) == (name, False)
    assert restored.delivers() == 403  # until another person approves it
    assert restored.approve(asked["request"]) == 200

    assert restored.delivers() == 200
    assert restored.delivers_its_image() == 200
    assert "a machine shows" not in ward.gaps()
    assert not restored.shows_itself()  # it is known


def test_the_only_administrator_takes_a_host_back_alone_and_the_log_says_so(ward: Ward) -> None:
    restored = Restored(ward, alone=True)
    restored.late.witness.ask()
    restored.accept()
    assert restored.shows_itself()

    assert json.loads(restored.take_back().body)["done"] is True
    assert restored.delivers() == 200
    tail = ward.people("GET", "/api/v1/audit/records?source=control-plane&limit=1000").body.decode()
    assert "taken back by the only administrator, alone" in tail
    assert "by the only administrator, alone" in tail
    assert ward.people("POST", f"/api/v1/hosts/{restored.late.host_id}/revocation", {"reason": "stolen"}).status == 201
    lift = ward.people("POST", f"/api/v1/hosts/{restored.late.host_id}/lift", {"reason": "found"})
    assert lift.status == 409  # control: what protects from one person alone still takes two


def test_whoever_ends_the_others_account_does_not_count_as_alone_for_a_week(ward: Ward) -> None:
    restored = Restored(ward)
    restored.late.witness.ask()
    restored.accept()
    assert restored.shows_itself()

    assert ward.people("POST", "/api/v1/people/remove", {"name": "ben"}).status == 200
    assert (restored.take_back().status, restored.delivers()) == (409, 403)


def test_a_host_that_the_log_lost_is_revoked_by_its_own_word_and_stays_so(ward: Ward) -> None:
    restored = Restored(ward)
    host = f"/api/v1/hosts/{restored.late.host_id}/revocation"
    restored.late.witness.ask()
    restored.accept()
    assert ward.people("POST", host, {"reason": "stolen on Thursday"}).status == 404  # control: it has shown nothing
    assert restored.shows_itself()
    with unreadable(ward.door.folders.revoked):
        kept = ward.people("POST", host, {"reason": "stolen on Thursday"})
        assert (kept.status, b"cannot be read" in kept.body) == (503, True)  # and not that there is no such host

    assert ward.people("POST", host, {"reason": "stolen on Thursday"}).status == 201
    assert not restored.shows_itself()
    assert (restored.take_back().status, restored.offer(restored.claim.read_bytes()).status) == (409, 409)
    assert "a machine shows" not in ward.gaps()
    assert restored.delivers() == 403
    assert ward.people("POST", "/api/v1/enrolment/codes", {"asset": "CT late"}).status == 403  # its tombstone stands
    ward.door.centre._standings.rebuild()
    verdicts = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)
    assert verdicts["certificates"]["state"] == "verified", verdicts


def test_a_host_that_was_off_until_the_restore_was_settled_is_taken_back_all_the_same(ward: Ward) -> None:
    """It shows to nobody how far the log went, as one does not whose certificate for TLS has ended meanwhile."""
    copied, begun = ward.copy(), ward.clock.now()
    late = ward.enrol("CT late")
    ward.restore(copied, with_mark=False, with_list=True)
    restored, centre = Restored.__new__(Restored), ward.door.centre
    restored.ward, restored.late = ward, late
    assert not restored.shows_itself()  # control: nothing is known to be lost

    with centre._database.begin() as session:
        session.add(Fact(name=RESTORED, value=Backup("20261129T220017Z-47f7", begun, 9, ward.clock.now()).text()))
    RestoreSettling(centre._database, centre._journal).settle("ada", "looked through")
    with pytest.raises(AskTurnedDown):
        late.renewal.regain()
    assert restored.shows_itself()
    assert json.loads(restored.take_back().body)["done"] is True
    assert not late.renewal.regain()
    (ask,) = json.loads(ward.people("GET", "/api/v1/hosts/asks").body)["asks"]
    approval: dict[str, object] = {"fingerprint": ask["fingerprint"]}
    assert ward.people("POST", f"/api/v1/hosts/{late.host_id}/approval", approval).status == 200
    assert late.renewal.regain()
    assert restored.delivers() == 200


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
        at_the_door = ward.door.enrolment("POST", "/api/v1/claim", forged.encode())
        assert at_the_door.status == 403, (why, at_the_door.body)
    assert restored.offer(b"{}").status == 400
    assert json.loads(ward.people("GET", "/api/v1/requests").body)["requests"] == []
    assert json.loads(ward.people("GET", "/api/v1/hosts/asks").body)["claims"] == []
    assert restored.delivers() == 403
    assert ward.door.enrolment("POST", "/api/v1/claim", restored.claim.read_bytes()).status == 202  # control
    assert restored.offer(restored.claim.read_bytes()).status == 202  # control


def test_the_second_person_approves_the_claim_that_they_read_about_and_no_other(ward: Ward) -> None:
    restored, centre = Restored(ward), ward.door.centre
    restored.late.witness.ask()
    restored.accept()
    identity, genuine = load_identity(restored.late.folder), restored.claim.read_bytes()
    other = HostClaim(restored.late.host_id, "CT of another ward", (), MACHINE, ward.clock.now())
    certificate = ClaimFile.parse(genuine).evidence_certificate

    # Both arrive at once, before either of the two has asked about its own.
    claim = centre._taking_back.offer("ada", genuine)
    centre._taking_back.offer("ada", sign_claim(other, identity.signer, certificate).encode())
    asked = centre._two_persons.ask("ada", TAKE_BACK, str(claim.host_id), said_of(claim) + REASON)
    assert restored.approve(asked.request_id) == 409
    assert restored.delivers() == 403

    with centre._database.begin() as session:
        session.get_one(Fact, f"claim of {claim.host_id}").value = genuine.decode()
    assert restored.approve(asked.request_id) == 200  # control


def claim_of(host: Host, ward: Ward) -> bytes:
    out = ward.folder / f"{host.host_id}.claim"
    write_claim(host.folder, MACHINE, ward.clock.now(), out)
    return out.read_bytes()


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    file.mkdir()  # the restore left none behind
    try:
        yield
    finally:
        file.rmdir()


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

"""Opening: what a person gets, what is recorded, and every attack on the store refused by its name."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pydicom
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy.orm import Session

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.proof import AuditProof
from control_plane.enrolment.authority import Kind
from control_plane.vault.checks import Check, CheckState, Name
from control_plane.vault.object_store import Body, BodyMissing
from control_plane.vault.opening import (
    RANGE_SAYS,
    NotAsLogged,
    ObjectUnknown,
    ReasonMissing,
    WrapMissing,
)
from control_plane.vault.part10 import IMPLEMENTATION_CLASS_UID, NoPart10
from shared.audit.batch import AuditAltered
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure, Malformed
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing.chunked import (
    CHUNK_BYTES,
    HEADER_BYTES,
    SEALED_CHUNK_BYTES,
    ChunkNotAuthentic,
    CommitmentMismatch,
    Readable,
    Truncated,
)
from shared.sealing.hpke import BoxLabel, BoxNotAuthentic
from shared.sealing.open import ObjectAltered
from shared.sealing.record import record_digest
from shared.signing import EvidencePublicKey, SignatureInvalid, WrongSigner
from tests.control_plane.vault.bench import (
    ENTRY,
    GRADE,
    NOTHING_READ,
    TRANSFER_SYNTAX,
    Bench,
    HostBench,
    SealedImage,
    new_signer,
)
from tests.control_plane.vault.test_receive import parts_of


def detail(checks: tuple[Check, ...], name: Name) -> str:
    return next(check.detail for check in checks if check.check is name)


def states(checks: tuple[Check, ...]) -> dict[Name, CheckState]:
    return {check.check: check.state for check in checks}


@pytest.fixture
def image(bench: Bench, host: HostBench) -> SealedImage:
    """An image of three chunks, stored."""
    image = host.seal(bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"tail")
    bench.receive(image)
    return image


# ---- what a person gets


def test_an_open_returns_the_dataset_byte_for_byte(bench: Bench, image: SealedImage) -> None:
    opened = bench.opener.open(image.object_id, "A. Admin", "second opinion", "dataset")

    assert b"".join(opened.pieces) == image.dataset
    assert opened.size_bytes == len(image.dataset)
    assert opened.transfer_syntax == TRANSFER_SYNTAX


def test_a_part_10_file_holds_the_dataset_unchanged_behind_its_head(bench: Bench, host: HostBench) -> None:
    written = Dataset()
    written.PatientName, written.SOPInstanceUID = "Muster^Erika", ENTRY.sop_instance_uid
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, written)
    image = host.seal(buffer.getvalue())
    bench.receive(image)

    opened = bench.opener.open(image.object_id, "A. Admin", "second opinion", "part10")
    file = b"".join(opened.pieces)

    assert len(file) == opened.size_bytes
    assert file.endswith(image.dataset)
    read = pydicom.dcmread(io.BytesIO(file))
    assert read.PatientName == "Muster^Erika"
    assert file[:132] == bytes(128) + b"DICM"
    assert read.file_meta.MediaStorageSOPClassUID == ENTRY.sop_class_uid
    assert read.file_meta.MediaStorageSOPInstanceUID == ENTRY.sop_instance_uid
    assert read.file_meta.TransferSyntaxUID == TRANSFER_SYNTAX
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.ImplementationVersionName == "LEADGLASS_1"


def test_an_object_whose_attributes_were_not_evaluated_opens_as_a_dataset_only(bench: Bench, host: HostBench) -> None:
    image = host.seal(entry=NOTHING_READ)
    bench.receive(image)

    with pytest.raises(NoPart10, match="dataset only"):
        bench.opener.open(image.object_id, "A. Admin", "second opinion", "part10")
    assert bench.read(image) == image.dataset


@pytest.mark.parametrize("uid", ["", "not a uid", "1.2..3"])
def test_a_uid_that_is_none_makes_no_part_10_file(bench: Bench, host: HostBench, uid: str) -> None:
    image = host.seal(entry=replace(ENTRY, sop_class_uid=uid))
    bench.receive(image)

    with pytest.raises(NoPart10):
        bench.opener.open(image.object_id, "A. Admin", "second opinion", "part10")


def test_every_check_is_reported_and_what_is_missing_is_not_called_passed(bench: Bench, image: SealedImage) -> None:
    opened = bench.opener.open(image.object_id, "A. Admin", "second opinion", "dataset")

    assert [check.check for check in opened.checks] == list(Name)
    assert states(opened.checks) == {
        **dict.fromkeys(Name, CheckState.PASSED),
        Name.LOG_ENTRY: CheckState.NOT_EVALUATED,
    }
    assert "no capture record in the log yet" in detail(opened.checks, Name.LOG_ENTRY)
    assert opened.checks == bench.opener.checks(image.object_id)


def test_the_log_entry_passes_once_the_hosts_capture_record_has_arrived(
    bench: Bench, host: HostBench, image: SealedImage
) -> None:
    host.note()
    host.captured(image)
    host.note()
    host.deliver(1, 3)

    checks = bench.opener.checks(image.object_id)

    assert set(states(checks).values()) == {CheckState.PASSED}
    assert "record 2 of host-" in detail(checks, Name.LOG_ENTRY)


# ---- what is recorded


def private_part(bench: Bench) -> object:
    (row,) = bench.rows(
        "SELECT public, sealed FROM audit_records WHERE source = 'control-plane' ORDER BY seq DESC LIMIT 1"
    )
    return bench.opened(row)


def test_an_open_is_recorded_with_person_and_reason_before_its_first_byte(bench: Bench, image: SealedImage) -> None:
    opened = bench.opener.open(image.object_id, "A. Admin", "asked for by Dr. Lee", "dataset")

    record = bench.last_record()
    assert (record.event, record.outcome) == (Event.OBJECT_OPENED, Outcome.SUCCESS)
    assert record.who[0].name == "A. Admin"
    assert record.what == (Subject("object", str(image.object_id)),)
    # A reason may name a patient, so it stands in the sealed part.
    assert record.reason == ""
    assert private_part(bench) == {"reason": "asked for by Dr. Lee", "form": "dataset"}
    assert b"".join(opened.pieces) == image.dataset


def test_nothing_is_released_when_the_opening_cannot_be_recorded(bench: Bench, image: SealedImage) -> None:
    bench.sql("CREATE TRIGGER full BEFORE INSERT ON audit_records BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(Exception, match="no"):
        bench.opener.open(image.object_id, "A. Admin", "second opinion", "dataset")


@pytest.mark.parametrize("person, reason", [("A. Admin", " "), ("A. Admin", ""), (" ", "second opinion")])
def test_an_open_needs_a_person_and_a_reason(bench: Bench, image: SealedImage, person: str, reason: str) -> None:
    with pytest.raises(ReasonMissing):
        bench.opener.open(image.object_id, person, reason, "dataset")
    assert bench.last_record().event is Event.OPEN_REFUSED


@pytest.mark.parametrize("reason", ["x" * 40_000, "\ud800"])
def test_nothing_is_released_for_a_reason_that_cannot_be_kept(bench: Bench, image: SealedImage, reason: str) -> None:
    with pytest.raises(Malformed):
        bench.opener.open(image.object_id, "A. Admin", reason, "dataset")
    assert Event.OBJECT_OPENED not in bench.events()


def test_an_open_that_fails_in_a_way_that_nobody_foresaw_is_recorded_and_quotes_nothing(
    bench: Bench, image: SealedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("DOE^JANE")

    monkeypatch.setattr(bench.opener, "_prove", fails)
    with pytest.raises(ValueError, match="DOE"):
        bench.opener.open(image.object_id, "A. Admin", "second opinion", "dataset")

    record = bench.last_record()
    assert (record.event, record.outcome, record.reason) == (
        Event.OPEN_REFUSED, Outcome.SERIOUS_FAILURE, "ValueError",
    )  # fmt: skip


@pytest.mark.parametrize("reason", ["second opinion \ud800", "x" * 40_000], ids=["no text", "too long"])
def test_an_open_whose_reason_cannot_be_sealed_is_refused_and_recorded_without_it(
    bench: Bench, image: SealedImage, reason: str
) -> None:
    with pytest.raises(Malformed):
        bench.opener.open(image.object_id, "A. Admin", reason, "dataset")
    opened = bench.last_record()
    with pytest.raises(Malformed):
        bench.opener.read_range(image.object_id, "A. Admin", reason, 0, 1)

    for record in (opened, bench.last_record()):
        assert (record.event, record.outcome) == (Event.OPEN_REFUSED, Outcome.MINOR_FAILURE)
        assert [who.name for who in record.who] == ["A. Admin"]
        assert record.commitment is None
        assert reason[-8:] not in record.reason
    assert bench.events().count(Event.OPEN_REFUSED) == 2


def test_an_open_of_an_unknown_object_is_recorded(bench: Bench) -> None:
    with pytest.raises(ObjectUnknown):
        bench.opener.open(ObjectId.new(), "A. Admin", "second opinion", "dataset")
    assert bench.last_record().event is Event.OPEN_REFUSED
    with pytest.raises(ObjectUnknown):
        bench.opener.checks(ObjectId.new())


# ---- attacks on the store


@dataclass(frozen=True)
class Scene:
    """A centre with two images of one host, and whoever writes to its folder and database behind its back."""

    bench: Bench
    host: HostBench
    image: SealedImage
    other: SealedImage

    def edit_body(self, change: Callable[[bytearray], None]) -> None:
        path = self.bench.body(self.image.object_id)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    def set(self, column: str, value: object) -> None:
        table = "wraps" if column in {"wrap", "key_id"} else "objects"
        self.bench.sql(f"UPDATE {table} SET {column} = :value WHERE object_id = :id", value=value,  # noqa: S608 (ours)
                       id=str(self.image.object_id))  # fmt: skip

    def replace_by(self, forged: SealedImage) -> None:
        parts = parts_of(forged)
        self.bench.body(self.image.object_id).write_bytes(
            forged.file[parts.body_offset : parts.body_offset + parts.body_bytes]
        )
        self.set("binding", parts.binding.encode())
        self.set("record", forged.record)
        self.set("wrap", parts.wrap)
        self.set("sealed_index", parts.index)


@pytest.fixture
def scene(bench: Bench, host: HostBench, image: SealedImage) -> Scene:
    other = host.seal(b"other" * 10_000)
    bench.receive(other)
    return Scene(bench, host, image, other)


def flip(at: int) -> Callable[[Scene], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 1

    return lambda scene: scene.edit_body(change)


def cut_to(size: int) -> Callable[[Scene], None]:
    def change(data: bytearray) -> None:
        del data[size:]

    return lambda scene: scene.edit_body(change)


def append(scene: Scene) -> None:
    scene.edit_body(lambda data: data.extend(bytes(20)))


def swap_bodies(scene: Scene) -> None:
    one, two = scene.bench.body(scene.image.object_id), scene.bench.body(scene.other.object_id)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def swap_wraps(scene: Scene) -> None:
    first, second = parts_of(scene.image).wrap, parts_of(scene.other).wrap
    scene.bench.sql(
        "UPDATE wraps SET wrap = CASE object_id WHEN :one THEN :second ELSE :first END",
        one=str(scene.image.object_id), first=first, second=second,
    )  # fmt: skip


def lose_body(scene: Scene) -> None:
    scene.bench.body(scene.image.object_id).unlink()


def lose_wrap(scene: Scene) -> None:
    scene.bench.sql("DELETE FROM wraps WHERE object_id = :id", id=str(scene.image.object_id))


def forge(scene: Scene) -> None:
    scene.replace_by(scene.host.seal(b"forged", object_id=scene.image.object_id, signer=new_signer()))


def forge_and_edit_the_host_key(scene: Scene) -> None:
    forger = new_signer()
    scene.replace_by(scene.host.seal(b"forged", object_id=scene.image.object_id, signer=forger))
    scene.bench.sql("UPDATE hosts SET evidence_spki = :spki", spki=forger.public.spki)


def forge_and_insert_a_certificate(scene: Scene) -> None:
    """The forger runs a CA of the same name, and writes its certificate among ours."""
    forger, ca_key = new_signer(), ec.generate_private_key(ec.SECP256R1())
    scene.replace_by(scene.host.seal(b"forged", object_id=scene.image.object_id, signer=forger))
    false_ca = replace(scene.bench.ca, issuing=replace(scene.bench.ca.issuing, key=ca_key))
    with scene.bench.database.begin() as session:
        scene.bench.clock.advance(timedelta(seconds=1))
        false_ca.issue(session, Kind.EVIDENCE, str(scene.host.host_id), forger.public.key)


def replace_by_an_object_of_another_host(scene: Scene) -> None:
    insider = scene.bench.enrol()
    scene.replace_by(insider.seal(b"forged", object_id=scene.image.object_id))
    scene.set("host_id", str(insider.host_id))


def replace_by_a_capture_that_another_host_signed(scene: Scene) -> None:
    """A host that is enrolled signs a record which names the victim's host, and the row names the signer."""
    insider = scene.bench.enrol()
    victim = replace(scene.host, signer=insider.signer)
    scene.replace_by(victim.seal(b"forged", object_id=scene.image.object_id))
    scene.set("host_id", str(insider.host_id))


def replace_by_another_capture_of_the_same_host(scene: Scene) -> None:
    scene.replace_by(scene.host.seal(b"sealed by a stolen host key", object_id=scene.image.object_id))


def replay_another_object(scene: Scene) -> None:
    scene.replace_by(scene.other)


def name_another_host(scene: Scene) -> None:
    scene.set("host_id", str(scene.bench.enrol().host_id))


def edit_record(scene: Scene) -> None:
    scene.set("record", scene.image.record.replace(b'"policy_version":1', b'"policy_version":2'))


def cut_record(scene: Scene) -> None:
    scene.set("record", scene.image.record[:-1])


def edit_binding(scene: Scene) -> None:
    binding = bytearray(parts_of(scene.image).binding.encode())
    binding[50] ^= 1
    scene.set("binding", bytes(binding))


def cut_wrap(scene: Scene) -> None:
    scene.set("wrap", parts_of(scene.image).wrap[:-1])


def wrap_another_data_key(scene: Scene) -> None:
    key, binding = scene.bench.public(KeyPurpose.DATA, GRADE), parts_of(scene.image).binding.encode()
    scene.set("wrap", key.seal(BoxLabel.DATA_KEY, binding, bytes(32)))


def wrap_for_another_purpose(scene: Scene) -> None:
    key, binding = scene.bench.public(KeyPurpose.INDEX), parts_of(scene.image).binding.encode()
    scene.set("wrap", key.seal(BoxLabel.DATA_KEY, binding, bytes(32)))


ATTACKS: dict[str, tuple[Callable[[Scene], None], type[IntegrityFailure], Name]] = {
    "a bit flipped in the first chunk": (flip(HEADER_BYTES), ChunkNotAuthentic, Name.CHUNKS),
    "a bit flipped in the last tag": (flip(-1), ChunkNotAuthentic, Name.CHUNKS),
    "a bit flipped in the commitment": (flip(30), CommitmentMismatch, Name.CHUNKS),
    "a bit flipped in the salt": (flip(0), CommitmentMismatch, Name.CHUNKS),
    "a tail cut exactly at a chunk's end": (cut_to(HEADER_BYTES + SEALED_CHUNK_BYTES), Truncated, Name.CHUNKS),
    "a tail cut within a chunk": (cut_to(HEADER_BYTES + SEALED_CHUNK_BYTES + 99), ChunkNotAuthentic, Name.CHUNKS),
    "everything cut": (cut_to(0), Truncated, Name.CHUNKS),
    "bytes appended": (append, ChunkNotAuthentic, Name.CHUNKS),
    "two bodies swapped": (swap_bodies, CommitmentMismatch, Name.CHUNKS),
    "two wraps swapped": (swap_wraps, BoxNotAuthentic, Name.DATA_KEY),
    "a body lost": (lose_body, BodyMissing, Name.CHUNKS),
    "a wrap lost": (lose_wrap, WrapMissing, Name.HOST_SIGNATURE),
    "a wrap cut": (cut_wrap, ObjectAltered, Name.DATA_KEY),
    "another data key wrapped": (wrap_another_data_key, CommitmentMismatch, Name.CHUNKS),
    "a wrap to a key of another purpose": (wrap_for_another_purpose, ObjectAltered, Name.DATA_KEY),
    "a self-consistent forgery": (forge, WrongSigner, Name.HOST_SIGNATURE),
    "a forgery and its key in the hosts table": (forge_and_edit_the_host_key, WrongSigner, Name.HOST_SIGNATURE),
    "a forgery and a certificate of another CA": (forge_and_insert_a_certificate, WrongSigner, Name.HOST_SIGNATURE),
    "an object of another enrolled host": (replace_by_an_object_of_another_host, NotAsLogged, Name.LOG_ENTRY),
    "another capture under the same id": (replace_by_another_capture_of_the_same_host, NotAsLogged, Name.LOG_ENTRY),
    "a record of this host that another signed": (
        replace_by_a_capture_that_another_host_signed,
        ObjectAltered,
        Name.HOST_SIGNATURE,
    ),
    "another object replayed": (replay_another_object, ObjectAltered, Name.BINDING),
    "another host named": (name_another_host, WrongSigner, Name.HOST_SIGNATURE),
    "a capture record edited": (edit_record, SignatureInvalid, Name.HOST_SIGNATURE),
    "a capture record cut": (cut_record, ObjectAltered, Name.HOST_SIGNATURE),
    "a binding edited": (edit_binding, ObjectAltered, Name.BINDING),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_refuses_and_names(scene: Scene, attack: str) -> None:
    change, error, failed = ATTACKS[attack]
    assert scene.bench.read(scene.image) == scene.image.dataset

    change(scene)

    with pytest.raises(IntegrityFailure) as refusal:
        scene.bench.opener.open(scene.image.object_id, "A. Admin", "second opinion", "dataset")
    assert type(refusal.value) is error
    record = scene.bench.last_record()
    assert (record.event, record.outcome) == (Event.OPEN_REFUSED, Outcome.SERIOUS_FAILURE)
    assert record.reason.startswith(f"{error.__name__}: ")
    found = states(scene.bench.opener.checks(scene.image.object_id))
    assert found[failed] is CheckState.FAILED
    names = list(Name)
    for name in names[: names.index(failed)]:
        assert found[name] is CheckState.PASSED
    for name in names[names.index(failed) + 1 :]:
        assert found[name] is CheckState.NOT_EVALUATED


def test_a_swapped_index_makes_no_part_10_file(scene: Scene) -> None:
    scene.set("sealed_index", parts_of(scene.other).index)

    with pytest.raises(BoxNotAuthentic):
        scene.bench.opener.open(scene.image.object_id, "A. Admin", "second opinion", "part10")


def test_what_changes_between_the_two_passes_is_not_delivered_whole(bench: Bench, image: SealedImage) -> None:
    opened = bench.opener.open(image.object_id, "A. Admin", "second opinion", "dataset")
    path = bench.body(image.object_id)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(ChunkNotAuthentic):
        b"".join(opened.pieces)
    assert bench.last_record().event is Event.OPEN_REFUSED


def test_a_capture_record_of_another_digest_in_the_hosts_log_is_refused(
    bench: Bench, host: HostBench, image: SealedImage
) -> None:
    host.captured(replace(image, record=b"another"))
    host.deliver(1, 1)

    with pytest.raises(NotAsLogged, match="captured another"):
        bench.read(image)


def test_a_capture_record_that_another_host_claims_counts_for_nothing(bench: Bench, image: SealedImage) -> None:
    liar = bench.enrol()
    liar.captured(image)
    liar.deliver(1, 1)

    assert states(bench.opener.checks(image.object_id))[Name.LOG_ENTRY] is CheckState.NOT_EVALUATED


def test_an_edited_log_entry_is_refused(bench: Bench, host: HostBench, image: SealedImage) -> None:
    host.captured(image)
    host.deliver(1, 1)
    bench.sql("UPDATE audit_records SET public = replace(public, 'capture', 'kapture') WHERE source LIKE 'host-%'")

    with pytest.raises(AuditAltered):
        bench.read(image)


# ---- ranges


@pytest.mark.parametrize(
    "start, length",
    [(0, 0), (0, 1), (CHUNK_BYTES - 1, 2), (100, 2 * CHUNK_BYTES), (2 * CHUNK_BYTES, 99), (10**9, 5), (0, 10**6)],
)
def test_a_range_is_a_slice_and_says_what_it_does_not_prove(
    bench: Bench, image: SealedImage, start: int, length: int
) -> None:
    read = bench.opener.read_range(image.object_id, "A. Admin", "second opinion", start, length)

    assert read.data == image.dataset[start : start + length]
    assert read.says == RANGE_SAYS == "chunk authentic, object not evaluated"
    assert (bench.last_record().event, bench.last_record().reason) == (Event.OBJECT_OPENED, RANGE_SAYS)


def test_a_range_proves_its_own_chunks_only(scene: Scene) -> None:
    flip(HEADER_BYTES + SEALED_CHUNK_BYTES)(scene)
    opener = scene.bench.opener

    assert opener.read_range(scene.image.object_id, "A. Admin", "why", 0, 10).data == scene.image.dataset[:10]
    with pytest.raises(ChunkNotAuthentic, match="chunk 1"):
        opener.read_range(scene.image.object_id, "A. Admin", "why", CHUNK_BYTES, 10)
    assert scene.bench.last_record().event is Event.OPEN_REFUSED


@pytest.mark.parametrize("start, length", [(-1, 1), (0, -1), (0, (16 << 20) + 1)])
def test_refuses_a_range_that_is_none(bench: Bench, image: SealedImage, start: int, length: int) -> None:
    with pytest.raises(Malformed):
        bench.opener.read_range(image.object_id, "A. Admin", "second opinion", start, length)


# ---- negative controls: with a part of ours broken, the attack gets through, so it is that part which stops it


class AttackersKeys(EvidenceKeys):
    """A look-up of host keys that has been talked into the attacker's."""

    def __init__(self, bench: Bench, key: EvidencePublicKey) -> None:
        super().__init__(bench.database, bench.ca.trust)
        self._key = key

    def of_active_host_in(self, session: Session, host_id: HostId) -> EvidencePublicKey:
        return self._key

    def for_statement(self, source: str, signed: bytes) -> EvidencePublicKey:
        return self._key


class ObligingLog(AuditProof):
    """A log that says of every object what is wanted."""

    def __init__(self, bench: Bench, digest: str) -> None:
        super().__init__(bench.database, bench.evidence)
        self._bench, self._digest = bench, digest

    def about(self, subject: Subject, event: Event, source: str) -> tuple[AuditRecord, ...]:
        return (replace(self._bench.last_record(), what=(subject, Subject("record", self._digest))),)


def test_without_the_true_host_key_a_forgery_passes(scene: Scene) -> None:
    forger = new_signer()
    forged = scene.host.seal(b"forged", object_id=scene.image.object_id, signer=forger)
    scene.replace_by(forged)
    believed = AttackersKeys(scene.bench, forger.public)

    with pytest.raises(NotAsLogged):
        scene.bench.read(scene.image, opener=scene.bench.opener_with(hosts=believed))
    log = ObligingLog(scene.bench, record_digest(forged.record).hex())
    assert scene.bench.read(scene.image, opener=scene.bench.opener_with(hosts=believed, log=log)) == b"forged"


def test_without_the_true_host_key_a_forgery_is_taken_in(bench: Bench, host: HostBench) -> None:
    forger = new_signer()

    assert bench.receive(host.seal(signer=forger), intake=bench.intake_with(hosts=AttackersKeys(bench, forger.public)))


class TrustingStore:
    """An object store that lets a new body replace an old one."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._store = bench, bench.objects

    def put(self, object_id: ObjectId, body: Readable) -> None:
        self._bench.body(object_id).unlink(missing_ok=True)
        self._store.put(object_id, body)

    def open(self, object_id: ObjectId) -> Body:
        return self._store.open(object_id)


def test_a_store_that_replaces_bodies_is_found_out_on_opening(scene: Scene) -> None:
    store = TrustingStore(scene.bench)
    store.put(scene.image.object_id, io.BytesIO(b"another body" * 10))

    with pytest.raises(CommitmentMismatch):
        scene.bench.read(scene.image, opener=scene.bench.opener_with(store=store))

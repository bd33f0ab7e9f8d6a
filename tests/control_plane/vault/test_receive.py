"""The vault's intake: what it keeps, what it refuses, and what a cut or a full disk leaves behind."""

import contextlib
import errno
import io
import os
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from control_plane.db.models import Object
from control_plane.db.transactions import DatabaseUnavailable
from control_plane.fleet.states import HostUnknown
from control_plane.keys.store import KeyStore
from control_plane.vault.key_ring import KeyNotForThis
from control_plane.vault.local import LocalObjectStore
from control_plane.vault.object_store import BodyConflict, ObjectStore, StoreUnavailable
from control_plane.vault.receive import NotHeld, ObjectConflict, ObjectOfAnotherHost, UploadBroken
from shared.audit.events import Event, Outcome, Subject
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.receipt import verify_receipt
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing import object_file
from shared.sealing.chunked import CHUNK_BYTES, CommitmentMismatch, Readable
from shared.sealing.hpke import BoxLabel, SealingPrivateKey
from shared.sealing.index import IndexMismatch
from shared.sealing.open import ObjectAltered
from shared.sealing.record import CaptureRecord, record_digest, sign_record, verify_record
from shared.signing import WrongSigner
from tests.contracts.database.together import await_waiting
from tests.control_plane.vault.bench import ENTRY, GRADE, NOTHING_READ, ROOT, Bench, HostBench, SealedImage, new_signer
from tests.control_plane.vault.tmpfs import small_filesystem

__all__ = ["small_filesystem"]


def parts_of(image: SealedImage) -> object_file.ObjectParts:
    return object_file.parse(io.BytesIO(image.file))


def rebuilt(image: SealedImage, *, body: bytes | None = None, wrap: bytes | None = None, index: bytes | None = None,
            record: bytes | None = None) -> SealedImage:  # fmt: skip
    """Return the upload of `image` with some of its parts replaced, its lengths in order."""
    parts = parts_of(image)
    body = image.file[parts.body_offset : parts.body_offset + parts.body_bytes] if body is None else body
    tail = object_file.tail(
        len(body), wrap=wrap or parts.wrap, index=index or parts.index, record=record or parts.record
    )
    return replace(image, file=object_file.head(parts.binding) + body + tail)


def body_of(image: SealedImage) -> bytes:
    parts = parts_of(image)
    return image.file[parts.body_offset : parts.body_offset + parts.body_bytes]


# ---- what is kept


def test_returns_a_receipt_for_exactly_this_object(bench: Bench, host: HostBench) -> None:
    image = host.seal()

    receipt = bench.receive(image)

    held = verify_receipt(receipt, bench.receipts.public, image.object_id, record_digest(image.record))
    assert held.received == bench.clock.now()
    assert bench.read(image) == image.dataset


def test_what_is_held_is_receipted_again_and_what_was_lost_is_not_whether_row_or_body(
    bench: Bench, host: HostBench
) -> None:
    held, without_body, without_row = host.seal(), host.seal(), host.seal()
    receipts = [bench.receive(image) for image in (held, without_body)]

    bench.body(without_body.object_id).unlink()

    assert bench.intake.receipt_of(held.object_id, host.host_id) == receipts[0]
    for lost in (without_body, without_row):
        with pytest.raises(NotHeld):
            bench.intake.receipt_of(lost.object_id, host.host_id)
    assert bench.receive(without_body) == receipts[1]
    assert bench.intake.receipt_of(without_body.object_id, host.host_id) == receipts[1]


def test_an_object_that_came_at_a_whole_second_is_found_by_its_time(bench: Bench, host: HostBench) -> None:
    """SQLite compares instants as text, and the driver alone would write this one without its fraction."""
    image = host.seal()
    bench.receive(image)

    assert bench.clock.now().microsecond == 0
    with bench.database() as session:
        found = session.scalars(select(Object.object_id).where(Object.received == bench.clock.now())).all()
    assert found == [str(image.object_id)]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_takes_datasets_of_every_size(bench: Bench, host: HostBench, size: int) -> None:
    image = host.seal(os.urandom(size))

    bench.receive(image)

    assert bench.read(image) == image.dataset


def test_records_what_it_stored_in_the_same_commit(bench: Bench, host: HostBench) -> None:
    image = host.seal()

    bench.receive(image)

    record = bench.last_record()
    assert (record.event, record.outcome) == (Event.OBJECT_STORED, Outcome.SUCCESS)
    assert record.who[0].name == str(host.host_id)
    assert record.what == (
        Subject("object", str(image.object_id)),
        Subject("record", record_digest(image.record).hex()),
    )


def test_an_object_is_not_stored_when_it_cannot_be_recorded(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.sql("CREATE TRIGGER full BEFORE INSERT ON audit_statements BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(Exception, match="no"):
        bench.receive(image)

    assert bench.rows("SELECT * FROM objects") == []


def test_the_same_upload_again_gets_the_same_receipt(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    first = bench.receive(image)

    again = bench.receive(image)

    assert again == first
    assert bench.events() == [Event.OBJECT_STORED]


def test_the_same_upload_after_a_restart_gets_the_same_receipt(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    first = bench.receive(image)

    assert Bench(bench.folder).receive(image) == first


def test_a_lost_body_comes_back_with_the_next_upload_of_its_object(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    first = bench.receive(image)
    bench.body(image.object_id).unlink()

    assert bench.receive(image) == first
    assert bench.read(image) == image.dataset


def test_two_uploads_of_one_object_at_once_get_one_receipt(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    store = MeetingStore(bench.objects, parties=4)
    intake = bench.intake_with(store=store)

    with ThreadPoolExecutor(4) as pool:
        receipts = set(pool.map(lambda _: bench.receive(image, intake=intake), range(4)))

    assert len(receipts) == 1
    assert bench.events() == [Event.OBJECT_STORED]
    assert bench.read(image) == image.dataset


def test_two_objects_of_one_id_at_once_leave_one_whole(bench: Bench, host: HostBench) -> None:
    object_id = ObjectId.new()
    images = [host.seal(os.urandom(50_000), object_id=object_id) for _ in range(2)]
    intake = bench.intake_with(store=MeetingStore(bench.objects, parties=2))

    def upload(image: SealedImage) -> SealedImage | None:
        try:
            bench.receive(image, intake=intake)
        except (BodyConflict, ObjectConflict):
            return None
        return image

    with ThreadPoolExecutor(2) as pool:
        kept = [image for image in pool.map(upload, images) if image]

    assert len(kept) == 1
    assert bench.read(kept[0]) == kept[0].dataset


def test_one_body_with_two_records_at_once_leaves_one_record(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    again = sign_record(verify_record(image.record, host.signer.public), host.signer)
    intake = bench.intake_with(store=MeetingStore(bench.objects, parties=2))

    def upload(one: SealedImage) -> bool:
        try:
            bench.receive(one, intake=intake)
        except ObjectConflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(upload, [image, rebuilt(image, record=again)]))

    assert sorted(kept) == [False, True]
    assert bench.read(image) == image.dataset


def test_uploads_that_wait_for_a_commit_together_share_the_next_one(bench: Bench, host: HostBench) -> None:
    bench.receive(host.seal())  # the log has begun
    images = [host.seal() for _ in range(6)]
    commits = list[str]()

    with GatheredUploads(bench, images) as uploads:
        event.listen(bench.engine, "commit", lambda _connection: commits.append("commit"))

    assert len(commits) < len(images)
    assert [one.result() for one in uploads.done] == [bench.receive(image) for image in images]
    assert all(bench.read(image) == image.dataset for image in images)


def test_a_conflict_among_uploads_that_share_a_commit_takes_none_of_the_others_with_it(
    bench: Bench, host: HostBench
) -> None:
    bench.receive(host.seal())
    image = host.seal()
    again = sign_record(verify_record(image.record, host.signer.public), host.signer)
    images = [host.seal(), image, rebuilt(image, record=again), host.seal()]

    with GatheredUploads(bench, images) as uploads:
        pass

    refused = [one.exception() for one in uploads.done if one.exception() is not None]
    assert [type(one) for one in refused] == [ObjectConflict]
    assert Counter(bench.events()) == {Event.OBJECT_STORED: 4, Event.OBJECT_REFUSED: 1}
    assert all(bench.read(one) == one.dataset for one in (images[0], images[1], images[3]))


class GatheredUploads:
    """Has uploads come as far as their commit while another one goes on, which ends with the block."""

    def __init__(self, bench: Bench, images: Sequence[SealedImage]) -> None:
        self._bench, self._images = bench, images
        self._begun, self._may_end = threading.Event(), threading.Event()
        self._came = threading.Barrier(len(images) + 1, timeout=60)
        self._pool = ThreadPoolExecutor(len(images) + 1)
        self.done = list[Future[bytes]]()

    def __enter__(self) -> "GatheredUploads":
        self._pool.submit(self._bench.journal.commits.run, lambda _session: self._goes_on())
        assert self._begun.wait(60)
        intake = self._bench.intake_with(ways_out=self)
        self.done += [self._pool.submit(self._bench.receive, image, intake=intake) for image in self._images]
        self._came.wait()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            await_waiting(self._bench.journal.commits, len(self._images))
        finally:
            self._may_end.set()
            self._pool.shutdown()

    def _goes_on(self) -> None:
        self._begun.set()
        self._may_end.wait(120)

    def owed(self, record: CaptureRecord) -> tuple[str, ...]:
        self._came.wait()
        return ()

    def add(self, session: Session, object_id: ObjectId, routes: tuple[str, ...]) -> None:
        raise AssertionError("nothing is owed")

    def wake(self) -> None:
        raise AssertionError("nothing was queued")


class MeetingStore:
    """Lets uploads into the store only when all of them have come so far."""

    def __init__(self, store: ObjectStore, parties: int) -> None:
        self._store, self._meeting = store, threading.Barrier(parties, timeout=60)
        self.open, self.replace = store.open, store.replace

    def put(self, object_id: ObjectId, body: Readable) -> None:
        self._meeting.wait()
        self._store.put(object_id, body)


def test_an_object_whose_attributes_were_not_evaluated_is_kept_and_said_so(bench: Bench, host: HostBench) -> None:
    image = host.seal(entry=NOTHING_READ)

    bench.receive(image)

    assert bench.rows("SELECT index_state FROM objects")[0].index_state == "not evaluated"
    assert bench.rows("SELECT * FROM blind_index") == []


def test_no_identity_stands_in_clear_in_anything_the_vault_writes(bench: Bench, host: HostBench) -> None:
    names = [b"Grabowski", b"PATIENTNUMBER-90210", b"ACCESSION-55512", b"1.2.826.0.1.3680043.8.498.77"]
    entry = replace(ENTRY, patient_name="Grabowski^Anna", patient_id="PATIENTNUMBER-90210",
                    accession_number="ACCESSION-55512", study_instance_uid="1.2.826.0.1.3680043.8.498.77")  # fmt: skip

    image = host.seal(b"".join(names) * 10, entry)
    bench.receive(image)
    bench.finder.find("A. Admin", patient_id="PATIENTNUMBER-90210")
    bench.opener.open(image.object_id, "A. Admin", "Grabowski asked for it", "dataset")

    written = [path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()]
    assert len(written) >= 2
    for name in names:
        assert not any(name.lower() in data.lower() for data in written), name


def test_memory_stays_constant_while_an_upload_streams(bench: Bench, host: HostBench) -> None:
    image = host.seal(bytes(32 << 20))
    bench.receive(host.seal())

    tracemalloc.start()
    try:
        bench.receive(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 << 20


# ---- what is refused


def assert_refused(bench: Bench, image: SealedImage, error: type[Exception]) -> Exception:
    bodies = sorted(bench.folder.glob("objects/*/*.body"))
    with pytest.raises(error) as refusal:
        bench.receive(image)

    assert type(refusal.value) is error
    assert bench.rows("SELECT * FROM objects WHERE object_id = :id", id=str(image.object_id)) == []
    assert sorted(bench.folder.glob("objects/*/*.body")) == bodies
    record = bench.last_record()
    assert record.event is Event.OBJECT_REFUSED
    assert record.what[0].name == str(image.object_id)
    assert error.__name__ in record.reason
    expected = Outcome.SERIOUS_FAILURE if issubclass(error, IntegrityFailure) else Outcome.MINOR_FAILURE
    assert record.outcome is expected
    return refusal.value


def test_refuses_a_self_consistent_forgery(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, host.seal(signer=new_signer()), WrongSigner)


def test_refuses_an_object_of_another_host(bench: Bench, host: HostBench) -> None:
    image = replace(host.seal(), host_id=bench.enrol().host_id)

    assert_refused(bench, image, ObjectOfAnotherHost)


def test_refuses_an_object_under_another_id(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, replace(host.seal(), object_id=ObjectId.new()), ObjectAltered)


def test_refuses_a_host_that_is_not_active(bench: Bench, host: HostBench) -> None:
    bench.sql("UPDATE hosts SET standing = 'revoked'")

    assert_refused(bench, host.seal(), HostUnknown)


def test_refuses_a_host_that_was_never_enrolled(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, replace(host.seal(), host_id=HostId.new()), HostUnknown)


def test_refuses_a_host_key_that_was_only_written_into_the_database(bench: Bench, host: HostBench) -> None:
    forger = new_signer()
    bench.sql("UPDATE hosts SET evidence_spki = :spki", spki=forger.public.spki)

    with pytest.raises(IntegrityFailure, match="no certificate of the authority"):
        bench.receive(host.seal(signer=forger))


def test_a_certificate_that_was_overwritten_is_nobody_s(bench: Bench, host: HostBench) -> None:
    bench.sql("UPDATE certificates SET pem = 'no certificate' WHERE subject = :host", host=str(host.host_id))

    with pytest.raises(IntegrityFailure, match="no certificate of the authority"):
        bench.receive(host.seal())


def test_refuses_another_object_under_an_id_that_is_held(bench: Bench, host: HostBench) -> None:
    held = host.seal(b"first")
    bench.receive(held)
    other = host.seal(b"second", object_id=held.object_id)

    with pytest.raises(ObjectConflict):
        bench.receive(other)
    assert bench.read(held) == b"first"
    assert Event.OBJECT_REFUSED in bench.events()


@pytest.mark.parametrize("off", [-1, 1])
def test_refuses_an_upload_that_is_not_as_long_as_announced(bench: Bench, host: HostBench, off: int) -> None:
    image = host.seal()

    with pytest.raises(Malformed):
        bench.intake.receive(image.object_id, host.host_id, io.BytesIO(image.file), len(image.file) + off)
    assert bench.last_record().event is Event.OBJECT_REFUSED


def test_an_upload_that_breaks_off_may_be_tried_again(bench: Bench, host: HostBench) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 10:
                raise ConnectionResetError
            return super().read(size)

    image = host.seal(bytes(1 << 20))

    with pytest.raises(UploadBroken):
        bench.intake.receive(image.object_id, host.host_id, Broken(image.file), len(image.file))
    assert bench.receive(image)


def test_refuses_a_body_that_is_another_than_signed(bench: Bench, host: HostBench) -> None:
    image, other = host.seal(b"one" * 9), host.seal(b"two" * 9)

    assert_refused(bench, rebuilt(image, body=body_of(other)), ObjectAltered)


def test_refuses_a_body_cut_at_the_end_of_a_chunk(bench: Bench, host: HostBench) -> None:
    image = host.seal(bytes(2 * CHUNK_BYTES))

    assert_refused(bench, rebuilt(image, body=body_of(image)[:-16]), ObjectAltered)


def test_refuses_a_wrap_whose_data_key_does_not_open_the_body(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    key = bench.public(KeyPurpose.DATA, GRADE)
    useless = key.seal(BoxLabel.DATA_KEY, parts_of(image).binding.encode(), bytes(32))

    assert_refused(bench, rebuilt(image, wrap=useless), CommitmentMismatch)


def test_refuses_a_wrap_to_a_key_of_another_grade(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, host.seal(data_key=bench.public(KeyPurpose.DATA, "plain")), KeyNotForThis)


@pytest.mark.parametrize("purpose", [KeyPurpose.INDEX, KeyPurpose.AUDIT])
def test_refuses_a_wrap_to_a_key_of_another_purpose(bench: Bench, host: HostBench, purpose: KeyPurpose) -> None:
    assert_refused(bench, host.seal(data_key=bench.public(purpose)), KeyNotForThis)


def test_refuses_a_wrap_to_a_key_that_the_centre_does_not_hold(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, host.seal(data_key=SealingPrivateKey(bytes(32)).public), KeyNotForThis)


def test_a_key_that_another_worker_made_since_opens_what_was_refused_before(bench: Bench, host: HostBench) -> None:
    other = KeyStore(bench.database, ROOT, bench.clock, lambda size: bytes(range(size)))
    image = host.seal(data_key=SealingPrivateKey(bytes(range(32))).public)
    assert_refused(bench, image, KeyNotForThis)

    other.create_sealing_key(KeyPurpose.DATA, GRADE, epoch=2)

    assert bench.receive(image)
    assert bench.read(image) == image.dataset


def test_refuses_an_index_sealed_to_a_data_key(bench: Bench, host: HostBench) -> None:
    assert_refused(bench, host.seal(index_key=bench.public(KeyPurpose.DATA, GRADE)), KeyNotForThis)


def test_refuses_an_index_that_the_host_did_not_sign(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    other = replace(ENTRY, patient_id="another").encode()
    index = bench.public(KeyPurpose.INDEX).seal(BoxLabel.INDEX, parts_of(image).binding.encode(), bytes(32) + other)

    assert_refused(bench, rebuilt(image, index=index), IndexMismatch)


def test_a_refusal_quotes_nothing_of_the_index(bench: Bench, host: HostBench) -> None:
    image = host.seal(entry=replace(ENTRY, patient_name="G" * 400))

    reason = assert_refused(bench, image, Malformed)

    assert "GGG" not in str(reason)


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("flips"))


@pytest.fixture(scope="module")
def shared_image(shared_bench: Bench) -> SealedImage:
    return shared_bench.enrol().seal(b"small image")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_an_upload_is_refused(
    shared_bench: Bench, shared_image: SealedImage, data: st.DataObject
) -> None:
    changed = bytearray(shared_image.file)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises((Refused, IntegrityFailure)):
        shared_bench.receive(replace(shared_image, file=bytes(changed)))
    assert shared_bench.rows("SELECT * FROM objects") == []


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_of_an_upload_is_refused(shared_bench: Bench, shared_image: SealedImage, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(shared_image.file) - 1))

    with pytest.raises(Refused):
        shared_bench.receive(replace(shared_image, file=shared_image.file[:cut]))


# ---- cuts and full disks

CHILD = Path(__file__).with_name("killed.py")


@pytest.mark.parametrize("at", ["sync 1", "sync 2", "commit", "committed"])
def test_a_kill_at_any_step_leaves_an_object_whole_or_unknown(bench: Bench, host: HostBench, at: str) -> None:
    image = host.seal(os.urandom(100_000))
    upload = bench.folder / "upload"
    upload.write_bytes(image.file)

    arguments = [str(bench.folder), str(upload), str(image.object_id), str(host.host_id), at]
    killed = subprocess.run(
        [sys.executable, CHILD, *arguments], cwd=Path(__file__).parents[3], env={"PYTHONPATH": "."}, check=False
    )

    assert killed.returncode == 9
    after = Bench(bench.folder)
    held = after.rows("SELECT receipt FROM objects")
    assert len(held) == (at == "committed")
    assert after.events() == [Event.OBJECT_STORED] * len(held)
    assert list((bench.folder / "incoming").iterdir()) == []
    assert list((bench.folder / "objects" / "new").iterdir()) == []
    receipt = after.receive(image)
    assert not held or held[0].receipt == receipt
    assert after.read(image) == image.dataset


class FullStore:
    """An object store whose disk is full."""

    def __init__(self, store: ObjectStore) -> None:
        self.open, self.replace = store.open, store.replace

    def put(self, object_id: ObjectId, body: Readable) -> None:
        raise StoreUnavailable(os.strerror(errno.ENOSPC))


def test_a_full_object_store_means_later_and_stores_nothing(bench: Bench, host: HostBench) -> None:
    image = host.seal()

    with pytest.raises(StoreUnavailable):
        bench.receive(image, intake=bench.intake_with(store=FullStore(bench.objects)))
    assert bench.rows("SELECT * FROM objects") == []
    assert bench.receive(image)


def test_a_full_disk_stores_nothing_in_part(bench: Bench, host: HostBench, small_filesystem: Path) -> None:
    store = LocalObjectStore(small_filesystem / "objects")
    large, small = host.seal(os.urandom(3 << 20)), host.seal(b"small")

    with pytest.raises(StoreUnavailable, match="No space"):
        bench.receive(large, intake=bench.intake_with(store=store))

    assert list(small_filesystem.rglob("*.body")) == []
    assert list((small_filesystem / "objects" / "new").iterdir()) == []
    assert bench.receive(small, intake=bench.intake_with(store=store))


def test_no_room_for_an_upload_means_later(bench: Bench, small_filesystem: Path) -> None:
    full = Bench(bench.folder, object_store=LocalObjectStore)
    (bench.folder / "incoming").rmdir()
    (bench.folder / "incoming").symlink_to(small_filesystem)
    image = full.enrol().seal(os.urandom(3 << 20))

    with pytest.raises(StoreUnavailable, match="No space"):
        full.receive(image)
    assert full.rows("SELECT * FROM objects") == []


def test_a_database_without_room_means_later_and_stores_nothing(small_filesystem: Path) -> None:
    bench = Bench(small_filesystem / "centre")
    host = bench.enrol()
    image = host.seal()
    filler = small_filesystem / "filler"
    fill(filler)

    with pytest.raises(Unavailable):
        bench.receive(image)

    filler.unlink()
    assert bench.rows("SELECT * FROM objects") == []
    assert bench.receive(image)
    assert bench.read(image) == image.dataset


def fill(path: Path) -> None:
    """Write to `path` until its file system is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_database_that_stays_locked_means_later(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    event.listen(bench.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 10"))

    with bench.database() as other:
        other.execute(text("BEGIN IMMEDIATE"))
        with pytest.raises(DatabaseUnavailable):
            bench.receive(image)
    assert bench.receive(image)

"""An import takes in what proves itself, names what does not, and comes to the same end however often it is begun."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.capture.recovery import Recovery
from edge_agent.database import DatabaseUnavailable
from edge_agent.moving.folder import CERTIFICATES, LIST, MANIFEST, FileUnreadable
from edge_agent.moving.importer import NotAllTakenIn, OwnExport, SpoolImporter
from edge_agent.moving.judge import StrangeCertificate, certified
from edge_agent.moving.manifest import ListedObject, Manifest, PartList
from edge_agent.moving.spools import Held, HostSpool, Readable
from edge_agent.spool.catalogue import Spooled, State
from edge_agent.spool.errors import QuotaReached, SpoolFull, SpoolUnavailable
from shared.audit.batch import Batch, ChainHead, sign_batch
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import GENESIS
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.receipt import Receipt, sign_receipt
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.signing import EvidencePublicKey, SignatureInvalid, SoftwareSigner, signing_key_id
from tests.edge_agent.moving.carrying import (
    Carrier,
    batch_files,
    digests,
    flip,
    object_files,
    part_of,
    parts,
    sign_again,
)
from tests.fakes.centre import Authority
from tests.fakes.host import Host


@pytest.fixture
def captured(old: Carrier) -> list[ObjectId]:
    return [old.capture(bytes([n]) * 3000) for n in range(3)]


@pytest.fixture
def carried(old: Carrier, captured: list[ObjectId], stick: Path) -> Path:
    old.export(stick)
    return stick


def moved_batches(carrier: Carrier) -> list[bytes]:
    return [batch.batch for batch in carrier.moved.batches()]


def listed(export: Path) -> dict[ObjectId, ListedObject]:
    return {one.object_id: one for _, part in parts(export) for one in part.objects}


def answer_for(carrier: Carrier, object_id: ObjectId, record_sha256: bytes) -> None:
    """Keep a receipt of the vault."""
    receipt = Receipt(object_id, record_sha256, carrier.host.clock.now())
    carrier.host.captures.receipts.keep(receipt, sign_receipt(receipt, carrier.host.receipts))


# ---- what is taken in


def test_everything_is_taken_in_byte_for_byte_and_waits_in_order(old: Carrier, new: Carrier, carried: Path) -> None:
    imported = new.take_in(carried)

    imported.verify_whole()
    assert new.files() == old.files()
    assert list(new.files()) == list(old.files())
    assert moved_batches(new) == [path.read_bytes() for path in batch_files(carried)]
    assert (imported.taken, imported.held) == (3, 0)


def test_it_is_recorded_with_the_old_host_and_the_export_as_subjects(old: Carrier, new: Carrier, carried: Path) -> None:
    imported = new.take_in(carried)

    begun, record = new.host.records()
    assert (begun.event, begun.what) == (Event.SPOOL_IMPORT_BEGUN, record.what)
    assert (record.event, record.outcome) == (Event.SPOOL_IMPORTED, Outcome.SUCCESS)
    assert record.what == (
        Subject("host", str(old.host_id)), Subject("export", str(imported.manifest.export_id)),
    )  # fmt: skip


def test_what_was_brought_is_known_for_another_hosts_also_after_a_restart(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    own = new.capture()
    new.take_in(carried)
    new.start_again()

    assert [new.moved.source_of(one) for one in captured] == [old.host_id] * 3
    assert new.moved.source_of(own) is None


def test_an_import_that_ends_in_a_way_that_nobody_foresaw_is_recorded_as_failed(
    new: Carrier, carried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SpoolImporter, "_part", stopped)
    with pytest.raises(KeyboardInterrupt):
        new.take_in(carried)

    last = new.host.records()[-1]
    assert (last.event, last.outcome, last.reason) == (
        Event.SPOOL_IMPORTED, Outcome.SERIOUS_FAILURE, "KeyboardInterrupt",
    )  # fmt: skip


def test_what_was_brought_is_no_capture_of_the_new_host(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    before = new.files()
    new.start_again()

    assert new.host.events() == [Event.SPOOL_IMPORT_BEGUN, Event.SPOOL_IMPORTED]
    assert (new.files(), list(new.host.spool.rows(State.PUT_ASIDE))) == (before, [])
    # The same image, sent to the new host, is one of its own: whoever sends it wants its own answer for it.
    with new.host.spool.open(new.host.spool.everything()[0]) as file:
        uid_hash = object_file.parse(file).binding.sop_instance_hash
    assert new.host.captures.instances.of(uid_hash) == ()
    own = new.capture(bytes([0]) * 3000)
    assert own not in captured
    assert new.host.events() == [Event.SPOOL_IMPORT_BEGUN, Event.SPOOL_IMPORTED, Event.IMAGE_CAPTURED]


def test_an_export_of_an_export_brings_everything_on_to_a_third_host(
    tmp_path: Path, authority: Authority, old: Carrier, new: Carrier, carried: Path
) -> None:
    new.take_in(carried)
    own = new.capture(b"\x01")
    onward = tmp_path / "another stick"
    new.export(onward)
    third = Carrier.new(tmp_path / "third", authority)

    third.take_in(onward).verify_whole()

    assert third.files() == {**old.files(), str(own): new.files()[str(own)]}
    assert {batch.host for batch in third.moved.batches()} == {old.host_id, new.host_id}
    assert third.moved.source_of(ObjectId.parse(next(iter(old.files())))) == old.host_id


# ---- again, and cut off


def test_doing_it_again_changes_nothing(new: Carrier, carried: Path) -> None:
    new.take_in(carried)
    before, batches = new.files(), moved_batches(new)

    again = new.take_in(carried)

    again.verify_whole()
    assert (again.taken, again.held) == (0, 3)
    assert (new.files(), moved_batches(new)) == (before, batches)


def test_what_the_vault_has_meanwhile_is_not_taken_in_again(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    (first, *_) = new.host.spool.everything()
    with new.host.database.transaction() as connection:
        answer_for(new, first.object_id, listed(carried)[first.object_id].record_sha256)
        new.host.spool.forget(connection, first)
    new.host.spool.let_go(first)
    new.moved.delivered(first.object_id)

    new.take_in(carried).verify_whole()

    assert list(new.files()) == [str(one) for one in captured[1:]]


class CutOff(HostSpool):
    """A spool whose disk fails while it takes in the second object."""

    taken = 0

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        self.taken += 1
        if self.taken == 2:
            source.read(1000)
            raise SpoolUnavailable("input/output error")
        super().take_in(object_id, source)


def test_one_that_was_cut_off_is_begun_anew_and_ends_as_if_it_had_not_been(
    old: Carrier, new: Carrier, carried: Path
) -> None:
    with pytest.raises(SpoolUnavailable):
        new.take_in(carried, spool=CutOff(new.host.spool, new.host.database))
    after_the_cut = new.files()

    new.take_in(carried).verify_whole()

    assert len(after_the_cut) == 1
    assert new.files() == old.files()
    ended = [record.outcome for record in new.host.records() if record.event is Event.SPOOL_IMPORTED]
    assert ended == [Outcome.MINOR_FAILURE, Outcome.SUCCESS]


@dataclass
class AtItsEnd:
    source: Readable
    tell: Callable[[], None]

    def read(self, size: int, /) -> bytes:
        piece = self.source.read(size)
        if not piece:
            self.tell()
        return piece

    @property
    def small_parts_bytes(self) -> int:
        return self.source.small_parts_bytes


class Watched(HostSpool):
    """A spool of which each stage of the second object is kept as a power cut would leave it."""

    def __init__(self, new: Carrier, cuts: Path) -> None:
        super().__init__(new.host.spool, new.host.database)
        self._host, self._cuts, self._taken = new.host, cuts, 0

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        self._taken += 1
        self._cut("before")
        super().take_in(object_id, AtItsEnd(source, lambda: self._cut("read")))
        self._cut("after")

    def _register(self, spooled: Spooled) -> None:
        self._cut("committed")
        super()._register(spooled)

    def _cut(self, stage: str) -> None:
        if self._taken == 2:
            shutil.copytree(self._host.folder, self._cuts / stage)


CUT_OFF = [Event.SPOOL_IMPORT_BEGUN, Event.SPOOL_IMPORTED]  # which the next start records
STAGES = ["before", "read", "committed", "after"]
SIZES = pytest.mark.parametrize("size", [3000, 2 << 20], ids=["in a segment", "in a file"])


@pytest.fixture
def cuts(tmp_path: Path, old: Carrier, new: Carrier, stick: Path, size: int) -> Path:
    for n in range(3):
        old.capture(bytes([n]) * size)
    old.export(stick)
    new.take_in(stick, spool=Watched(new, tmp_path / "cuts")).verify_whole()
    return tmp_path / "cuts"


@SIZES
@pytest.mark.parametrize("stage", STAGES)
def test_a_cut_at_any_stage_is_no_damage_and_the_next_import_ends_it(
    old: Carrier, new: Carrier, stick: Path, cuts: Path, stage: str
) -> None:
    new.start_again(cuts / stage)

    assert (new.host.events(), new.host.records()[-1].outcome) == (CUT_OFF, Outcome.SERIOUS_FAILURE)
    assert list(new.host.spool.rows(State.PUT_ASIDE)) == []
    begun = list(new.files())
    assert begun == list(old.files())[: 2 if stage == "after" else 1]
    assert [str(one) for one in map(ObjectId.parse, old.files()) if new.moved.source_of(one)] == begun
    assert new.host.left_behind() == [*(path.name for path in new.host.spool.files.iterdir()), *begun]

    new.take_in(stick).verify_whole()
    assert new.files() == old.files()
    new.start_again()
    assert new.files() == old.files()
    assert (new.host.events(), new.host.spool.attempts.left_over()) == (CUT_OFF * 2, ())


@pytest.mark.parametrize("size", [300_000])
@pytest.mark.parametrize("block", [0, 1, 2, 40, 74])
def test_an_entry_that_the_cut_tore_is_left_to_the_next_import_too(
    old: Carrier, new: Carrier, stick: Path, cuts: Path, block: int
) -> None:
    (segment,) = (cuts / "committed" / "spool" / "segments").iterdir()
    entry_bytes = 4096 * -(-(4096 + len(next(iter(old.files().values())))) // 4096)
    with segment.open("r+b") as file:
        file.seek(entry_bytes + 4096 * block)
        file.write(bytes(4096))
    new.start_again(cuts / "committed")

    assert (new.host.events(), list(new.host.spool.rows(State.PUT_ASIDE))) == (CUT_OFF, [])
    new.take_in(stick).verify_whole()
    assert new.files() == old.files()


@pytest.mark.parametrize("size", [2 << 20])
def test_a_file_whose_note_the_cut_took_is_left_to_the_next_import_too(
    old: Carrier, new: Carrier, stick: Path, cuts: Path
) -> None:
    for note in (cuts / "committed" / "spool" / "files").glob("*.note"):
        note.unlink()
    new.start_again(cuts / "committed")

    assert (new.host.events(), len(new.files())) == (CUT_OFF, 1)
    new.take_in(stick).verify_whole()
    assert new.files() == old.files()


@pytest.mark.parametrize("size", [2 << 20])
@pytest.mark.parametrize("stage, event", [("read", Event.IMAGE_REFUSED), ("committed", Event.OBJECT_DAMAGED)])
def test_control_a_start_that_does_not_ask_whose_an_object_is_takes_it_for_its_own(
    new: Carrier, cuts: Path, stage: str, event: Event
) -> None:
    for note in (cuts / stage / "spool" / "files").glob("*.note"):
        note.unlink()
    new.folder = new.host.folder = cuts / stage
    new.host.restart()
    captures = new.host.captures
    Recovery(
        database=new.host.database, spool=new.host.spool, entries=captures.entries, claims=captures.claims,
        journal=new.host.journal, host_id=new.host_id, key=new.host.signer.public,
        has_receipt=captures.receipts.holds, is_brought=lambda _: False, log=new.host.log,
    ).run()  # fmt: skip

    assert event in new.host.events()


def test_what_cannot_be_registered_is_not_kept_and_leaves_no_attempt(
    new: Carrier, captured: list[ObjectId], carried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unregistrable(*_: object) -> None:
        raise DatabaseUnavailable("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(new.host.spool, "register", unregistrable)
        with pytest.raises(DatabaseUnavailable):
            new.take_in(carried)

    assert (new.files(), new.host.spool.attempts.left_over()) == ({}, ())
    assert [new.moved.source_of(one) for one in captured] == [None] * 3
    new.take_in(carried).verify_whole()
    assert list(new.files()) == [str(one) for one in captured]


def test_a_full_disk_keeps_what_was_taken_in(new: Carrier, carried: Path) -> None:
    new.host.free_bytes = 0

    with pytest.raises(SpoolFull):
        new.take_in(carried)
    assert new.files() == {}
    assert [new.moved.source_of(one) for one in object_files(carried)] == [None] * 3
    new.host.free_bytes = 1 << 40
    new.take_in(carried).verify_whole()


def test_an_import_holds_to_the_quota_and_goes_on_when_there_is_room(new: Carrier, carried: Path) -> None:
    new.host.quota_bytes = 10_000

    with pytest.raises(QuotaReached):
        new.take_in(carried)
    assert 0 < len(new.files()) < 3
    new.host.quota_bytes = 0
    new.take_in(carried).verify_whole()
    assert new.host.spool.held_bytes() == sum(map(len, new.files().values()))


# ---- again, and what is here is not what it was


def put_aside(carrier: Carrier, object_id: ObjectId) -> None:
    spooled = carrier.host.spool.find(object_id)
    assert spooled is not None
    carrier.host.spool.put_aside(spooled, "refused with status 422: Object altered")


def state_of(carrier: Carrier, object_id: ObjectId) -> tuple[State, str]:
    row = carrier.host.spool.catalogue.find(object_id)
    assert row is not None
    return row.state, row.why


@pytest.mark.parametrize("size", [3000, 2 << 20], ids=["in a segment", "in a file"])
@pytest.mark.parametrize("which", ["binding", "body", "wrap", "index", "record"])
def test_what_went_bad_here_and_was_put_aside_is_mended_from_a_good_export(
    old: Carrier, new: Carrier, stick: Path, size: int, which: str
) -> None:
    first, second = old.capture(bytes(size)), old.capture(b"\x01")
    old.export(stick)
    new.take_in(stick)
    new.rot(first, which)
    put_aside(new, first)

    again = new.take_in(stick)

    again.verify_whole()
    assert (again.taken, again.mended, again.held) == (1, 1, 1)
    assert list(new.files().items()) == list(old.files().items())
    assert new.host.spool.amiss() == 0
    assert new.moved.source_of(first) == old.host_id
    assert new.host.spool.held_bytes() == sum(map(len, new.files().values()))
    assert "1 of the objects in place of what was damaged" in new.host.records()[-1].reason
    new.start_again()
    assert (new.files(), list(new.host.spool.incoming.iterdir())) == (old.files(), [])
    assert Event.OBJECT_DAMAGED not in new.host.events()
    assert list(new.host.spool.rows(State.PUT_ASIDE)) == []
    assert list(map(ObjectId.parse, new.files())) == [first, second]


def test_what_a_disk_does_not_give_is_mended_too(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    (segment,) = (new.folder / "spool" / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:100])
    with new.host.database.transaction() as connection:
        for spooled in new.host.spool.everything():
            new.host.spool.note_unreadable(connection, spooled, "Input/output error")

    new.take_in(carried).verify_whole()

    assert new.files() == old.files()
    assert [state_of(new, one) for one in captured] == [(State.WAITING, "")] * 3


@pytest.mark.parametrize("is_gone", [False, True], ids=["not deleted yet", "deleted"])
@pytest.mark.parametrize("size", [3000, 2 << 20], ids=["in a segment", "in a file"])
def test_what_a_person_discarded_here_is_taken_in_again(
    old: Carrier, new: Carrier, stick: Path, size: int, is_gone: bool
) -> None:
    object_id = old.capture(bytes(size))
    old.export(stick)
    new.take_in(stick)
    spool = new.host.spool
    (spooled,) = spool.everything()
    with new.host.database.transaction() as connection:
        spool.catalogue.change(connection, spooled, State.DISCARDED, "damaged")
    if is_gone:
        spool.give_up(spooled)

    new.take_in(stick).verify_whole()

    assert new.files() == old.files()
    assert new.moved.source_of(object_id) == old.host_id
    assert spool.held_bytes() == len(new.files()[str(object_id)])


def test_a_bad_export_makes_nothing_worse_of_what_was_put_aside(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    put_aside(new, captured[1])
    flip(object_files(carried)[captured[1]], 2000)

    assert [name for name, _ in new.take_in(carried).refused] == [
        f"part-00001/{object_files(carried)[captured[1]].name}"
    ]
    assert state_of(new, captured[1])[0] is State.PUT_ASIDE
    assert new.moved.source_of(captured[1]) is not None
    spooled = new.host.spool.find(captured[1])
    assert spooled is not None
    with new.host.spool.open(spooled) as file:
        assert len(file.read()) == spooled.object_bytes
    assert list(new.host.spool.incoming.iterdir()) == []


def test_a_full_disk_mends_nothing_and_makes_nothing_worse(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    put_aside(new, captured[1])
    new.host.free_bytes = 0

    with pytest.raises(SpoolFull):
        new.take_in(carried)
    assert state_of(new, captured[1])[0] is State.PUT_ASIDE
    assert list(new.host.spool.incoming.iterdir()) == []
    new.host.free_bytes = 1 << 40
    assert new.take_in(carried).mended == 1


@pytest.mark.parametrize("size", [3000, 2 << 20], ids=["in a segment", "in a file"])
def test_a_cut_before_the_mended_copy_is_entered_leaves_it_put_aside_and_the_next_import_ends_it(
    old: Carrier, new: Carrier, stick: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    object_id = old.capture(bytes(size))
    old.export(stick)
    new.take_in(stick)
    put_aside(new, object_id)

    def cut(*_: object) -> None:
        raise DatabaseUnavailable("the power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(new.host.spool.catalogue, "replace", cut)
        with pytest.raises(DatabaseUnavailable):
            new.take_in(stick)
    new.start_again()

    assert state_of(new, object_id)[0] is State.PUT_ASIDE
    new.take_in(stick).verify_whole()
    assert new.files() == old.files()


# ---- one id, two objects


@pytest.fixture
def shadow(tmp_path: Path, authority: Authority, captured: list[ObjectId]) -> Path:
    """An export of an enrolled host that sealed something of its own under the id of another one's object."""
    evil = Carrier.new(tmp_path / "evil", authority)
    left = [captured[1].raw]
    evil.host.pipeline._random = lambda size: left.pop() if left and size == 16 else os.urandom(size)
    assert evil.capture(b"\x66") == captured[1]
    evil.export(tmp_path / "shadow")
    return tmp_path / "shadow"


@pytest.mark.parametrize("what", ["waits", "was put aside", "was put aside and is damaged"])
def test_an_id_under_which_another_host_s_object_is_here_is_refused_by_name_and_never_counted_as_here(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path, shadow: Path, what: str
) -> None:
    new.take_in(shadow).verify_whole()
    before = new.files()[str(captured[1])]
    if what.endswith("damaged"):
        new.rot(captured[1], "record")
    if what != "waits":
        put_aside(new, captured[1])

    imported = new.take_in(carried)

    assert [(name, why.partition(":")[0]) for name, why in imported.refused] == [
        (f"part-00001/{object_files(carried)[captured[1]].name}", "HeldOtherwise")
    ]
    assert (imported.taken, imported.held) == (2, 0)
    assert new.moved.source_of(captured[1]) not in (None, old.host_id)
    if what == "waits":
        assert new.files()[str(captured[1])] == before


def test_nor_is_it_counted_where_the_vault_has_another_object_under_that_id(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    answer_for(new, captured[1], bytes(32))

    imported = new.take_in(carried)

    assert [why.partition(":")[0] for _, why in imported.refused] == ["HeldOtherwise"]
    assert list(new.files()) == [str(captured[0]), str(captured[2])]


def test_another_object_that_the_same_host_signed_under_that_id_is_not_written_over(
    tmp_path: Path, old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    new.take_in(carried)
    put_aside(new, captured[1])
    liar = Carrier(
        tmp_path / "liar", old.authority, Host(tmp_path / "liar", host_id=old.host_id, signer=old.host.signer)
    )
    left = [captured[1].raw]
    liar.host.pipeline._random = lambda size: left.pop() if left and size == 16 else os.urandom(size)
    liar.capture(b"\x66")
    liar.export(tmp_path / "another")

    assert [why.partition(":")[0] for _, why in new.take_in(tmp_path / "another").refused] == ["HeldOtherwise"]
    assert state_of(new, captured[1])[0] is State.PUT_ASIDE


def test_control_a_spool_that_calls_everything_sound_mends_nothing(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    class AllIsWell(HostSpool):
        def held(self, object_id: ObjectId) -> Held | None:
            held = super().held(object_id)
            return held and replace(held, is_sound=True)

    new.take_in(carried)
    put_aside(new, captured[1])

    assert new.take_in(carried, spool=AllIsWell(new.host.spool, new.host.database)).held == 3
    assert new.host.spool.amiss() == 1


# ---- what was altered on the way


@pytest.mark.parametrize("which", ["binding", "body", "wrap", "index", "record"])
def test_an_object_with_a_flipped_bit_is_refused_by_name_and_the_rest_is_taken_in(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path, which: str
) -> None:
    path = object_files(carried)[captured[1]]
    flip(path, part_of(path.read_bytes(), which))

    imported = new.take_in(carried)

    assert [name for name, _ in imported.refused] == [f"part-00001/{path.name}"]
    assert list(new.files()) == [str(captured[0]), str(captured[2])]
    assert new.moved.source_of(captured[1]) is None
    with pytest.raises(NotAllTakenIn, match=path.name):
        imported.verify_whole()
    _, refused, whole = new.host.records()
    assert (refused.outcome, refused.what[-1]) == (
        Outcome.SERIOUS_FAILURE, Subject("file", f"part-00001/{path.name}"),
    )  # fmt: skip
    assert whole.outcome is Outcome.MINOR_FAILURE


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x00")


def remove(path: Path) -> None:
    path.unlink()


def put_a_link(path: Path) -> None:
    kept = path.with_name("elsewhere")
    path.rename(kept)
    path.symlink_to(kept)


def put_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_another(path: Path) -> None:
    """Another object of the same host, whole and authentic, in the place of this one."""
    other = next(one for one in path.parent.iterdir() if one != path and one.name[:1] == "0")
    shutil.copyfile(other, path)


@pytest.mark.parametrize("how", [cut, lengthen, remove, put_a_link, put_a_pipe, put_a_folder, put_another])
@pytest.mark.parametrize("what", ["object", "batch"])
def test_a_file_that_is_another_or_none_is_refused_by_name_and_the_rest_is_taken_in(
    new: Carrier, captured: list[ObjectId], carried: Path, how: Callable[[Path], None], what: str
) -> None:
    path = object_files(carried)[captured[1]] if what == "object" else batch_files(carried)[0]
    how(path)

    imported = new.take_in(carried)

    assert [name for name, _ in imported.refused] == [f"part-00001/{path.name}"]
    expected = [captured[0], captured[2]] if what == "object" else captured
    assert list(new.files()) == [str(one) for one in expected]
    assert len(moved_batches(new)) == (1 if what == "object" else 0)


@pytest.mark.parametrize("how", [cut, lengthen, remove, put_a_pipe, lambda path: flip(path, 10)])
def test_a_list_that_is_another_costs_its_part_and_is_named(
    new: Carrier, carried: Path, how: Callable[[Path], None]
) -> None:
    how(carried / "part-00001" / LIST)

    imported = new.take_in(carried)

    assert [name for name, _ in imported.refused] == [f"part-00001/{LIST}"]
    assert (new.files(), moved_batches(new)) == ({}, [])
    with pytest.raises(NotAllTakenIn):
        imported.verify_whole()


def test_a_part_that_is_a_link_is_not_followed(tmp_path: Path, new: Carrier, carried: Path) -> None:
    (carried / "part-00001").rename(tmp_path / "elsewhere")
    (carried / "part-00001").symlink_to(tmp_path / "elsewhere")

    imported = new.take_in(carried)

    assert [name for name, _ in imported.refused] == [f"part-00001/{LIST}"]
    assert (new.files(), moved_batches(new)) == ({}, [])


def test_the_folder_that_a_person_names_may_be_a_link(tmp_path: Path, new: Carrier, carried: Path) -> None:
    (tmp_path / "usb").symlink_to(carried)

    new.take_in(tmp_path / "usb").verify_whole()


def test_a_list_from_which_somebody_took_a_line_is_refused(new: Carrier, carried: Path) -> None:
    ((folder, part),) = parts(carried)
    (folder / LIST).write_bytes(replace(part, objects=part.objects[1:]).encode())

    imported = new.take_in(carried)

    assert imported.refused[0][1].startswith("FileAltered")
    assert new.files() == {}


def test_a_batch_that_the_host_signed_another_time_is_not_the_one_in_the_list(
    old: Carrier, new: Carrier, carried: Path
) -> None:
    (path,) = batch_files(carried)
    batch = Batch.parse(path.read_bytes())
    again = sign_batch(str(old.host_id), GENESIS, batch.records[:-1], old.host.signer)
    path.write_bytes(again.encode())

    imported = new.take_in(carried)

    assert [name for name, _ in imported.refused] == [f"part-00001/{path.name}"]
    assert moved_batches(new) == []


def sign_with(old: Carrier, carried: Path, part: PartList | None = None, **changes: Any) -> None:
    """Have the old host itself sign for something else: a host that lies, or an exporter with a fault."""
    ((folder, listed),) = parts(carried)
    (folder / LIST).write_bytes((part or listed).encode())
    payload = Manifest.parse((carried / MANIFEST).read_bytes()[28:-64])
    sign_again(carried, old.host.signer, replace(payload, parts=digests(carried), **changes))


def test_a_list_that_names_another_record_is_not_believed(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    ((_, part),) = parts(carried)
    first, *rest = part.objects
    sign_with(old, carried, replace(part, objects=(replace(first, record_sha256=bytes(32)), *rest)))

    imported = new.take_in(carried)

    assert [why.partition(":")[0] for _, why in imported.refused] == ["FileAltered"]
    assert list(new.files()) == [str(one) for one in captured[1:]]


def test_a_batch_that_does_not_end_where_the_manifest_says_is_refused(
    old: Carrier, new: Carrier, carried: Path
) -> None:
    sign_with(old, carried, head=ChainHead(5, bytes(32)))

    assert [why.partition(":")[0] for _, why in new.take_in(carried).refused] == ["FileAltered"]
    assert moved_batches(new) == []


def test_a_batch_with_other_numbers_than_the_list_says_is_refused(old: Carrier, new: Carrier, carried: Path) -> None:
    ((folder, part),) = parts(carried)
    (batch,) = part.batches
    renamed = replace(batch, first=2)
    (folder / batch.name).rename(folder / renamed.name)
    sign_with(old, carried, replace(part, batches=(renamed,)))

    assert [name for name, _ in new.take_in(carried).refused] == [f"part-00001/{renamed.name}"]
    assert moved_batches(new) == []


def test_what_was_left_on_the_old_host_is_said_again(old: Carrier, new: Carrier, stick: Path) -> None:
    bad = old.capture(bytes(2000))
    old.rot(bad, "body")
    old.export(stick)

    with pytest.raises(NotAllTakenIn, match=f"{bad}: damaged on the old host"):
        new.take_in(stick).verify_whole()


# ---- what is no export for this host


def assert_refused(new: Carrier, carried: Path, error: type[Exception]) -> None:
    with pytest.raises(error):
        new.take_in(carried)
    assert (new.files(), moved_batches(new)) == ({}, [])
    recorded = new.host.records()[-1]
    assert (recorded.event, recorded.what) == (Event.SPOOL_IMPORTED, (Subject("file", MANIFEST),))
    assert recorded.outcome in {Outcome.MINOR_FAILURE, Outcome.SERIOUS_FAILURE}
    assert error.__name__ in recorded.reason


@pytest.mark.parametrize("name", [MANIFEST, CERTIFICATES])
@pytest.mark.parametrize("how", [remove, put_a_pipe, put_a_link, put_a_folder])
def test_without_manifest_or_certificates_nothing_is_taken_in(
    new: Carrier, carried: Path, name: str, how: Callable[[Path], None]
) -> None:
    how(carried / name)

    assert_refused(new, carried, FileUnreadable)


@pytest.mark.parametrize("name", [MANIFEST, CERTIFICATES])
def test_what_is_larger_than_it_may_be_is_not_read(new: Carrier, carried: Path, name: str) -> None:
    with (carried / name).open("ab") as file:
        file.truncate(1 << 30)

    assert_refused(new, carried, FileUnreadable)


def test_a_bit_of_the_manifest_is_not_changed_unseen(new: Carrier, carried: Path) -> None:
    whole = (carried / MANIFEST).read_bytes()
    for at in range(0, len(whole), 7):
        flip(carried / MANIFEST, at)
        with pytest.raises((Refused, IntegrityFailure)):
            new.take_in(carried)
        (carried / MANIFEST).write_bytes(whole)
    assert new.files() == {}


def test_a_manifest_that_somebody_else_signed_is_refused(new: Carrier, carried: Path) -> None:
    payload = Manifest.parse((carried / MANIFEST).read_bytes()[28:-64])
    sign_again(carried, SoftwareSigner(ec.generate_private_key(ec.SECP256R1())), payload)

    assert_refused(new, carried, StrangeCertificate)


def test_a_manifest_that_one_host_signs_in_anothers_name_is_refused(old: Carrier, new: Carrier, carried: Path) -> None:
    payload = Manifest.parse((carried / MANIFEST).read_bytes()[28:-64])
    sign_again(carried, old.host.signer, replace(payload, host_id=HostId.new()))

    assert_refused(new, carried, Malformed)


def test_a_stranger_with_an_authority_of_its_own_is_refused(tmp_path: Path, new: Carrier) -> None:
    stranger = Carrier.new(tmp_path / "stranger", Authority())
    stranger.capture()
    stranger.export(tmp_path / "stick")

    assert_refused(new, tmp_path / "stick", StrangeCertificate)


@pytest.mark.parametrize("unit", ["host", "service", "server", ""])
def test_a_certificate_for_something_else_proves_nothing(
    authority: Authority, old: Carrier, new: Carrier, carried: Path, unit: str
) -> None:
    pem = authority.issue(str(old.host_id), unit or "x", old.host.signer.public.key)
    (carried / CERTIFICATES).write_bytes(pem)

    assert_refused(new, carried, StrangeCertificate)


def test_a_certificate_whose_key_may_not_sign_proves_nothing(
    authority: Authority, old: Carrier, new: Carrier, carried: Path
) -> None:
    pem = authority.issue(str(old.host_id), "evidence", old.host.signer.public.key, signs=False)
    (carried / CERTIFICATES).write_bytes(pem)

    assert_refused(new, carried, StrangeCertificate)


def test_an_authority_that_is_none_proves_nothing(tmp_path: Path) -> None:
    none = Authority(may_issue=False)
    old, new = Carrier.new(tmp_path / "old", none), Carrier.new(tmp_path / "new", none)

    with pytest.raises(StrangeCertificate):
        certified(old.certificate, new.trust)


def test_an_authority_s_own_certificate_is_nobody_s(authority: Authority, new: Carrier, carried: Path) -> None:
    (carried / CERTIFICATES).write_bytes(authority.pem)

    assert_refused(new, carried, StrangeCertificate)


def test_a_host_does_not_take_in_its_own_export(old: Carrier, carried: Path) -> None:
    before = old.files()

    with pytest.raises(OwnExport):
        old.take_in(carried)
    assert old.files() == before


def test_an_object_of_a_host_whose_certificate_is_not_there_is_refused(
    tmp_path: Path, authority: Authority, old: Carrier, new: Carrier, carried: Path
) -> None:
    """As when somebody puts another host's object and its line into a list that an accomplice signs."""
    new.take_in(carried)
    onward = tmp_path / "another stick"
    new.export(onward)
    (onward / CERTIFICATES).write_bytes(new.certificate)

    third = Carrier.new(tmp_path / "third", authority)
    imported = third.take_in(onward)

    assert len(imported.refused) == 4
    assert third.files() == {}


# ---- negative controls


def altered_with_everything_but_the_signature(old: Carrier, carried: Path, object_id: ObjectId) -> None:
    """Change a wrap, which no record covers, and put list and manifest in agreement with it."""
    path = object_files(carried)[object_id]
    flip(path, part_of(path.read_bytes(), "wrap"))
    ((folder, part),) = parts(carried)
    objects = tuple(
        replace(one, sha256=sha256(path.read_bytes()).digest()) if one.object_id == object_id else one
        for one in part.objects
    )
    (folder / LIST).write_bytes(PartList(objects, part.left, part.batches).encode())
    signed = (carried / MANIFEST).read_bytes()
    payload = replace(Manifest.parse(signed[28:-64]), parts=digests(carried)).encode()
    assert signing_key_id(signed) == old.host.signer.public.key_id
    (carried / MANIFEST).write_bytes(signed[:24] + len(payload).to_bytes(4) + payload + signed[-64:])


def test_control_an_import_that_does_not_verify_the_manifest_takes_an_altered_file(
    old: Carrier, new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    altered_with_everything_but_the_signature(old, carried, captured[1])

    assert_refused(new, carried, SignatureInvalid)

    def believe(signed: bytes, _key: EvidencePublicKey) -> Manifest:
        return Manifest.parse(signed[28:-64])

    new.take_in(carried, verify_manifest=believe).verify_whole()
    assert new.files()[str(captured[1])] != old.files()[str(captured[1])]


def test_control_a_spool_that_keeps_what_raised_keeps_an_altered_object(
    new: Carrier, captured: list[ObjectId], carried: Path
) -> None:
    @dataclass
    class Whatever:
        left: bytes
        small_parts_bytes: int

        def read(self, size: int, /) -> bytes:
            piece, self.left = self.left[:size], self.left[size:]
            return piece

    class KeepsAnyway(HostSpool):
        def take_in(self, object_id: ObjectId, source: Readable) -> None:
            found = b""
            with suppress(Refused, IntegrityFailure):
                while piece := source.read(1000):
                    found += piece
            super().take_in(object_id, Whatever(found, source.small_parts_bytes))

    path = object_files(carried)[captured[1]]
    flip(path, part_of(path.read_bytes(), "body"))

    new.take_in(carried, spool=KeepsAnyway(new.host.spool, new.host.database))

    assert str(captured[1]) in new.files()

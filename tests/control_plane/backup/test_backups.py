"""A backup holds all that it says, is proved before it counts, and never holds the root key."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from control_plane.audit_log.objects import MAX_ENTRY, number_of
from control_plane.backup import making, register
from control_plane.backup.folder import BackupDamaged, BackupFolder, FolderInUse, NoBackup, NoPlaceForBackups, chosen
from control_plane.backup.lines import RootKeyInside, type_of
from control_plane.backup.making import BackupMaker
from control_plane.backup.manifest import DATABASE
from control_plane.backup.register import KEY, WRAP, BackupUnknown, Copy, Destruction
from control_plane.backup.verifying import keys_of
from control_plane.db.models import Base, SubjectKey
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit, snapshot
from control_plane.keys import drill, shares
from control_plane.keys.root import KeyNotAuthentic, RootKey
from control_plane.vault.index_service import Attribute
from control_plane.vault.losses import Losses
from control_plane.vault.object_store import BodyUnreadable
from shared.audit.events import Event
from shared.identity import ObjectId
from tests.control_plane.backup.kept import Kept, everything
from tests.control_plane.vault.bench import ROOT
from tests.control_plane.vault.harm import not_given_to_a_reader, not_given_to_an_opener


def copies(kept: Kept) -> list[Copy]:
    with kept.bench.database() as session:
        return list(register.copies(session))


def test_a_backup_says_what_it_holds_and_is_recorded(kept: Kept) -> None:
    made = kept.back_up()

    assert (made.manifest.objects, made.copied, made.damaged) == (2, 2, ())
    assert made.manifest.audit_seq == len(kept.bench.events()) - 1
    assert kept.bench.events()[-1] is Event.BACKUP_MADE
    proved = kept.prove()
    assert (proved.manifest, proved.is_signature_proved, proved.damaged) == (made.manifest, True, ())
    (copy,) = copies(kept)
    assert (copy.label, copy.is_finished, copy.objects) == (made.manifest.label, True, 2)


def test_what_the_folder_holds_already_is_not_copied_again(kept: Kept) -> None:
    kept.back_up()
    third = kept.capture(kept.bench.enrol())

    made = kept.back_up()

    assert (made.manifest.objects, made.copied) == (3, 1)
    assert made.copied_bytes == kept.bench.body(third.object_id).stat().st_size
    assert kept.prove().damaged == ()
    assert len(list(kept.backups.objects.rglob("*.body"))) == 3


def test_every_table_and_every_type_of_column_has_a_place() -> None:
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            assert type_of(column)


def test_what_leads_to_the_last_record_that_a_log_may_have_is_backed_up(kept: Kept) -> None:
    last = max(number_of(f"{name:032x}", MAX_ENTRY - 1) for name in range(1000))
    kept.bench.sql("INSERT INTO audit_objects VALUES (:number)", number=last)

    kept.back_up()

    assert str(last).encode() in (next(kept.backups.path.glob("2*")) / "database").read_bytes()


def test_no_form_of_the_root_key_is_in_a_backup(kept: Kept) -> None:
    made = kept.back_up()
    found = everything(kept.backups.path)

    forms = (ROOT.raw, ROOT.raw.hex().encode(), base64.b64encode(ROOT.raw))
    assert not any(form in data for form in forms for data in found.values())
    # The search sees what is stored: the sealed keys, which the root key opens.
    with kept.bench.database() as session:
        sealed = session.scalars(select(Base.metadata.tables["keys"].c.sealed)).all()
    assert all(base64.b64encode(key) in found[made.folder / "database"] for key in sealed)


def test_a_root_key_that_lies_in_the_database_stops_the_backup(kept: Kept) -> None:
    kept.bench.sql("UPDATE keys SET public = :raw WHERE name = 'ca/1'", raw=ROOT.raw)

    with pytest.raises(RootKeyInside, match="table keys"):
        kept.back_up()
    assert kept.backups.labels() == []


def test_a_root_key_that_lies_where_the_test_object_should_stops_the_backup(kept: Kept) -> None:
    kept.test_object.write_bytes(b"x" * ((1 << 20) - 7) + ROOT.raw)

    with pytest.raises(RootKeyInside, match="test-object"):
        kept.back_up()
    assert kept.backups.labels() == []


def test_an_interrupted_backup_never_counts_and_is_known_to_hold_keys(kept: Kept) -> None:
    kept.test_object.rename(kept.folder / "elsewhere")
    with pytest.raises(FileNotFoundError):
        kept.back_up()

    (left,) = [path.name for path in kept.backups.path.iterdir() if path.name != "objects"]
    assert left.endswith(".incomplete")
    with pytest.raises(NoBackup):
        chosen(kept.backups.path)
    (copy,) = copies(kept)
    assert not copy.is_finished

    (kept.folder / "elsewhere").rename(kept.test_object)
    made = kept.back_up()
    assert [path.name for path in kept.backups.path.glob("2*")] == [made.manifest.label]
    assert made.copied == 0  # the bodies of the interrupted one were whole


def test_two_backups_do_not_write_to_one_folder_at_once(kept: Kept) -> None:
    with kept.backups.sole_use(), pytest.raises(FolderInUse):
        kept.back_up()


@pytest.mark.parametrize("below, missing", [("bakcups/nightly", "bakcups"), ("bakcups/a/b/c", "bakcups")])
def test_a_backup_into_a_folder_that_nothing_leads_to_is_refused_and_nothing_is_made(
    kept: Kept, below: str, missing: str
) -> None:
    folder = kept.folder / below

    with pytest.raises(NoPlaceForBackups) as refused:
        kept.maker().make(BackupFolder(folder), "A. Admin")

    assert refused.value.missing == kept.folder / missing
    assert f"{kept.folder / missing} is not there" in str(refused.value)
    assert not (kept.folder / missing).exists()
    assert copies(kept) == []

    folder.parent.mkdir(parents=True)
    assert kept.maker().make(BackupFolder(folder), "A. Admin").copied == 2, "the last name alone is made"


def test_a_body_that_rotted_in_the_vault_is_named_and_its_good_copy_kept(kept: Kept) -> None:
    kept.back_up()
    good, rotten = kept.images[0], kept.capture(kept.bench.enrol())
    for image in (good, rotten):
        body = kept.bench.body(image.object_id)
        data = bytearray(body.read_bytes())
        data[-1] ^= 1
        body.write_bytes(data)

    made = kept.back_up()

    assert made.damaged == (rotten.object_id,)
    assert made.manifest.damaged == 1
    assert len(list(kept.backups.objects.rglob("*.body"))) == 2
    (said,) = kept.prove().damaged
    assert str(rotten.object_id) in said


@pytest.mark.parametrize("most, noted", [(2, 2), (1, 0)], ids=["images are lost", "a disk is away"])
def test_what_a_backup_finds_lost_is_told_to_its_hosts_unless_it_is_half_the_vault(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, most: int, noted: int
) -> None:
    monkeypatch.setattr(making, "_MOST_LOST", most)
    host = kept.bench.enrol()
    lost = [kept.capture(host).object_id for _ in range(2)]
    for object_id in lost:
        kept.bench.body(object_id).unlink()

    made = kept.back_up()

    assert sorted(made.damaged, key=str) == sorted(lost, key=str)
    assert list(kept.bench.losses.untold(host.host_id)) == sorted(lost, key=str)[:noted]


class Away(Losses):
    def found(self, object_id: ObjectId, why: str) -> None:
        raise DatabaseUnavailable("it is locked")


def test_a_backup_is_made_although_what_it_missed_cannot_be_noted(kept: Kept) -> None:
    kept.bench.body(kept.images[0].object_id).unlink()
    kept.bench.losses = Away(kept.bench.database, kept.bench.journal, kept.bench.clock)

    with pytest.raises(DatabaseUnavailable):
        kept.back_up()

    (copy,) = copies(kept)
    assert copy.is_finished
    assert kept.bench.events()[-1] is Event.BACKUP_MADE


def test_what_came_back_while_the_backup_was_made_is_not_lost(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    back, gone = kept.images
    bodies = {one.object_id: kept.bench.body(one.object_id) for one in (back, gone)}
    for body in bodies.values():
        body.unlink()
    written = BackupMaker._finish

    def meanwhile(self: BackupMaker, folder: Path, *rest: object) -> object:
        finished = written(self, folder, *rest)  # type: ignore[arg-type]
        kept.bench.receive(back)
        return finished

    monkeypatch.setattr(BackupMaker, "_finish", meanwhile)

    assert len(kept.back_up().damaged) == 2
    assert [kept.bench.losses.untold(one.host_id) for one in (back, gone)] == [(), (gone.object_id,)]


@pytest.mark.parametrize("not_given", [not_given_to_a_reader, not_given_to_an_opener])
def test_a_body_that_the_disk_does_not_give_ends_no_backup(kept: Kept, not_given: Callable[[Path], None]) -> None:
    unreadable, other = kept.images
    not_given(kept.bench.body(unreadable.object_id))

    assert kept.back_up().damaged == (unreadable.object_id,)
    assert kept.bench.losses.untold(unreadable.host_id) == (unreadable.object_id,)
    assert [path.name for path in kept.backups.objects.rglob("*") if path.is_file()] == [f"{other.object_id}.body"]


def test_a_backup_ends_the_losses_whose_bodies_the_disk_gives_again_also_of_images_that_it_held_already(
    kept: Kept,
) -> None:
    kept.back_up()
    for image in kept.images:
        body = kept.bench.body(image.object_id)
        whole = body.read_bytes()
        not_given_to_a_reader(body)
        with pytest.raises(BodyUnreadable):
            kept.bench.read(image)
        if image is kept.images[0]:
            body.unlink()
            body.write_bytes(whole)

    made = kept.back_up()

    assert (made.copied, made.regained, made.damaged) == (0, 1, ())
    assert [one.object_id for one in kept.bench.losses.open_after(None)] == [kept.images[1].object_id]
    assert kept.bench.events()[-1] is Event.LOSS_OVER


def test_a_copy_that_the_disk_wrote_otherwise_is_no_backup(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    written = BackupMaker._finish

    def rotted(self: BackupMaker, folder: Path, *rest: object) -> object:
        finished = written(self, folder, *rest)  # type: ignore[arg-type]
        part = folder / "database"
        part.write_bytes(part.read_bytes()[:-1])
        return finished

    monkeypatch.setattr(BackupMaker, "_finish", rotted)
    with pytest.raises(BackupDamaged, match="database"):
        kept.back_up()
    assert kept.backups.labels() == []


def test_without_the_root_key_a_backup_is_whole_and_its_signer_not_evaluated(kept: Kept) -> None:
    kept.back_up()

    assert not kept.prove(None).is_signature_proved


def test_the_shares_of_another_centre_prove_nothing(kept: Kept) -> None:
    kept.back_up()

    with pytest.raises(KeyNotAuthentic):
        kept.prove(RootKey(bytes(32)))


def test_two_shares_open_the_test_object_of_a_backup(kept: Kept) -> None:
    made = kept.back_up()
    words = shares.split(ROOT)

    root, drilled = drill.drill(keys_of(made.folder), made.folder / "test-object", words[1:])

    assert root.raw == ROOT.raw
    assert drilled.dataset_bytes == 64 * 1024
    with pytest.raises(KeyNotAuthentic):
        drill.drill(keys_of(made.folder), made.folder / "test-object", shares.split(RootKey(bytes(32)))[1:])


def destroy(kept: Kept, gone: Destruction) -> None:
    bench = kept.bench
    in_one_commit(bench.database, lambda session: register.destroyed(session, bench.journal, gone, bench.clock.now()))


def test_copies_that_still_hold_what_was_destroyed_are_named_until_a_person_says_they_are_gone(kept: Kept) -> None:
    made = kept.maker().make(kept.backups, "A. Admin", keep=timedelta(days=30))
    now, image = kept.bench.clock.now(), kept.images[0]
    kept.bench.clock.advance(timedelta(days=1))
    for kind, name in ((KEY, "data/restricted/1"), (WRAP, str(image.object_id)), (KEY, "data/never-there/1")):
        destroy(kept, Destruction(kind, name, now, "A. Admin"))
    assert kept.bench.events()[-1] is Event.KEY_DESTROYED
    kept.bench.clock.advance(timedelta(days=1))
    later = kept.back_up()

    old, young = copies(kept)

    assert set(old.holds) == {"key data/restricted/1", f"wrap {image.object_id}"}
    assert old.keep_until == made.manifest.begun + timedelta(days=30)
    assert (young.label, young.holds) == (later.manifest.label, ())
    with kept.bench.database.begin() as session:
        register.forget(session, old.label, "A. Admin", kept.bench.clock.now())
    assert [copy.label for copy in copies(kept)] == [young.label]
    with kept.bench.database.begin() as session, pytest.raises(BackupUnknown):
        register.forget(session, old.label, "A. Admin", kept.bench.clock.now())


def test_a_key_that_was_made_while_a_backup_began_is_in_no_copy_that_is_not_named(kept: Kept) -> None:
    private, maker = kept.bench.private, kept.maker()
    made = list[SubjectKey]()

    class Busy:
        """Somebody new is in the log both times that a backup looks at the clock before it copies."""

        def now(self) -> datetime:
            now, token = kept.bench.clock.now(), private.index.token(Attribute.PERSON, f"person {len(made)}")
            if len(made) == 2 or token is None:
                return now
            kept.bench.clock.advance(timedelta(seconds=1))
            later = kept.bench.clock.now()
            made.append(in_one_commit(kept.bench.database, lambda session: private.key_of(session, token, later)))
            return now

    folder = BackupMaker(replace(maker._centre, clock=Busy())).make(kept.backups, "A. Admin").folder

    held = (folder / DATABASE).read_bytes()
    with snapshot(kept.bench.database) as session:
        (copy,) = register.copies(session)
    assert len(made) == 2
    assert [one.key_id for one in made if one.key_id.encode() in held and one.since > copy.begun] == []


def test_what_a_host_sealed_a_moment_before_is_in_a_backup_by_keys_that_can_be_destroyed_again(kept: Kept) -> None:
    host = kept.bench.enrol()
    host.note(Event.IMAGE_REFUSED, private={"sop_instance": "1.2.3"})
    host.deliver(1, 1)

    made = kept.back_up()

    held = (made.folder / DATABASE).read_text()
    before = base64.b64encode(host.journal[0].sealed or b"").decode()
    (after,) = kept.bench.rows("SELECT sealed FROM audit_records WHERE event = 'capture.image-refused'")
    assert (before in held, base64.b64encode(after.sealed).decode() in held) == (False, True)


def test_a_folder_that_is_no_backup_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NoBackup):
        chosen(tmp_path)
    with pytest.raises(NoBackup, match="20261129T210000Z-abcd"):
        chosen(tmp_path, "20261129T210000Z-abcd")
    assert BackupFolder(tmp_path).labels() == []

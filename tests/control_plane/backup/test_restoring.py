"""A centre made again from a backup: proved before it is written, whole or refused, and honest about what it lacks."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.backup import restoring
from control_plane.backup.folder import BackupDamaged
from control_plane.backup.restored import UNSETTLED, NotRestored, RestoreSettling, gaps, mark_of, settled, unsettled
from control_plane.backup.restoring import FolderNotEmpty, RestoreRefused
from control_plane.checkpoints.guard import IssuingStopped, LogGuard, Marks
from control_plane.checkpoints.mark import MarkFile
from control_plane.db.engine import DatabaseRefused
from control_plane.db.models import (
    EnrolmentCodeRow,
    Fact,
    LapsedAskRow,
    Person,
    PersonSession,
    SignInLink,
    TwoPersonRequest,
)
from control_plane.enrolment.code_service import EnrolmentCodes, WantedCode
from control_plane.first_start import NotInitialised, verify_initialised
from control_plane.keys.root import KeyNotAuthentic, RootKey
from control_plane.keys.store import JOURNAL
from control_plane.people.accounts import ALL, Accounts, NotSignedIn, begin_session, insert_token, open_link
from control_plane.settings import Folders
from control_plane.vault.opening import ReasonMissing
from control_plane.vault.receive import NotHeld
from shared.audit.events import Action, Event, Happening, Outcome, Subject
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.receipt import is_restore_mark
from shared.signing import Label, SoftwareSigner, WrongSigner, claimed_payload, sign_statement
from tests.control_plane.backup.kept import Kept, everything
from tests.control_plane.vault.bench import Bench

PARTS = ("manifest", "database", "bodies", "test-object", "body")


def part(kept: Kept, name: str) -> Path:
    (backup,) = kept.backups.path.glob("2*")
    return next(kept.backups.objects.rglob("*.body")) if name == "body" else backup / name


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("where", [0.01, 0.5, 0.99])
def test_one_flipped_byte_is_refused(kept: Kept, new: Folders, name: str, where: float) -> None:
    kept.back_up()
    path = part(kept, name)
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)

    with pytest.raises((IntegrityFailure, Refused)):
        kept.restore(new)
    assert everything(new.data) == {}


@pytest.mark.parametrize("name", PARTS)
def test_a_cut_part_is_refused(kept: Kept, new: Folders, name: str) -> None:
    kept.back_up()
    path = part(kept, name)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises((IntegrityFailure, Malformed)):
        kept.restore(new)
    assert everything(new.data) == {}


@pytest.mark.parametrize("name", PARTS[1:])
def test_a_part_that_is_missing_is_refused(kept: Kept, new: Folders, name: str) -> None:
    kept.back_up()
    part(kept, name).unlink()

    with pytest.raises(IntegrityFailure):
        kept.restore(new)
    assert everything(new.data) == {}


def test_the_shares_of_another_centre_restore_nothing(kept: Kept, new: Folders) -> None:
    kept.back_up()

    with pytest.raises(KeyNotAuthentic):
        kept.restore(new, RootKey(bytes(32)))
    assert everything(new.data) == {}


def test_a_manifest_that_somebody_else_signed_is_refused(kept: Kept, new: Folders) -> None:
    kept.back_up()
    path = part(kept, "manifest")
    other = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    path.write_bytes(sign_statement(other, Label.BACKUP, claimed_payload(path.read_bytes())))

    with pytest.raises(WrongSigner):
        kept.restore(new)


def test_an_older_backup_under_the_name_of_a_newer_one_is_refused(kept: Kept, new: Folders) -> None:
    old, young = kept.back_up(), kept.back_up()
    for name in ("manifest", "database", "bodies", "test-object"):
        (young.folder / name).write_bytes((old.folder / name).read_bytes())

    with pytest.raises(BackupDamaged, match="holds the manifest of"):
        _restore(kept, new, young.folder)


def _restore(kept: Kept, new: Folders, backup: Path) -> None:
    from control_plane.backup.restoring import restore
    from tests.control_plane.vault.bench import ROOT

    restore(kept.backups, backup, new, ROOT, kept.bench.clock)


def test_a_folder_that_is_not_empty_is_left_alone(kept: Kept, new: Folders) -> None:
    kept.back_up()
    new.data.mkdir()
    (new.data / "theirs").write_text("theirs")

    with pytest.raises(FolderNotEmpty, match="may be newer than the backup"):
        kept.restore(new)
    assert list(everything(new.data).values()) == [b"theirs"]


def test_an_audit_log_that_was_altered_is_refused_and_nothing_is_left_behind(kept: Kept, new: Folders) -> None:
    kept.bench.sql("UPDATE audit_records SET leaf = :leaf WHERE seq = 2 AND source = 'control-plane'", leaf=bytes(32))
    kept.back_up()

    with pytest.raises(RestoreRefused, match="audit log of control-plane: record 2"):
        kept.restore(new)
    assert everything(new.data) == {}
    assert len(kept.restore(new, without_damaged=True).damaged) == 1


def test_a_restore_that_was_cut_off_never_runs(kept: Kept, new: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.back_up()
    # A kill, unlike an error, cleans nothing up.
    monkeypatch.setattr(restoring, "empty_again", lambda _database: None)
    monkeypatch.setattr(restoring, "_remove_all_in", lambda _folder: None)
    monkeypatch.setattr(restoring, "_copy_bodies", lambda *_, **__: sys.exit("cut off"))

    with pytest.raises(SystemExit):
        kept.restore(new)
    assert new.database.exists()
    with pytest.raises(NotInitialised):
        verify_initialised(new)


def test_what_is_damaged_is_left_out_only_when_a_person_says_so(kept: Kept, new: Folders) -> None:
    kept.back_up()
    path = part(kept, "body")
    path.unlink()

    done = kept.restore(new, without_damaged=True)

    assert len(done.damaged) == 1
    again = kept.restored(new)
    record = again.last_record()
    assert (record.event, int(record.outcome)) == (Event.CENTRE_RESTORED, 4)
    assert record.reason.startswith("1 objects")
    whole = [image for image in kept.images if str(image.object_id) != path.stem]
    assert [again.read(image) for image in whole] == [image.dataset for image in whole]


def test_a_rotten_body_is_not_taken_along_where_the_rest_is_restored(kept: Kept, new: Folders) -> None:
    kept.back_up()
    path = part(kept, "body")
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    assert len(kept.restore(new, without_damaged=True).damaged) == 1
    assert [body.name for body in new.objects.rglob("*.body")] == [
        f"{image.object_id}.body" for image in kept.images if str(image.object_id) != path.stem
    ]


@pytest.mark.parametrize("is_known", [False, True], ids=["found by the restore", "known to the backup"])
def test_what_was_not_whole_in_the_backup_is_told_to_its_host(kept: Kept, new: Folders, is_known: bool) -> None:
    gone, other = kept.images
    if is_known:
        kept.bench.body(gone.object_id).unlink()
    kept.back_up()
    if not is_known:
        next(kept.backups.objects.rglob(f"{gone.object_id}.body")).unlink()

    kept.restore(new, without_damaged=True)

    bench = kept.restored(new)
    assert [bench.losses.untold(one.host_id) for one in (gone, other)] == [(gone.object_id,), ()]
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(gone.object_id, gone.host_id)
    assert bench.intake.receipt_of(other.object_id, other.host_id)


def test_a_database_that_is_refused_leaves_the_folder_empty_for_another_try(kept: Kept, new: Folders) -> None:
    kept.back_up()

    with pytest.raises(DatabaseRefused):
        kept.restore(Folders(new.data, "mysql://leadglass@db/x"))
    assert list(new.data.iterdir()) == []
    kept.restore(new)


def test_what_was_open_when_the_backup_was_made_opens_nothing_afterwards(kept: Kept, new: Folders) -> None:
    bench = kept.bench
    accounts = Accounts(bench.database, bench.clock)
    token = accounts.create("ada", "administrator")
    with bench.database.begin() as rows:
        session = begin_session(rows, rows.get_one(Person, "ada"), "link", bench.clock.now()).secret
        scoped, _ = insert_token(rows, "ada", "a robot", ALL, bench.clock.now(), bench.clock.now() + timedelta(days=1))
        host, later = str(kept.spare.host_id), bench.clock.now() + timedelta(days=1)
        rows.add(
            LapsedAskRow(host_id=host, fingerprint="a", asked=later, address="", approved=later, approved_by="ada")
        )
        rows.add(
            TwoPersonRequest(
                request_id="00000001", action="lift-tombstone", subject=host, reason="", asked_by="ada",
                asked=bench.clock.now(), expires=later,
            )
        )  # fmt: skip
    link = accounts.new_link("ada")
    codes = EnrolmentCodes(bench.database, bench.journal, bench.clock, bytes(32))
    codes.issue("ada", WantedCode("CT 1"), timedelta(hours=9))
    host, now = str(kept.spare.host_id), bench.clock.now()
    with bench.database.begin() as rows:
        rows.add(
            LapsedAskRow(
                host_id=host, fingerprint="7K3M-7K3M-7K3M-7K3M", asked=now, address="", approved=now, approved_by="ada"
            )
        )
        rows.add(
            TwoPersonRequest(
                request_id="0a0a0a0a", action="lift-tombstone", subject=host, reason="found again", asked_by="ada",
                asked=now, expires=now + timedelta(days=7),
            )
        )  # fmt: skip
    kept.back_up()

    kept.restore(new)

    again = kept.restored(new)
    people = Accounts(again.database, bench.clock)
    with again.database() as rows:
        for use in (
            lambda: people.by_session(session),
            lambda: people.by_token(scoped),
            lambda: open_link(rows, link, bench.clock.now()),
        ):
            with pytest.raises(NotSignedIn):
                use()
    assert people.by_token(token).name == "ada"
    with again.database() as rows:
        assert not rows.scalars(select(PersonSession)).all()
        assert not rows.scalars(select(SignInLink)).all()
        assert not rows.scalars(select(LapsedAskRow)).all()
        assert rows.get_one(TwoPersonRequest, "00000001").expires <= bench.clock.now()
        assert all(code.expires <= bench.clock.now() for code in rows.scalars(select(EnrolmentCodeRow)))


def test_what_was_acknowledged_after_the_backup_is_named_once_the_host_says_so(kept: Kept, new: Folders) -> None:
    host = kept.spare
    kept.capture(host)
    kept.back_up()
    lost = kept.capture(host)
    host.note(Event.IMAGE_DELIVERED, (Subject("object", str(lost.object_id)),))

    kept.restore(new)

    again = kept.restored(new)
    assert not _gaps_naming(again, str(lost.object_id))
    assert _gaps_naming(again, "not heard since the restore")
    again.audit.take(host.host_id, host.batch(1, len(host.journal)))
    (named,) = _gaps_naming(again, str(lost.object_id))
    assert "1 image had been delivered after the backup" in named


def test_what_a_restore_lost_that_nobody_settled_is_named_after_a_second_one(kept: Kept, new: Folders) -> None:
    host = kept.spare
    kept.back_up()
    lost = kept.capture(host)
    host.note(Event.IMAGE_DELIVERED, (Subject("object", str(lost.object_id)),))
    kept.restore(new)
    kept.bench = kept.restored(new)
    kept.bench.audit.take(host.host_id, host.batch(1, len(host.journal)))
    kept.bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    kept.bench.clock.advance(timedelta(minutes=1))
    kept.back_up()

    second = Folders(new.data.parent / "second")
    kept.restore(second)
    again = kept.restored(second)
    assert _gaps_naming(again, str(lost.object_id))

    RestoreSettling(again.database, again.journal).settle("A. Admin", "looked through the days since")
    kept.bench = again
    kept.bench.clock.advance(timedelta(minutes=2))
    kept.back_up()
    third = Folders(new.data.parent / "third")
    kept.restore(third)
    assert not _gaps_naming(kept.restored(third), str(lost.object_id))


def test_all_restores_that_nobody_settled_are_named_and_settled_together(kept: Kept, new: Folders) -> None:
    labels = []
    for number in range(3):
        labels.append(kept.back_up().manifest.label)
        kept.bench.clock.advance(timedelta(minutes=1))
        folders = Folders(new.data.parent / f"restored {number}")
        kept.restore(folders)
        kept.bench = kept.restored(folders)
        kept.bench.clock.advance(timedelta(hours=number + 1))
    again = kept.bench
    with again.database() as session:
        assert [one.label for one in unsettled(session)] == labels
        mark = mark_of(session)
    assert [sum(label in gap for gap in _gaps_naming(again, "restored from backup")) for label in labels] == [1, 1, 1]

    RestoreSettling(again.database, again.journal).settle("A. Admin", "looked through the days since")

    with again.database() as session:
        assert (unsettled(session), list(gaps(session)), mark_of(session)) == ([], [], mark)
        assert sorted(one.label for one in settled(session)) == sorted(labels)
    assert [what.name for what in again.last_record().what] == labels


def test_a_restore_that_an_older_version_kept_beside_the_newest_is_one_of_them(kept: Kept, new: Folders) -> None:
    kept.back_up()
    kept.restore(new)
    again = kept.restored(new)
    with again.database.begin() as session:
        (newest,) = unsettled(session)
        first = replace(newest, label="20260101T000000Z-0000", when=newest.begun - timedelta(days=1))
        session.add(Fact(name=UNSETTLED, value=first.text()))

    with again.database() as session:
        assert unsettled(session) == [first, newest]


def test_what_a_restore_lost_is_named_beside_records_that_were_altered(kept: Kept, new: Folders) -> None:
    host = kept.spare
    made = kept.back_up()
    lost = [kept.capture(host) for _ in range(2)]
    for image in lost:
        host.note(Event.IMAGE_DELIVERED, (Subject("object", str(image.object_id)),))
    kept.restore(new)
    again = kept.restored(new)
    again.audit.take(host.host_id, host.batch(1, len(host.journal)))

    again.sql("UPDATE audit_records SET public = :nothing WHERE source = :host AND seq = :seq",
              nothing=b"{}", host=str(host.host_id), seq=len(host.journal))  # fmt: skip
    assert _gaps_naming(again, str(lost[0].object_id))
    again.sql("UPDATE audit_records SET entry = NULL WHERE source = 'control-plane' AND seq = :seq",
              seq=made.manifest.audit_seq)  # fmt: skip
    assert _gaps_naming(again, str(lost[0].object_id))


def test_a_restore_stays_open_until_a_named_person_settles_it_with_a_reason(kept: Kept, new: Folders) -> None:
    made = kept.back_up()
    with kept.bench.database() as session:
        assert mark_of(session) == ""
    kept.restore(new)
    again = kept.restored(new)
    settling = RestoreSettling(again.database, again.journal)
    with again.database() as session:
        (restored,), mark = unsettled(session), mark_of(session)
        assert is_restore_mark(mark)
        assert (restored.label, restored.audit_seq) == (made.manifest.label, made.manifest.audit_seq)

    with pytest.raises(ReasonMissing):
        settling.settle("A. Admin", " ")
    settling.settle("A. Admin", "looked through the days since")

    with again.database() as session:
        assert list(gaps(session)) == []
        assert mark_of(session) == mark
    assert again.last_record().event is Event.RESTORE_SETTLED
    with pytest.raises(NotRestored):
        settling.settle("A. Admin", "again")


def test_to_settle_a_restore_and_to_issue_again_are_two_words_of_which_neither_says_the_other(
    kept: Kept, new: Folders
) -> None:
    """Who looked through what is lost has not looked at every host; and who has, has not looked at what is lost."""
    made = kept.back_up()
    kept.restore(new)
    again = kept.restored(new)
    own = again.keys.signer(JOURNAL).public
    marks = Marks(MarkFile(new.data / "log.mark"), MarkFile(new.data / "log.head"))
    guard = LogGuard(again.database, again.journal, own, again.journal.sequencer.key, marks, again.clock)

    assert f"the database was restored (from backup {made.manifest.label})" in " ".join(guard.gaps())
    with again.database() as session, pytest.raises(IssuingStopped):
        guard.verify_may_issue(session)
    guard.accept("A. Admin", "looked at every host")
    with again.database() as session:
        guard.verify_may_issue(session)
        assert unsettled(session)

    RestoreSettling(again.database, again.journal).settle("A. Admin", "looked through the days since")
    with again.database() as session:
        assert not unsettled(session)


def test_who_settles_a_restore_lets_nothing_be_issued_by_that(kept: Kept, new: Folders) -> None:
    kept.back_up()
    kept.restore(new)
    again = kept.restored(new)
    own = again.keys.signer(JOURNAL).public
    marks = Marks(MarkFile(new.data / "log.mark"), MarkFile(new.data / "log.head"))
    guard = LogGuard(again.database, again.journal, own, again.journal.sequencer.key, marks, again.clock)
    RestoreSettling(again.database, again.journal).settle("A. Admin", "looked through the days since")

    with again.database() as session, pytest.raises(IssuingStopped):
        guard.verify_may_issue(session)


def _gaps_naming(bench: Bench, words: str) -> list[str]:
    with bench.database() as session:
        return [gap for gap in gaps(session) if words in gap]

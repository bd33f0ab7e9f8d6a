"""After the vault's receipt: kept, moved or deleted as policy says, and never what nobody answers for."""

import ctypes
import errno
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edge_agent.export_folder import libc
from edge_agent.export_folder.intake import FileReader, Stopping
from edge_agent.export_folder.ledger import Entry, State
from edge_agent.export_folder.release import Releaser, is_what_was_captured
from edge_agent.export_folder.tree import File, Tree
from shared.audit.events import Event, Outcome
from shared.identity import ObjectId
from shared.policy.document import AfterReceipt
from tests.edge_agent.export_folder.watched import CT, MR, TIMING, Watched


def captured(tmp_path: Path, after: AfterReceipt, **options: Any) -> Watched:
    """Return a folder of which one file in a subfolder was captured."""
    watched = Watched(tmp_path, after, options)
    (watched.folder / "study").mkdir()
    watched.look()
    shutil.copyfile(CT.path, watched.folder / "study" / "1.dcm")
    watched.settled()
    assert watched.captured() == [CT.dataset]
    return watched


@pytest.mark.parametrize("after", list(AfterReceipt))
def test_before_the_receipt_nothing_is_touched(tmp_path: Path, after: AfterReceipt) -> None:
    watched = captured(tmp_path, after)
    watched.receipt(ObjectId(bytes(16)))
    for _ in range(3):
        watched.after_s(TIMING.rescan_s)

    assert watched.names() == {"study/1.dcm"}
    assert watched.of(Event.FILE_RELEASED) == []


def test_kept(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.KEEP)
    before = watched.watcher.state().waiting
    watched.receipt_for_all()
    watched.look()

    assert (before, watched.watcher.state().waiting) == (1, 0)
    assert watched.names() == {"study/1.dcm"}
    assert watched.of(Event.FILE_RELEASED) == []


def test_what_was_captured_before_a_restart_goes_with_its_receipt_and_not_with_the_next_rescan(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    watched.restart()
    watched.look()
    watched.receipt_for_all()
    watched.look()

    assert watched.names() == set()


def test_deleted_and_recorded_with_its_name_sealed(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    watched.receipt_for_all()
    watched.look()

    assert watched.names() == set()
    (record,) = watched.of(Event.FILE_RELEASED)
    assert record.outcome is Outcome.SUCCESS
    assert record.what[0].name == str(watched.host.spool.everything()[0].object_id)
    assert watched.private_of(Event.FILE_RELEASED) == [{"file": "study/1.dcm"}]


def test_moved_below_the_folder_of_the_delivered_and_not_read_there(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.MOVE)
    watched.receipt_for_all()
    watched.look()
    watched.restart()
    watched.settled()
    watched.after_s(TIMING.rescan_s)

    moved = watched.folder / "leadglass-delivered" / "study" / "1.dcm"
    assert watched.names() == {"leadglass-delivered/study/1.dcm"}
    assert moved.read_bytes() == CT.path.read_bytes()
    assert len(watched.of(Event.FILE_RELEASED)) == 1
    assert len(watched.captured()) == 1


def test_a_moved_file_never_replaces_another(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.MOVE)
    place = watched.folder / "leadglass-delivered" / "study"
    place.mkdir(parents=True)
    (place / "1.dcm").write_bytes(b"mine")
    watched.receipt_for_all()
    watched.look()

    assert (place / "1.dcm").read_bytes() == b"mine"
    assert (place / "1.dcm.1").read_bytes() == CT.path.read_bytes()


def test_a_moved_file_never_replaces_another_where_the_file_system_cannot_promise_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutTheFlag:
        def renameat2(self, *_: Any) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(libc, "_LIBC", WithoutTheFlag())
    (tmp_path / "1").write_bytes(b"one")
    (tmp_path / "2").write_bytes(b"two")
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        libc.rename_new(b"1", folder, b"2", folder)
    libc.rename_new(b"1", folder, b"3", folder)
    os.close(folder)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"2": b"two", "3": b"one"}


def test_a_link_in_the_place_of_the_delivered_leads_nowhere(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.MOVE)
    (tmp_path / "outside").mkdir()
    (watched.folder / "leadglass-delivered").symlink_to(tmp_path / "outside")
    watched.receipt_for_all()
    watched.look()

    assert list((tmp_path / "outside").iterdir()) == []
    assert (watched.folder / "study" / "1.dcm").exists()
    assert [record.outcome for record in watched.of(Event.FILE_RELEASED)] == [Outcome.MINOR_FAILURE]


def rewrite_unseen(file: Path) -> bytes:
    """Change a file and set its size, inode and modification time to what they were; return what it holds now."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    with file.open("r+b") as writer:
        writer.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(data)


def lies_in_wait(watched: Watched, file: Path) -> None:
    """Have the file changed just when nobody looks any more but at the stamp: as on a clock too coarse to show it."""
    name = watched.ledger.name("CT1", b"study/1.dcm")
    entry = watched.ledger.find(name)
    assert entry is not None
    rewrite_unseen(file)
    stamp = Tree(bytes(watched.folder)).stamp(b"study/1.dcm")
    with watched.host.database.transaction() as connection:
        connection.execute(
            "UPDATE export_file SET stamp = ?, identity = ? WHERE name = ?", (stamp.encode(), stamp.identity(), name)
        )


def test_what_changed_since_it_was_captured_is_not_deleted_and_captured_anew(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    file = watched.folder / "study" / "1.dcm"
    lies_in_wait(watched, file)
    watched.hear_nothing()
    watched.receipt_for_all()
    watched.look()
    still_there = file.exists()
    watched.after_s(TIMING.settle_s)

    assert still_there
    assert watched.captured() == [CT.dataset, CT.dataset[:-1] + bytes([CT.dataset[-1] ^ 1])]


def test_without_the_digest_check_it_would_be_deleted_and_lost(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE, verify=lambda *_: True)
    file = watched.folder / "study" / "1.dcm"
    lies_in_wait(watched, file)
    watched.hear_nothing()
    watched.receipt_for_all()
    watched.look()

    assert not file.exists()
    assert watched.captured() == [CT.dataset]


def heard_of_a_loss(tmp_path: Path, *, again: bool) -> Watched:
    """Have the vault lose an image, and the host hear of it, while the file it came from is read once more."""

    def verify(reader: FileReader, tree: Tree, file: File, entry: Entry) -> bool:
        is_same = is_what_was_captured(reader, tree, file, entry)
        watched.receipts.doubt([str(entry.object_id)])
        if again:
            watched.receipt_for_all()
        return is_same

    watched = captured(tmp_path, AfterReceipt.DELETE, verify=verify)
    watched.receipt_for_all()
    watched.look()
    return watched


def test_a_file_of_which_the_vault_loses_the_image_meanwhile_stays_until_it_is_there_again(tmp_path: Path) -> None:
    watched = heard_of_a_loss(tmp_path, again=False)

    assert watched.names() == {"study/1.dcm"}
    assert watched.watcher.state().waiting == 1
    assert watched.of(Event.FILE_RELEASED) == []


def test_control_with_the_receipt_again_the_same_file_goes(tmp_path: Path) -> None:
    assert heard_of_a_loss(tmp_path, again=True).names() == set()


def stalled(tmp_path: Path, after: AfterReceipt, **options: Any) -> tuple[Watched, bytes]:
    """Have a file captured whose writer stalls in the middle of it, and receipted; the writer then writes the rest.

    Return the folder, and what it holds under the file's name before that rest is written.
    """
    watched = Watched(tmp_path, after, options)
    data, file = CT.path.read_bytes(), watched.folder / "1.dcm"
    watched.look()
    with file.open("wb", buffering=0) as writer:
        writer.write(data[:-5000])
        watched.look()
        watched.after_s(TIMING.patience_s)
        watched.receipt_for_all()
        watched.look()
        there = file.read_bytes() if file.exists() else b""
        writer.write(data[-5000:])
    watched.settled()
    return watched, there


@pytest.mark.parametrize("after", [AfterReceipt.DELETE, AfterReceipt.MOVE])
def test_a_file_whose_writer_stalled_stays_is_captured_whole_and_then_let_go(
    tmp_path: Path, after: AfterReceipt
) -> None:
    watched, there = stalled(tmp_path, after)

    assert there == CT.path.read_bytes()[:-5000]
    assert watched.captured() == [CT.dataset[:-5000], CT.dataset]
    (stays,) = watched.of(Event.FILE_RELEASED)
    assert (stays.outcome, "ends too early" in stays.reason) == (Outcome.MINOR_FAILURE, True)
    watched.receipt_for_all()
    watched.look()
    assert not (watched.folder / "1.dcm").exists()


def test_control_let_go_of_it_would_take_the_rest_along(tmp_path: Path) -> None:
    watched, there = stalled(tmp_path, AfterReceipt.DELETE, is_cut=lambda *_: False)

    assert there == b""
    assert watched.captured() == [CT.dataset[:-5000]]


def test_a_file_that_ends_too_early_for_good_is_recorded_once_and_stays(tmp_path: Path) -> None:
    watched = Watched(tmp_path, AfterReceipt.DELETE)
    watched.look()
    (watched.folder / "1.dcm").write_bytes(CT.path.read_bytes()[:-5000])
    watched.look()
    watched.after_s(TIMING.patience_s)
    watched.receipt_for_all()
    for _ in range(3):
        watched.after_s(24 * 3600)

    assert watched.names() == {"1.dcm"}
    assert len(watched.of(Event.FILE_RELEASED)) == 1
    assert watched.captured() == [CT.dataset[:-5000]]


def test_a_change_that_shows_is_captured_before_anything_is_let_go(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.MOVE)
    file = watched.folder / "study" / "1.dcm"
    shutil.copyfile(MR.path, file)
    watched.receipt_for_all()
    watched.look()

    assert watched.captured() == [CT.dataset, MR.dataset]
    assert watched.names() == {"study/1.dcm"}


def write_over(file: Path) -> None:
    shutil.copyfile(MR.path, file)


def put_in_place(file: Path) -> None:
    shutil.copyfile(MR.path, file.parent.parent.parent / "elsewhere")
    (file.parent.parent.parent / "elsewhere").rename(file)


LETS_GO = [AfterReceipt.MOVE, AfterReceipt.DELETE]


@pytest.mark.parametrize("after", LETS_GO)
@pytest.mark.parametrize("change", [write_over, put_in_place])
def test_what_is_written_while_letting_go_becomes_durable_is_captured(
    tmp_path: Path, after: AfterReceipt, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = captured(tmp_path, after)
    keep = watched.ledger.change

    def waits_for_others(name: bytes, entry: Entry, state: State, *, noted: bool = False) -> Entry:
        if state is State.RELEASING:
            change(watched.folder / "study" / "1.dcm")
        return keep(name, entry, state, noted=noted)

    with monkeypatch.context() as patch:
        patch.setattr(watched.ledger, "change", waits_for_others)
        watched.receipt_for_all()
        watched.look()
    watched.settled()

    assert watched.names() == {"study/1.dcm"}
    assert watched.captured() == [CT.dataset, MR.dataset]
    assert watched.of(Event.FILE_RELEASED) == []
    assert watched.ledger.count("CT1", State.RELEASING) == 0


@pytest.mark.parametrize("after", LETS_GO)
@pytest.mark.parametrize("change", [write_over, put_in_place])
def test_what_takes_the_place_of_a_file_after_the_last_look_is_captured(
    tmp_path: Path, after: AfterReceipt, change: Callable[[Path], None]
) -> None:
    def too_early(reader: FileReader, tree: Tree, file: File, entry: Entry) -> bool:
        is_same = is_what_was_captured(reader, tree, file, entry)
        change(watched.folder / "study" / "1.dcm")
        return is_same

    watched = captured(tmp_path, after, verify=too_early)
    watched.receipt_for_all()
    watched.look()
    watched.settled()

    assert watched.names() == {"study/1.dcm"}
    assert watched.captured() == [CT.dataset, MR.dataset]


def test_a_stop_while_a_file_is_read_once_more_leaves_it_as_it_was(tmp_path: Path) -> None:
    def stops(*_: Any) -> bool:
        raise Stopping

    watched = captured(tmp_path, AfterReceipt.DELETE, verify=stops)
    watched.receipt_for_all()
    watched.watcher.step()

    assert watched.names() == {"study/1.dcm"}
    assert watched.ledger.count("CT1", State.RECEIPTED) == 1


class Lying:
    """Says of everything that the vault has it."""

    def holds(self, _object_id: ObjectId, /) -> bool:
        return True


def test_a_book_of_receipts_that_lies_would_lose_the_only_copy(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE, receipts=Lying())
    watched.look()

    assert watched.names() == set()
    # The vault has nothing: all there is of the image is the sealed object in the spool.
    assert watched.host.spool.waiting() == 1


def test_a_file_that_cannot_be_deleted_stays_and_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system", b"study/1.dcm")

    watched = captured(tmp_path, AfterReceipt.DELETE)
    monkeypatch.setattr(os, "unlink", read_only)
    watched.receipt_for_all()
    for _ in range(3):
        watched.after_s(TIMING.rescan_s)
    monkeypatch.undo()
    failed = watched.of(Event.FILE_RELEASED)
    watched.after_s(86_400)

    assert [(record.outcome, record.reason) for record in failed] == [
        (Outcome.MINOR_FAILURE, "CannotRelease: the file can be neither moved nor deleted: Read-only file system")
    ]
    assert "study" not in str(watched.host.log.events)
    assert watched.names() == set()


@pytest.mark.parametrize("after", LETS_GO)
def test_a_stop_between_letting_go_and_its_record_is_recorded_after_the_restart(
    tmp_path: Path, after: AfterReceipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = captured(tmp_path, after)

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(Releaser, "_gone", killed)
    watched.receipt_for_all()
    with pytest.raises(SystemExit):
        watched.look()
    monkeypatch.undo()
    before = watched.of(Event.FILE_RELEASED)
    watched.restart()
    watched.settled()

    assert before == []
    assert "study/1.dcm" not in watched.names()
    assert len(watched.of(Event.FILE_RELEASED)) == 1
    assert watched.ledger.count("CT1", *State) == 0


def test_a_stop_just_before_letting_go_is_made_good_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(Tree, "delete", killed)
    watched.receipt_for_all()
    with pytest.raises(SystemExit):
        watched.look()
    monkeypatch.undo()
    watched.restart()
    watched.settled()

    assert watched.names() == set()
    assert [record.reason for record in watched.of(Event.FILE_RELEASED)] == ["deleted after the vault's receipt"]


def left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Return a folder that lost power when its file had the name under which it is let go of."""
    watched = captured(tmp_path, AfterReceipt.DELETE)

    def power_cut(_tree: Tree, file: File) -> None:
        path = watched.folder / os.fsdecode(file.path)
        path.rename(path.with_name("1.dcm.leadglass-0123456789abcdef"))
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "delete", power_cut)
        watched.receipt_for_all()
        with pytest.raises(SystemExit):
            watched.look()
    return watched


def test_what_a_power_cut_left_under_our_name_is_let_go_of_under_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = left_aside(tmp_path, monkeypatch)
    watched.restart()
    watched.settled()

    assert watched.names() == set()
    assert [record.reason for record in watched.of(Event.FILE_RELEASED)] == ["deleted after the vault's receipt"]
    assert watched.private_of(Event.FILE_RELEASED) == [{"file": "study/1.dcm"}]


def test_what_a_power_cut_left_under_our_name_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = left_aside(tmp_path, monkeypatch)
    rewrite_unseen(watched.folder / "study" / "1.dcm.leadglass-0123456789abcdef")
    shutil.copyfile(MR.path, watched.folder / "study" / "1.dcm")
    watched.restart()
    watched.allow(AfterReceipt.KEEP, version=2)
    watched.settled()

    assert watched.names() == {"study/1.dcm", "study/1.dcm.1"}
    assert sorted(watched.captured()) == sorted([CT.dataset, MR.dataset, CT.dataset[:-1] + bytes([CT.dataset[-1] ^ 1])])


def test_where_a_file_cannot_be_moved_without_a_link_it_keeps_its_name_and_is_tried_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = captured(tmp_path, AfterReceipt.MOVE)

    def refused(*_: object) -> None:
        # A file system that knows no rename which replaces nothing, and whose links only a file's owner may make.
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(libc, "rename_new", refused)
    watched.receipt_for_all()
    for _ in range(20):
        watched.after_s(TIMING.settle_s)

    assert watched.names() == {"study/1.dcm"}
    assert len(watched.of(Event.FILE_RELEASED)) == 1
    assert watched.captured() == [CT.dataset]


def test_receipts_that_came_while_the_agent_was_stopped_are_acted_on(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    watched.watcher._let_go()
    watched.receipt_for_all()
    watched.restart()
    watched.look()

    assert watched.names() == set()


def test_a_policy_that_begins_to_delete_also_deletes_what_was_kept(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.KEEP)
    watched.receipt_for_all()
    watched.look()
    watched.allow(AfterReceipt.DELETE, version=2)
    watched.after_s(TIMING.rescan_s)

    assert watched.names() == set()


def test_a_renamed_file_is_let_go_under_its_new_name(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    (watched.folder / "study" / "1.dcm").rename(watched.folder / "2.dcm")
    watched.look()
    watched.receipt_for_all()
    watched.look()

    assert watched.names() == set()
    assert watched.private_of(Event.FILE_RELEASED) == [{"file": "2.dcm"}]


def test_what_is_no_image_is_never_moved_or_deleted(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.DELETE)
    (watched.folder / "letter.txt").write_bytes(b"Dear")
    watched.after_s(TIMING.patience_s)
    watched.receipt_for_all()
    watched.after_s(TIMING.rescan_s)

    assert watched.names() == {"letter.txt"}


def test_the_ledger_forgets_a_month_later_what_its_modality_took_away(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.KEEP)
    shutil.copyfile(MR.path, watched.folder / "2.dcm")
    watched.settled()
    (watched.folder / "2.dcm").unlink()
    kept = []
    for _ in range(33):
        watched.after_s(86_400)
        kept.append(watched.ledger.count("CT1", State.CAPTURED))

    assert kept[29] == 2
    assert kept[-1] == 1


def test_the_ledger_holds_no_name(tmp_path: Path) -> None:
    watched = captured(tmp_path, AfterReceipt.KEEP)
    everything = b"".join(path.read_bytes() for path in watched.host.folder.rglob("*") if path.is_file())

    assert b"1.dcm" not in everything
    assert sha256(b"study/1.dcm").digest() not in everything

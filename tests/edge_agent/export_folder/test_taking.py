"""What is captured from an export folder, when, and what is left alone: each outcome by its name."""

import errno
import os
import shutil
import socket
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edge_agent.capture.pipeline import ImageHeader, NoPolicyInForce
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.export_folder.intake import FileReader
from edge_agent.export_folder.ledger import State
from edge_agent.spool.catalogue import Spooled
from edge_agent.spool.reader import SpoolReader
from shared.audit.events import Event
from shared.sealing import object_file
from shared.sealing.record import verify_record
from tests.edge_agent.capture.images import NAMES, load
from tests.edge_agent.export_folder.watched import CT, MR, TIMING, Watched, another
from tests.fakes.host import Host
from tests.threads import in_thread


def test_a_file_closed_after_writing_is_captured_at_once_with_the_digest_of_the_whole_file(watched: Watched) -> None:
    watched.look()
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]
    assert watched.file_digests() == [sha256(CT.path.read_bytes()).digest()]
    (record,) = watched.of(Event.IMAGE_CAPTURED)
    assert (record.who[0].kind, record.who[0].name) == ("ae", "CT1")
    assert watched.names() == {"1.dcm"}


@pytest.mark.parametrize("name", NAMES)
def test_every_transfer_syntax_is_captured_byte_for_byte(watched: Watched, name: str) -> None:
    image = load(name)
    shutil.copyfile(image.path, watched.folder / "1.dcm")
    watched.settled()

    assert watched.captured() == [image.dataset]


def test_a_file_renamed_into_place_is_captured_at_once(watched: Watched, tmp_path: Path) -> None:
    shutil.copyfile(CT.path, tmp_path / "elsewhere")
    watched.look()
    (tmp_path / "elsewhere").rename(watched.folder / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]


def test_what_lay_there_before_the_start_is_captured_once_it_stands_still(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.look()
    before = watched.captured()
    watched.after_s(TIMING.settle_s)

    assert before == []
    assert watched.captured() == [CT.dataset]


def test_a_file_that_grows_waits_and_is_captured_whole(watched: Watched) -> None:
    watched.look()
    data = CT.path.read_bytes()
    with (watched.folder / "1.dcm").open("wb", buffering=0) as file:
        for start in range(0, len(data), 8192):
            file.write(data[start : start + 8192])
            watched.after_s(TIMING.settle_s + 1)
        before = watched.captured()
    watched.look()

    assert before == []
    assert watched.captured() == [CT.dataset]
    assert watched.of(Event.IMAGE_REFUSED) == []


def test_a_file_that_grows_unseen_waits_until_it_stands_still(watched: Watched) -> None:
    data = CT.path.read_bytes()
    with (watched.folder / "1.dcm").open("wb", buffering=0) as file:
        for start in range(0, len(data), 8192):
            file.write(data[start : start + 8192])
            watched.after_s(TIMING.settle_s / 2)
    before = watched.captured()
    watched.settled()

    assert before == []
    assert watched.captured() == [CT.dataset]


def test_a_truncated_file_waits_and_is_captured_as_it_is_when_nothing_more_comes(watched: Watched) -> None:
    cut = CT.path.read_bytes()[:-5000]
    watched.look()
    (watched.folder / "1.dcm").write_bytes(cut)
    watched.look()
    watched.after_s(TIMING.patience_s - 1)
    before = watched.captured()
    watched.after_s(1)

    assert before == []
    assert watched.captured() == [CT.dataset[:-5000]]
    assert [fields["file_is_cut"] for name, fields in watched.host.log.events if name == "image.captured"] == [True]


def test_a_truncated_file_that_is_completed_in_time_is_captured_once_and_whole(watched: Watched) -> None:
    data = CT.path.read_bytes()
    watched.look()
    (watched.folder / "1.dcm").write_bytes(data[:-5000])
    watched.after_s(30)
    with (watched.folder / "1.dcm").open("ab") as file:
        file.write(data[-5000:])
    watched.look()

    assert watched.captured() == [CT.dataset]


@pytest.mark.parametrize("content", [b"", b"DOE^JANE", b"\x00" * 500, CT.dataset, CT.path.read_bytes()[:200]])
def test_what_is_no_dicom_file_is_left_alone_and_recorded_once(watched: Watched, content: bytes) -> None:
    file = watched.folder / "DOE^JANE.txt"
    file.write_bytes(content)
    watched.settled()
    early = watched.of(Event.FILE_REFUSED)
    for _ in range(4):
        watched.after_s(TIMING.patience_s)
    watched.restart()
    watched.settled()

    assert early == []
    assert file.read_bytes() == content
    assert len(watched.of(Event.FILE_REFUSED)) == 1
    assert watched.captured() == []


def test_the_name_of_a_refused_file_is_in_the_sealed_part_and_nowhere_else(watched: Watched) -> None:
    folder = watched.folder / "DOE^JANE"
    folder.mkdir()
    (folder / "letter.txt").write_bytes(b"Dear")
    watched.settled()
    watched.after_s(TIMING.patience_s)

    assert watched.private_of(Event.FILE_REFUSED) == [{"file": "DOE^JANE/letter.txt"}]
    assert "DOE" not in str(watched.host.log.events)
    everything = b"".join(path.read_bytes() for path in watched.host.folder.rglob("*") if path.is_file())
    assert b"DOE^JANE" not in everything


def test_a_refused_file_that_becomes_an_image_is_captured(watched: Watched) -> None:
    (watched.folder / "1.dcm").write_bytes(b"not yet")
    watched.settled()
    watched.after_s(TIMING.patience_s)
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]


def test_a_dicomdir_is_left_alone_and_the_files_beside_it_are_captured(watched: Watched) -> None:
    directory = bytearray(CT.path.read_bytes())
    uid = CT.sop_class.encode() + b"\x00" * (len(CT.sop_class) % 2)
    start = directory.index(uid)
    directory[start : start + len(uid)] = b"1.2.840.10008.1.3.10".ljust(len(uid), b"\x00")
    (watched.folder / "DICOMDIR").write_bytes(directory)
    (watched.folder / "IMAGES").mkdir()
    shutil.copyfile(MR.path, watched.folder / "IMAGES" / "IM1")
    watched.settled()
    watched.after_s(TIMING.patience_s)

    assert watched.captured() == [MR.dataset]
    assert watched.of(Event.FILE_REFUSED) == []
    assert (watched.folder / "DICOMDIR").read_bytes() == directory
    assert watched.ledger.count("CT1", State.DIRECTORY) == 1


def test_links_pipes_and_sockets_are_ignored(watched: Watched, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    shutil.copyfile(CT.path, secret / "1.dcm")
    watched.look()
    (watched.folder / "file").symlink_to(secret / "1.dcm")
    (watched.folder / "folder").symlink_to(secret)
    os.mkfifo(watched.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(watched.folder / "socket"))
        watched.settled()
        watched.after_s(TIMING.patience_s)

    assert watched.captured() == []
    assert watched.host.records() == []


def test_a_folder_that_a_link_replaced_while_it_was_looked_at_leads_nowhere(watched: Watched, tmp_path: Path) -> None:
    study = watched.folder / "study"
    study.mkdir()
    shutil.copyfile(CT.path, study / "1.dcm")
    watched.look()
    study.rename(tmp_path / "away")
    study.symlink_to(tmp_path / "away")
    watched.after_s(TIMING.settle_s)

    assert watched.captured() == []


def test_hard_links_to_one_file_are_one_image(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    (watched.folder / "2.dcm").hardlink_to(watched.folder / "1.dcm")
    watched.settled()
    (watched.folder / "3.dcm").hardlink_to(watched.folder / "1.dcm")
    watched.settled()
    watched.after_s(TIMING.rescan_s)

    assert watched.captured() == [CT.dataset]


def test_a_file_that_is_renamed_is_not_captured_again(watched: Watched) -> None:
    watched.look()
    shutil.copyfile(CT.path, watched.folder / "1.tmp")
    watched.look()
    (watched.folder / "1.tmp").rename(watched.folder / "1.dcm")
    watched.look()
    watched.after_s(TIMING.rescan_s)

    assert watched.captured() == [CT.dataset]
    assert watched.of(Event.IMAGE_REFUSED) == []


def test_another_file_under_the_same_inode_size_and_time_is_captured(watched: Watched) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    watched.settled()
    before = file.stat()
    data = bytearray(CT.path.read_bytes())
    data[-1] ^= 1
    with file.open("r+b") as writer:
        writer.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.settled()

    assert watched.captured() == [CT.dataset, bytes(data[-len(CT.dataset) :])]


def test_a_replaced_file_is_captured_again(watched: Watched, tmp_path: Path) -> None:
    watched.look()
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.look()
    shutil.copyfile(MR.path, tmp_path / "new")
    (tmp_path / "new").rename(watched.folder / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset, MR.dataset]


@pytest.mark.parametrize("name", [b"caf\xe9.dcm", b"new\nline", "検査".encode(), b"-rf", b"%s", b" ", b"a" * 255])
def test_names_in_any_encoding(watched: Watched, name: bytes) -> None:
    path = os.path.join(bytes(watched.folder), b"\xff\xfe", name)  # noqa: PTH118  bytes
    os.mkdir(os.path.dirname(path))  # noqa: PTH102, PTH120
    watched.look()
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(CT.path.read_bytes())
    with open(path + b"2" if len(name) < 255 else path[:-1], "wb") as file:  # noqa: PTH123
        file.write(b"none")
    watched.settled()
    watched.after_s(TIMING.patience_s)

    assert watched.captured() == [CT.dataset]
    assert len(watched.of(Event.FILE_REFUSED)) == 1


class ChangingReader(FileReader):
    """Reads a file that somebody writes into at the same time, the first time it is read."""

    change: Any = None

    def through(self, descriptor: int, take: Any) -> bytes:
        digest = super().through(descriptor, take)
        if self.change:
            change, self.change = self.change, None
            change()
        return digest


def test_a_file_changed_while_it_is_read_is_given_up_and_tried_again(watched: Watched) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    reader = ChangingReader()

    def change() -> None:
        with file.open("ab") as writer:
            writer.write(b"\xfc\xff\xfc\xffOB\x00\x00\x02\x00\x00\x00\x00\x00")

    reader.change = change
    watched.watcher._taker._reader = reader
    watched.settled()
    before = watched.captured()
    watched.look()
    watched.after_s(4 * TIMING.settle_s)

    assert before == []
    assert [record.reason for record in watched.of(Event.IMAGE_REFUSED)] == [
        "ChangedWhileRead: the file changed while it was read; it is tried again"
    ]
    assert watched.captured() == [CT.dataset + b"\xfc\xff\xfc\xffOB\x00\x00\x02\x00\x00\x00\x00\x00"]


def test_a_file_replaced_while_it_is_read_is_given_up_and_the_new_one_captured(
    watched: Watched, tmp_path: Path
) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    shutil.copyfile(MR.path, tmp_path / "new")
    reader = ChangingReader()
    reader.change = lambda: (tmp_path / "new").rename(file)
    watched.watcher._taker._reader = reader
    watched.settled()
    watched.look()
    watched.after_s(4 * TIMING.settle_s)

    assert watched.captured() == [MR.dataset]


def test_a_file_deleted_while_it_is_read_was_read_whole(watched: Watched) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    reader = ChangingReader()
    reader.change = file.unlink
    watched.watcher._taker._reader = reader
    watched.settled()

    assert watched.captured() == [CT.dataset]


def test_an_unreadable_file_is_recorded_once_and_captured_when_it_can_be_read(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        # Tests may run as root, from whom no permission keeps a file.
        if path == b"1.dcm":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, mode, dir_fd=dir_fd)

    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    shutil.copyfile(MR.path, watched.folder / "2.dcm")
    monkeypatch.setattr(os, "open", refuse)
    watched.settled()
    for _ in range(3):
        watched.after_s(TIMING.rescan_s)
        watched.after_s(TIMING.settle_s)
    refused = watched.of(Event.FILE_REFUSED)
    meanwhile = watched.captured()
    monkeypatch.undo()
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert [record.reason for record in refused] == ["FileUnreadable: the file cannot be read: Permission denied"]
    assert meanwhile == [MR.dataset]
    assert watched.captured() == [MR.dataset, CT.dataset]


def test_a_disk_error_within_a_file_is_recorded_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def fail(descriptor: int, buffers: Any, offset: int) -> int:
        if offset:
            raise OSError(errno.EIO, "Input/output error")
        return preadv(descriptor, [buffers[0][:1000]], offset)

    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    monkeypatch.setattr(os, "preadv", fail)
    watched.settled()
    for _ in range(3):
        watched.after_s(TIMING.rescan_s)
        watched.after_s(TIMING.settle_s)

    assert len(watched.of(Event.FILE_REFUSED)) == 1
    assert len(watched.of(Event.IMAGE_REFUSED)) == 1


def test_one_faulty_file_does_not_stop_the_others(watched: Watched) -> None:
    class Faulty(FileReader):
        def through(self, descriptor: int, take: Any) -> bytes:
            if os.fstat(descriptor).st_size == CT.path.stat().st_size:
                raise ValueError("DOE^JANE")
            return super().through(descriptor, take)

    watched.watcher._taker._reader = Faulty()
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    shutil.copyfile(MR.path, watched.folder / "2.dcm")
    watched.settled()

    assert watched.captured() == [MR.dataset]
    assert "task.failed" in watched.host.log.names()
    assert "DOE" not in str(watched.host.log.events)


def test_a_full_spool_holds_the_files_and_floods_no_journal(watched: Watched) -> None:
    watched.host.free_bytes = 0
    for number in range(20):
        (watched.folder / f"{number}.dcm").write_bytes(another(CT.path.read_bytes(), number))
    watched.settled()
    for _ in range(10):
        watched.look()
    refused = watched.of(Event.IMAGE_REFUSED)
    watched.host.free_bytes = 1 << 40
    for _ in range(20):
        watched.after_s(TIMING.settle_s)

    assert len(refused) == 1
    assert len(watched.captured()) == 20


def test_nothing_is_captured_twice_over_restarts(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    for _ in range(3):
        watched.restart()
        watched.settled()

    assert watched.captured() == [CT.dataset]


def test_what_came_while_nobody_watched_is_captured_after_the_restart(watched: Watched) -> None:
    watched.settled()
    watched.watcher._let_go()
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.restart()
    watched.settled()

    assert watched.captured() == [CT.dataset]


def test_a_stop_between_capture_and_ledger_loses_nothing(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    with watched.host.database.transaction() as connection:
        connection.execute("DELETE FROM export_file")
    watched.restart()
    watched.settled()

    # Captured again, or known again as the same instance: one of the two, and never none.
    assert set(watched.captured()) == {CT.dataset}
    assert watched.ledger.count("CT1", State.CAPTURED) == 1


def rot(watched: Watched) -> Spooled:
    """Have the one object that waits go bad on the host's disk, and be put aside."""
    (spooled,) = watched.host.spool.everything()
    with SpoolReader(watched.host.spool.folder).path(spooled).open("r+b") as file:
        assert spooled.place is not None
        file.seek(spooled.place.offset + 1000)
        file.write(bytes(64))
    watched.host.spool.put_aside(spooled, "damaged")
    return spooled


def test_a_file_whose_object_went_bad_is_captured_again_when_it_is_exported_again(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    rot(watched)
    watched.look()
    before = watched.captured()

    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()

    assert (before, watched.captured()) == ([], [CT.dataset])


def test_a_file_whose_object_was_given_up_is_captured_again_by_itself(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    watched.host.spool.give_up(rot(watched))

    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert watched.captured() == [CT.dataset]
    assert watched.watcher.state().waiting == 1


def test_what_is_durable_and_not_registered_yet_is_not_taken_for_lost(watched: Watched) -> None:
    registrar = GroupRegistrar(watched.host.captures.entries, watched.host.log)
    watched.host.pipeline.registrar = registrar
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    begun = list[ImageHeader]()

    def begin(header: ImageHeader) -> NoReturn:
        begun.append(header)
        raise NoPolicyInForce  # a second capture would wait for the first to be registered

    vars(watched.host.pipeline)["begin"] = begin
    (watched.folder / "1.dcm").rename(watched.folder / "2.dcm")
    watched.settled()
    for _ in range(2):
        watched.after_s(TIMING.rescan_s)
    with in_thread(registrar, registrar.bell.ring):
        pass

    assert (begun, watched.captured()) == ([], [CT.dataset])


def test_a_file_that_stays_here_is_captured_again_where_the_vault_lost_its_image(watched: Watched) -> None:
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    (spooled,) = watched.host.spool.everything()
    watched.receipt(spooled.object_id)
    with watched.host.database.transaction() as connection:
        watched.host.spool.forget(connection, spooled)
    watched.host.spool.let_go(spooled)
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)
    before = watched.captured()

    watched.receipts.forget(spooled.object_id)
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert (before, watched.captured()) == ([], [CT.dataset])


def test_the_memory_for_a_full_folder_is_bounded(tmp_path: Path) -> None:
    watched = Watched(tmp_path, options={"most": 4})
    for number in range(19):
        (watched.folder / f"{number}.dcm").write_bytes(another(CT.path.read_bytes(), number))
    most = 0
    for _ in range(12):
        watched.look()
        most = max(most, len(watched.watcher._settling))
        watched.after_s(TIMING.settle_s)
    watched.watcher._let_go()

    assert most == 4
    assert len(watched.captured()) == 19


def test_files_for_which_there_is_no_room_are_found_by_the_rescan(tmp_path: Path) -> None:
    watched = Watched(tmp_path, options={"most": 2})
    watched.look()
    for number in range(7):
        (watched.folder / f"{number}.dcm").write_bytes(another(CT.path.read_bytes(), number))
    for _ in range(8):
        watched.after_s(TIMING.settle_s)
    watched.watcher._let_go()

    assert len(watched.captured()) == 7


def test_a_large_file_is_streamed(watched: Watched) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    with file.open("ab") as writer:
        writer.write(b"\xfc\xff\xfc\xffOB\x00\x00" + (96 << 20).to_bytes(4, "little"))
        writer.truncate(writer.tell() + (96 << 20))
    watched.look()
    tracemalloc.start()
    watched.after_s(TIMING.settle_s)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert watched.host.spool.waiting() == 1
    assert peak < 12 << 20


@pytest.mark.soak
def test_a_file_of_four_gibibytes_is_captured_whole_in_constant_memory(watched: Watched) -> None:
    file = watched.folder / "1.dcm"
    shutil.copyfile(CT.path, file)
    size_bytes = file.stat().st_size + (4 << 30)
    os.truncate(file, size_bytes)
    watched.look()
    tracemalloc.start()
    watched.after_s(TIMING.patience_s)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    (spooled,) = watched.host.spool.everything()
    with watched.host.spool.open(spooled) as sealed:
        record = verify_record(object_file.parse(sealed).record, watched.host.signer.public)
    assert record.dataset_bytes == len(CT.dataset) + (4 << 30)
    assert peak < 12 << 20


def test_without_a_policy_for_it_the_folder_is_not_read(watched: Watched) -> None:
    watched.allow(None, version=2)
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()
    before = watched.captured()
    watched.allow(watched.after, version=3)
    watched.settled()

    assert before == []
    assert watched.captured() == [CT.dataset]


def test_a_host_without_policy_reads_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.options["pipeline"] = watched.host.pipeline
    bare = Host(tmp_path / "bare", host_id=watched.host.host_id)
    watched.watcher._policy = bare.store.in_force
    shutil.copyfile(CT.path, watched.folder / "1.dcm")
    watched.settled()

    assert watched.captured() == []
    assert watched.host.records() == []

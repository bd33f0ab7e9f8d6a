"""What inotify tells and what it does not: folders that come and go, overflow, a watcher that sleeps until woken."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from edge_agent.export_folder import inotify, libc, watcher
from edge_agent.export_folder.inotify import CannotWatch, Change, Inotify
from edge_agent.export_folder.sysfs import Places
from edge_agent.export_folder.watches import Watches
from shared.errors import Unavailable
from shared.policy.document import AfterReceipt
from tests.edge_agent.export_folder.watched import CT, MR, TIMING, Watched, another
from tests.threads import in_thread


def copy(image_path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image_path, target)


def test_folders_made_later_are_watched_too(watched: Watched) -> None:
    watched.look()
    (watched.folder / "a" / "b").mkdir(parents=True)
    watched.look()
    copy(CT.path, watched.folder / "a" / "b" / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]


def test_what_was_in_a_folder_before_it_could_be_watched_is_found(watched: Watched) -> None:
    watched.look()
    copy(CT.path, watched.folder / "a" / "b" / "1.dcm")
    watched.settled()

    assert watched.captured() == [CT.dataset]


def test_a_study_moved_in_as_a_folder_is_captured(watched: Watched, tmp_path: Path) -> None:
    copy(CT.path, tmp_path / "study" / "series" / "1.dcm")
    watched.look()
    (tmp_path / "study").rename(watched.folder / "study")
    watched.settled()

    assert watched.captured() == [CT.dataset]


def test_a_folder_that_was_renamed_is_watched_under_its_new_name(watched: Watched) -> None:
    (watched.folder / "a" / "inner").mkdir(parents=True)
    watched.look()
    (watched.folder / "a").rename(watched.folder / "b")
    watched.look()
    copy(CT.path, watched.folder / "b" / "inner" / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]


def test_a_folder_that_was_moved_out_is_watched_no_more(watched: Watched, tmp_path: Path) -> None:
    (watched.folder / "a" / "inner").mkdir(parents=True)
    watched.look()
    (watched.folder / "a").rename(tmp_path / "a")
    watched.look()
    copy(CT.path, tmp_path / "a" / "inner" / "1.dcm")
    watched.settled()
    watched.after_s(TIMING.rescan_s)

    assert watched.captured() == []
    assert watched.watcher._watches is not None
    assert len(watched.watcher._watches) == 1


def test_what_inotify_did_not_tell_is_found_by_the_rescan(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_self: Inotify) -> Iterator[Change]:
        return iter(())

    monkeypatch.setattr(Inotify, "changes", silent)
    watched.settled()
    copy(CT.path, watched.folder / "a" / "1.dcm")
    watched.settled()
    before = watched.captured()
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert before == []
    assert watched.captured() == [CT.dataset]


def test_an_overflow_is_followed_by_a_rescan(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [Change(-1, inotify.OVERFLOW, b"")]
    watched.settled()
    copy(CT.path, watched.folder / "1.dcm")

    def overflown(_self: Inotify) -> Iterator[Change]:
        told, lost[:] = lost[:], []
        return iter(told)

    monkeypatch.setattr(Inotify, "changes", overflown)
    watched.settled()

    assert watched.captured() == [CT.dataset]
    assert "export-folder.overflow" in watched.host.log.names()


def overflows(_self: Inotify) -> Iterator[Change]:
    return iter([Change(-1, inotify.OVERFLOW, b"")])


def test_an_overflow_with_every_look_keeps_the_rescan_from_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [another(CT.path.read_bytes(), value) for value in range(6)]
    for number, image in enumerate(images):
        (watched.folder / f"{number}.dcm").write_bytes(image)
    monkeypatch.setattr(watcher, "_SCANNED_AT_ONCE", 2)
    monkeypatch.setattr(Inotify, "changes", overflows)
    for _ in range(2):
        for _ in range(10):
            watched.watcher.step()
        watched.now_s += TIMING.settle_s

    assert {digest for digest in watched.file_digests() if digest} == {sha256(image).digest() for image in images}


def write_on(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """Have a modality write twice for each change that is heard; return what will be heard."""
    heard, hear_one = list[Change](), watched.watcher._hear_one

    def hear(change: Change, watches: Watches, now_s: float) -> None:
        heard.append(change)
        assert len(heard) < 20_000, "it listens without end"
        for name in ("x1", "x2"):
            (watched.folder / name).write_bytes(b"")
        hear_one(change, watches, now_s)

    monkeypatch.setattr(watched.watcher, "_hear_one", hear)
    return heard


def test_who_writes_without_a_pause_keeps_no_image_from_its_capture(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.look()
    write_on(watched, monkeypatch)
    copy(CT.path, watched.folder / "1.dcm")
    for _ in range(3):
        watched.watcher.step()

    assert watched.captured() == [CT.dataset]


def test_who_writes_without_a_pause_does_not_keep_the_agent_from_stopping(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.look()
    heard = write_on(watched, monkeypatch)
    copy(CT.path, watched.folder / "1.dcm")
    watched.watcher._stop.set()
    watched.watcher.step()

    assert len(heard) == 1


def test_where_nothing_can_be_watched_the_rescan_finds_everything(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_descriptor: int, _path: bytes, _mask: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(libc, "inotify_add_watch", exhausted)
    watched.settled()
    copy(CT.path, watched.folder / "a" / "b" / "1.dcm")
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert watched.captured() == [CT.dataset]
    assert watched.host.log.names().count("export-folder.not-watched") == 1


def test_without_inotify_the_rescan_finds_everything(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(libc, "inotify_init", exhausted)
    copy(CT.path, watched.folder / "a" / "1.dcm")
    watched.settled()

    assert watched.captured() == [CT.dataset]


def test_a_folder_that_cannot_be_listed_is_said_and_stops_no_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir
    copy(CT.path, watched.folder / "a" / "1.dcm")
    copy(MR.path, watched.folder / "b" / "2.dcm")
    hidden = (watched.folder / "a").stat().st_ino

    def refuse(folder: int) -> "os._ScandirIterator[str]":
        # Tests may run as root, from whom no permission keeps a folder.
        if os.fstat(folder).st_ino == hidden:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    watched.settled()
    watched.after_s(TIMING.rescan_s)
    row = watched.watcher._published
    meanwhile = watched.captured()
    monkeypatch.undo()
    watched.after_s(TIMING.rescan_s)
    watched.after_s(TIMING.settle_s)

    assert row is not None
    assert "some of it cannot be listed" in row.reading
    assert meanwhile == [MR.dataset]
    assert watched.captured() == [MR.dataset, CT.dataset]


class Stale:
    """An entry of a listing whose stat fails."""

    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self.name = entry.name

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")


@pytest.mark.parametrize("first", [True, False])
def test_a_name_that_cannot_be_looked_at_is_said_and_stops_no_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    scandir = os.scandir
    for name in ("1.dcm", "2.dcm"):
        copy(CT.path if name == "1.dcm" else MR.path, watched.folder / name)

    @contextmanager
    def one_stale(folder: int) -> Iterator[Iterator[object]]:
        with scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name, reverse=not first)
            yield iter([Stale(entries[0]), *entries[1:]])

    # No longer than it is looked at: whoever removes the folder lists it as well.
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", one_stale)
        watched.settled()
        watched.after_s(TIMING.rescan_s)
    row = watched.watcher._published

    assert watched.captured() == [MR.dataset if first else CT.dataset]
    assert row is not None
    assert "some of it cannot be listed" in row.reading


def test_a_missing_folder_is_said_and_comes_back_by_itself(watched: Watched, tmp_path: Path) -> None:
    watched.look()
    watched.folder.rename(tmp_path / "away")
    wait_s = watched.look()
    missing = watched.watcher.state().lies_on
    copy(CT.path, tmp_path / "away" / "1.dcm")
    (tmp_path / "away").rename(watched.folder)
    watched.settled()

    assert (missing, wait_s) == ("missing", TIMING.missing_s)
    assert watched.watcher.state().lies_on != "missing"
    assert watched.captured() == [CT.dataset]


def test_a_folder_made_anew_is_watched_anew(watched: Watched) -> None:
    watched.look()
    shutil.rmtree(watched.folder)
    watched.folder.mkdir()
    watched.look()
    copy(CT.path, watched.folder / "1.dcm")
    watched.look()

    assert watched.captured() == [CT.dataset]


def test_the_empty_folder_below_what_was_unmounted_is_not_the_modalitys(tmp_path: Path) -> None:
    class Mounts(Places):
        mounted = True

        def is_mount_point(self, _folder: bytes) -> bool:
            return self.mounted

    places = Mounts()
    watched = Watched(tmp_path, options={"places": places})
    copy(CT.path, watched.folder / "1.dcm")
    watched.settled()
    watched.folder.rename(tmp_path / "unmounted")
    watched.folder.mkdir()
    places.mounted = False
    watched.look()
    missing = watched.watcher.state().lies_on
    watched.folder.rmdir()
    (tmp_path / "unmounted").rename(watched.folder)
    places.mounted = True
    copy(MR.path, watched.folder / "2.dcm")
    watched.settled()

    assert missing == "missing"
    assert watched.captured() == [CT.dataset, MR.dataset]


def test_nothing_of_the_folder_is_held_open_at_rest(watched: Watched) -> None:
    copy(CT.path, watched.folder / "a" / "1.dcm")
    watched.settled()
    held = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            held.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        except FileNotFoundError:
            continue

    assert not [path for path in held if path.startswith(str(watched.folder))]


class Steps:
    """Counts the steps of a watcher, and lets a test await what one of them brings."""

    def __init__(self, watched: Watched) -> None:
        self.taken, self._changed, self._step = 0, threading.Condition(), watched.watcher.step
        watched.watcher.step = self._counted  # type: ignore[method-assign]

    def _counted(self) -> float:
        wait_s = self._step()
        with self._changed:
            self.taken += 1
            self._changed.notify_all()
        return wait_s

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 60)


def test_the_part_wakes_for_a_file_for_a_receipt_and_for_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path, AfterReceipt.DELETE)
    steps = Steps(watched)
    copy(CT.path, tmp_path / "elsewhere")
    with in_thread(watched.watcher, watched.watcher.bell.ring):
        # The watcher's clock stands still, so that only an event can make anything happen.
        steps.until(lambda: steps.taken > 0)
        (tmp_path / "elsewhere").rename(watched.folder / "1.dcm")
        steps.until(lambda: watched.host.spool.waiting() == 1)
        watched.receipt_for_all()
        steps.until(lambda: watched.names() == set())


def test_a_part_at_rest_is_not_woken_by_itself(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    steps, asked = Steps(watched), list[float | None]()
    resting, wait = threading.Event(), watched.watcher._bell.wait

    def waited(descriptors: tuple[tuple[int, int], ...], timeout_s: float | None) -> bool:
        asked.append(timeout_s)
        if timeout_s is None or timeout_s > 5:
            resting.set()
        return wait(descriptors, timeout_s)

    watched.watcher._bell.wait = waited  # type: ignore[method-assign]
    with in_thread(watched.watcher, watched.watcher.bell.ring):
        assert resting.wait(60)
        before = steps.taken
        # Rung once, it looks once and rests again.
        resting.clear()
        watched.watcher.bell.ring()
        steps.until(lambda: steps.taken > before)

    assert asked[-1] is not None
    assert before < 10


def test_a_watch_on_what_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    watch = Inotify()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(CannotWatch) as failed:
        watch.add(descriptor)
    watch.close()

    assert isinstance(failed.value, Unavailable)


def test_events_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    watch = Inotify()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    number = watch.add(descriptor)
    os.close(descriptor)
    name = b"\xff new\nline"
    with open(os.path.join(bytes(tmp_path), name), "wb"):  # noqa: PTH118, PTH123
        pass
    told = list(watch.changes())
    watch.close()

    assert [(change.watch, change.name) for change in told] == [(number, name)] * 2
    assert [change.mask for change in told] == [inotify.CREATE, inotify.CLOSE_WRITE]


def test_a_rescan_that_is_asked_for_is_a_whole_one_and_begins_after_it_was_asked(watched: Watched) -> None:
    watched.look()
    asked = watched.watcher.rescan()
    copy(CT.path, watched.folder / "a" / "1.dcm")
    (watched.folder / "2.txt").write_bytes(b"no image")
    watched.look()

    assert (asked.ended.is_set(), asked.files, asked.is_complete) == (True, 2, True)


def test_a_rescan_of_a_folder_that_is_not_read_ends_without_one(watched: Watched) -> None:
    watched.look()
    shutil.rmtree(watched.folder)
    asked = watched.watcher.rescan()
    watched.look()

    assert (asked.ended.is_set(), asked.files) == (True, None)


@pytest.mark.parametrize("open_again", [False, True])
def test_an_isolated_host_captures_no_file_until_it_is_let_in_again(watched: Watched, open_again: bool) -> None:
    is_open = False
    watched.options = {"is_open": lambda: is_open}
    watched.restart()
    copy(CT.path, watched.folder / "1.dcm")
    watched.settled()
    isolated = watched.watcher.is_reading, watched.captured()
    is_open = open_again
    watched.after_s(TIMING.rescan_s)
    watched.settled()

    assert isolated == (False, [])
    assert watched.captured() == [CT.dataset] * open_again

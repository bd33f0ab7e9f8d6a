"""The spool: whole and durable or not there, oldest first, within its quota, and nothing acknowledged is dropped."""

import errno
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from edge_agent.database import Database
from edge_agent.spool import spool as spool_module
from edge_agent.spool.attempts import count
from edge_agent.spool.catalogue import Spooled, State
from edge_agent.spool.entry import Note
from edge_agent.spool.errors import QuotaReached, SpoolFull, SpoolUnavailable
from edge_agent.spool.incoming import Incoming
from edge_agent.spool.segment import Segment
from edge_agent.spool.slots import SLOT_BYTES
from edge_agent.spool.spool import Spool
from shared.identity import ObjectId

SMALL, LARGE = b"sealed", bytes(range(256)) * ((SLOT_BYTES >> 8) + 100)
both = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["in a segment", "a file of its own"])


def spool_on(folder: Path, kind: type[Spool] = Spool, **options: Any) -> Spool:
    folder.mkdir(exist_ok=True)
    options = {"free_bytes": lambda _: 1 << 40, "segment_bytes": 2 << 20, **options}
    spool = kind(folder / "spool", Database(folder / "agent.sqlite"), **options)
    spool.attempts.forget()
    return spool


def write(incoming: Incoming, content: bytes, piece: int = 100_000) -> None:
    for start in range(0, len(content), piece):
        data = content[start : start + piece]
        incoming.room(len(data))[: len(data)] = data
        incoming.took(len(data))


def committed(spool: Spool, content: bytes = SMALL) -> Spooled:
    incoming = spool.begin(ObjectId.new())
    write(incoming, content)
    return incoming.commit(b"{}", 4)


def put(spool: Spool, content: bytes = SMALL) -> Spooled:
    spooled = committed(spool, content)
    with spool._database.transaction() as connection:
        spool.register(connection, spooled)
        complete = spool.note_complete(connection)
    spool.registered(spooled, complete=complete)
    return spooled


def leave(spool: Spool, spooled: Spooled) -> None:
    with spool._database.transaction() as connection:
        spool.forget(connection, spooled)
    spool.let_go(spooled)


def content_of(spool: Spool, spooled: Spooled) -> bytes:
    with spool.open(spooled) as file:
        return file.read()


@both
def test_a_committed_object_is_whole_and_waits(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    spooled = put(spool, content)

    assert spool.oldest() == spooled
    assert content_of(spool, spooled) == content
    assert not list(spool.incoming.iterdir())
    assert spool.attempts.left_over() == ()


@both
def test_what_is_committed_and_not_registered_counts_as_coming_in(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    spooled = committed(spool, content)

    assert count(spool.folder / "attempts") == 1
    spool.registered(spooled, complete=[])
    assert count(spool.folder / "attempts") == 0


@both
def test_oldest_first_survives_a_restart(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    waiting = [put(spool, content if number % 3 else SMALL) for number in range(12)]

    again = spool_on(tmp_path)
    assert list(again.everything()) == waiting
    assert content_of(again, waiting[1]) == content


def test_numbers_go_on_after_a_restart_and_never_repeat(tmp_path: Path) -> None:
    first = spool_on(tmp_path)
    left, aside = put(first), put(first, LARGE)
    first.put_aside(aside, "why")
    leave(first, left)

    assert put(spool_on(tmp_path)).number > aside.number


@both
def test_the_number_of_what_has_left_is_never_given_again(tmp_path: Path, content: bytes) -> None:
    first = spool_on(tmp_path)
    left = put(first, content)
    leave(first, left)
    again = spool_on(tmp_path)
    again.note_all_complete()
    again.retire()

    assert put(spool_on(tmp_path)).number > left.number


def test_a_disk_that_takes_only_part_of_a_copy_costs_nothing(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    content = bytes(range(256)) * 3000
    spooled = put(spool, content)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        spool.put_aside(spooled, "why")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    (row,) = spool.rows(State.PUT_ASIDE)
    assert content_of(spool, row.spooled) == content
    assert not list(spool.files.iterdir())


def test_a_copy_that_cannot_be_synced_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_on(tmp_path)
    spooled = put(spool)

    def broken(_folder: Path) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as failing:
        failing.setattr(spool_module, "sync_folder", broken)
        spool.put_aside(spooled, "why")
    assert not list(spool.files.iterdir())
    assert content_of(spool, spooled) == SMALL


def test_what_is_acknowledged_and_not_registered_yet_counts_towards_the_quota(tmp_path: Path) -> None:
    spool = spool_on(tmp_path, quota=lambda: 3 * len(LARGE))
    first, coming, refused = committed(spool, LARGE), spool.begin(ObjectId.new()), spool.begin(ObjectId.new())
    write(coming, LARGE)

    with pytest.raises(QuotaReached):
        write(refused, LARGE + LARGE)
    for incoming in (coming, refused):
        incoming.discard()
    with spool._database.transaction() as connection:
        spool.register(connection, first)
    spool.registered(first, complete=[])
    assert spool.held_bytes() == len(LARGE)
    put(spool, LARGE)


def test_segments_that_were_given_up_for_an_error_come_back_when_all_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_on(tmp_path)

    def broken(_segment: Segment, _offset: int, _entry: memoryview) -> None:
        raise SpoolUnavailable("broken")

    with monkeypatch.context() as failing:
        failing.setattr(Segment, "write", broken)
        held = [put(spool) for _ in range(5)]
    assert all(spooled.place is None for spooled in held)
    for spooled in [*held, put(spool, LARGE)]:
        leave(spool, spooled)

    assert not [path for path in (spool.folder / "segments").iterdir() if not path.name.startswith("spare-")]


def test_an_entry_that_will_never_be_registered_does_not_keep_its_segment(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    owed = committed(spool)
    spool.revoke(owed, Note("CT1", "1.2", owed=True))
    for _ in range(2):  # the second begins another segment
        leave(spool, put(spool, bytes(900_000)))
    leave(spool, put(spool, bytes(900_000)))
    leave(spool, put(spool))

    assert len(list((spool.folder / "segments").iterdir())) == 1


def test_what_is_none_of_ours_in_incoming_is_left_alone(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    begun = ObjectId.new()
    (spool.incoming / str(begun)).write_bytes(SMALL)
    (spool.incoming / "lost+found").mkdir()
    (spool.incoming / "README").write_text("hello")

    again = spool_on(tmp_path)
    assert again.clear_incoming() == (begun,)
    assert sorted(path.name for path in again.incoming.iterdir()) == ["README", "lost+found"]


@both
def test_an_object_that_was_not_registered_is_not_delivered(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    committed(spool, content)

    assert (spool.oldest(), spool.waiting()) == (None, 0)


@both
def test_a_discarded_object_leaves_no_trace(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    write(incoming, content)
    assert spool.attempts.left_over() == (incoming.object_id,)
    incoming.discard()

    assert not list(spool.incoming.iterdir())
    assert spool.attempts.left_over() == ()


@both
def test_discarding_after_commit_keeps_the_object(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    write(incoming, content)
    spooled = incoming.commit(b"{}", 4)
    incoming.discard()

    assert content_of(spool, spooled) == content


def test_what_a_stopped_agent_was_writing_is_deleted_and_named(tmp_path: Path) -> None:
    small, large = (spool_on(tmp_path).begin(ObjectId.new()) for _ in range(2))
    write(large, LARGE)
    again = Spool(tmp_path / "spool", Database(tmp_path / "agent.sqlite"))

    assert again.clear_incoming() == (large.object_id,)
    assert not list(again.incoming.iterdir())
    assert large.object_id in again.attempts.left_over()
    for incoming in (small, large):
        incoming.discard()


def test_refuses_while_the_reserve_would_be_used_and_gives_up_spares_first(tmp_path: Path) -> None:
    free = [1 << 30]
    spool = spool_on(tmp_path, reserve_bytes=100, free_bytes=lambda _: free.pop(0) if len(free) > 1 else free[0])
    spool.segments.spares = 1
    spool.segments.prepare()
    free[:] = [99, 200]
    spool.begin(ObjectId.new()).discard()
    assert spool.segments.needs_spare(), "a spare was kept while an image was about to be refused"

    free[:] = [99]
    with pytest.raises(SpoolFull):
        spool.begin(ObjectId.new())


@both
def test_a_full_quota_refuses_new_objects_and_drops_none(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path, quota=lambda: 2 * len(content))
    waiting = [put(spool, content), put(spool, content)]
    with pytest.raises(QuotaReached) as refused:
        spool.begin(ObjectId.new())
    assert (refused.value.held_bytes, refused.value.quota_bytes) == (2 * len(content), 2 * len(content))
    assert list(spool.everything()) == waiting
    assert [content_of(spool, spooled) for spooled in waiting] == [content] * 2
    leave(spool, waiting[0])

    put(spool, content)


@both
def test_what_an_archive_is_still_owed_keeps_new_objects_out_also_after_a_restart(
    tmp_path: Path, content: bytes
) -> None:
    spool = spool_on(tmp_path, quota=lambda: 2 * len(content))
    owed = [put(spool, content), put(spool, content)]
    with spool._database.transaction() as connection:
        for spooled in owed:
            spool.keep_owed(connection, spooled)
    restarted = spool_on(tmp_path, quota=lambda: 2 * len(content))

    for each in (spool, restarted):
        with pytest.raises(QuotaReached):
            each.begin(ObjectId.new())
    leave(restarted, owed[0])
    put(restarted, content)


MEDIUM = bytes(range(256)) * ((SLOT_BYTES - (64 << 10)) >> 8)
FIT, MANY = 3, 8


class Unreserved(Spool):
    """A spool that looks at its quota only where an object begins."""

    def reserve(self, object_id: ObjectId, size_bytes: int) -> None:
        with self._lock:
            self._coming_bytes += size_bytes - self._coming.get(object_id, 0)
            self._coming[object_id] = size_bytes


def stored_at_once(spool: Spool, content: bytes) -> list[Spooled]:
    """Return what was kept of as many objects as there are associations, all of them begun while there was room."""
    together = Barrier(MANY)

    def store(_association: int) -> Spooled | None:
        incoming = spool.begin(ObjectId.new())
        try:
            together.wait()
            write(incoming, content)
            return incoming.commit(b"{}", 4)
        except QuotaReached:
            return None
        finally:
            incoming.discard()

    with ThreadPoolExecutor(MANY) as associations:
        return [spooled for spooled in associations.map(store, range(MANY)) if spooled is not None]


@pytest.mark.parametrize("content", [MEDIUM, LARGE], ids=["in a segment", "a file of its own"])
def test_many_associations_at_once_hold_to_the_quota_to_the_byte(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path, quota=lambda: FIT * len(content))
    kept = stored_at_once(spool, content)

    assert len(kept) <= FIT
    assert not list(spool.incoming.iterdir())
    assert count(spool.folder / "attempts") == len(kept)
    with spool._database.transaction() as connection:
        for spooled in kept:
            spool.register(connection, spooled)
    spool.registered(*kept, complete=[])
    while len(kept) < FIT:
        kept.append(put(spool, content))  # nothing of what was refused counts any more
    assert spool.held_bytes() == FIT * len(content)
    assert [content_of(spool, spooled) for spooled in kept] == [content] * FIT


def test_without_the_check_before_the_entry_every_association_passes_the_quota(tmp_path: Path) -> None:
    spool = spool_on(tmp_path, kind=Unreserved, quota=lambda: FIT * len(MEDIUM))
    assert len(stored_at_once(spool, MEDIUM)) == MANY


def test_an_object_that_outgrows_the_quota_on_its_way_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    spool = spool_on(tmp_path, quota=lambda: SLOT_BYTES)
    incoming = spool.begin(ObjectId.new())
    with pytest.raises(QuotaReached):
        write(incoming, LARGE * 2)
    incoming.discard()

    assert not list(spool.incoming.iterdir())


def test_the_quota_counts_what_a_restart_finds(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    for content in (SMALL, LARGE):
        put(spool, content)
    spool.put_aside(put(spool), "why")
    leave(spool, put(spool))

    assert spool_on(tmp_path).held_bytes() == spool.held_bytes() == 2 * len(SMALL) + len(LARGE)


def test_where_a_segment_has_no_room_a_small_object_becomes_a_file(tmp_path: Path) -> None:
    free = [(64 << 20) + (1 << 20)]  # beside the reserve there is room for objects and for no segment
    spool = spool_on(tmp_path, free_bytes=lambda _: free[0])
    spooled = put(spool)

    assert spooled.place is None
    assert content_of(spool, spooled) == SMALL


def test_when_all_buffers_are_taken_objects_become_files(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    held = [spool.begin(ObjectId.new()) for _ in range(40)]
    for incoming in held:
        write(incoming, SMALL)

    assert {incoming.is_file for incoming in held} == {False, True}
    spooled = [incoming.commit(b"{}", 4) for incoming in held]
    assert {content_of(spool, one) for one in spooled} == {SMALL}


@both
def test_an_object_that_the_vault_will_not_take_is_kept_aside_and_let_back(tmp_path: Path, content: bytes) -> None:
    spool = spool_on(tmp_path)
    spooled = put(spool, content)
    spool.put_aside(spooled, "its wrap is not one")

    assert spool.waiting() == 0
    (row,) = spool.rows(State.PUT_ASIDE)
    assert (row.spooled.object_id, row.spooled.place, row.why) == (spooled.object_id, None, "its wrap is not one")
    assert content_of(spool, row.spooled) == content
    with spool._database.transaction() as connection:
        spool.catalogue.change(connection, row.spooled, State.WAITING)
    assert spool.oldest() == row.spooled
    leave(spool, row.spooled)
    assert (list(spool.files.iterdir()), spool.held_bytes()) == ([], 0)


def test_an_object_put_aside_keeps_no_segment(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    aside = put(spool)
    spool.put_aside(aside, "why")
    while (last := put(spool, SMALL)).place is not None and last.place.segment == 1:
        leave(spool, last)
    put(spool)  # notes that the first segment is complete
    spool.retire()

    assert not spool.segments.has(1)
    (row,) = spool.rows(State.PUT_ASIDE)
    assert content_of(spool, row.spooled) == SMALL


def test_an_object_that_left_comes_back_by_no_restart(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    left = [put(spool, content) for content in (SMALL, LARGE)]
    for spooled in left:
        leave(spool, spooled)
    again = spool_on(tmp_path)

    assert (again.everything(), again.unregistered_files(), list(again.files.iterdir())) == ((), [], [])
    assert not any(again.holds(spooled.object_id) for spooled in left)


@pytest.mark.parametrize("which", [1, 2, 3], ids=["the object", "its note", "their folder"])
def test_if_something_cannot_be_synced_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    write(incoming, LARGE)
    real, calls = os.fsync, list[int]()

    def broken(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == which:
            raise OSError(errno.EIO, "broken")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SpoolUnavailable):
        incoming.commit(b"{}", 4)
    incoming.discard()
    assert not list(spool.files.iterdir())


def test_foreign_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    (spool.files / "README").write_text("hello")

    assert spool_on(tmp_path).unregistered_files() == []
    assert (spool.files / "README").exists()


def test_a_missing_segment_is_an_error_of_ours(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    spooled = put(spool)
    assert spooled.place is not None
    spool.segments.path(spooled.place.segment).unlink()
    with pytest.raises(SpoolUnavailable):
        spool.open(spooled)
    with pytest.raises(SpoolUnavailable, match="is not there"):
        spool_on(tmp_path).open(spooled)

"""The contract of an object store, and what of it a local folder can show: cuts, leftovers, faults."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.vault.local import DAMAGED, MADE, LocalObjectStore, StoreAway, VaultBodies
from control_plane.vault.object_store import BodyConflict, BodyMissing, BodyUnreadable, StoreUnavailable
from shared.identity import ObjectId
from tests.control_plane.vault.harm import not_given_to_a_reader, not_given_to_an_opener

BODY = bytes(range(256)) * 4096
ID = ObjectId(bytes(range(16)))


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects")


def put(store: LocalObjectStore, body: bytes, object_id: ObjectId = ID) -> None:
    store.put(object_id, io.BytesIO(body))


def read(store: LocalObjectStore, object_id: ObjectId = ID) -> bytes:
    data = bytearray()
    buffer = memoryview(bytearray(1000))
    with store.open(object_id) as body:
        while count := body.readinto(buffer):
            data += buffer[:count]
    return bytes(data)


@pytest.mark.parametrize("body", [b"", b"x", BODY])
def test_gives_back_what_was_put(store: LocalObjectStore, body: bytes) -> None:
    put(store, body)

    assert read(store) == body


def test_lies_where_its_name_says(store: LocalObjectStore, tmp_path: Path) -> None:
    put(store, BODY)

    path = tmp_path / "objects" / "00" / f"{ID}.body"
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o077 == 0


def test_the_same_bytes_may_be_put_again(store: LocalObjectStore) -> None:
    put(store, BODY)
    put(store, BODY)

    assert read(store) == BODY


@pytest.mark.parametrize("other", [b"", BODY + b"x", BODY[:-1], b"x" + BODY[1:]])
def test_other_bytes_never_replace_what_is_held(store: LocalObjectStore, other: bytes) -> None:
    put(store, BODY)

    with pytest.raises(BodyConflict):
        put(store, other)
    assert read(store) == BODY


def test_what_rotted_is_replaced_and_stays_beside_and_at_every_sync_there_is_one(tmp_path: Path) -> None:
    there = list[bool]()
    path = tmp_path / "objects" / "00" / f"{ID}.body"

    def sync(descriptor: int) -> None:
        os.fsync(descriptor)
        there.append(path.exists())

    store = LocalObjectStore(tmp_path / "objects", sync)
    put(store, BODY[:-1] + b"x")
    there.clear()

    store.replace(ID, io.BytesIO(BODY))

    assert read(store) == BODY
    assert path.with_suffix(DAMAGED).read_bytes() == BODY[:-1] + b"x"
    assert there == [True, True]
    assert [*(tmp_path / "objects" / "new").iterdir()] == []


def test_says_when_a_body_is_missing(store: LocalObjectStore) -> None:
    with pytest.raises(BodyMissing):
        store.open(ID)


def test_a_power_cut_at_any_sync_leaves_a_body_whole_or_absent(tmp_path: Path) -> None:
    states: list[Path] = []

    def cut(descriptor: int) -> None:
        states.append(tmp_path / f"cut {len(states)}")
        shutil.copytree(tmp_path / "objects", states[-1])
        os.fsync(descriptor)

    put(LocalObjectStore(tmp_path / "objects", cut), BODY)

    # Making the folders, the file, and its name.
    assert len(states) == 3
    for state in states:
        store = LocalObjectStore(state)
        assert list((state / "new").iterdir()) == []
        if (state / "00" / f"{ID}.body").exists():
            assert read(store) == BODY
        put(store, BODY)
        assert read(store) == BODY


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def fail(descriptor: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 (a descriptor)
            raise OSError(5, "Input/output error")

    store = LocalObjectStore(tmp_path / "objects", fail)

    with pytest.raises(StoreUnavailable, match="Input/output error"):
        put(store, BODY)
    assert [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()] == [MADE]


def test_a_fault_while_reading_is_ours(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "objects" / "00" / f"{ID}.body").mkdir()

    with pytest.raises(StoreUnavailable) as found:
        read(store)
    assert not isinstance(found.value, BodyUnreadable)


@pytest.mark.parametrize("not_given", [not_given_to_a_reader, not_given_to_an_opener])
def test_a_body_that_the_disk_does_not_give_is_told_from_a_disk_that_is_away_and_is_replaced(
    store: LocalObjectStore, tmp_path: Path, not_given: Callable[[Path], None]
) -> None:
    not_given(tmp_path / "objects" / "00" / f"{ID}.body")

    with pytest.raises(BodyUnreadable):
        read(store)
    with pytest.raises(BodyConflict):
        put(store, BODY)
    store.replace(ID, io.BytesIO(BODY))

    assert read(store) == BODY


def test_control_a_body_that_nothing_opens_says_nothing_of_it_where_the_disk_is_not_mounted(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    not_given_to_an_opener(tmp_path / "objects" / "00" / f"{ID}.body")
    (tmp_path / "objects" / MADE).unlink()

    with pytest.raises(StoreAway):
        store.open(ID)


def test_where_the_disk_is_not_mounted_nothing_is_missing_and_nothing_is_written(tmp_path: Path) -> None:
    folder, away = tmp_path / "objects", tmp_path / "disk"
    store = LocalObjectStore(folder)
    put(store, BODY)
    folder.rename(away)
    folder.mkdir()

    for one in (store, VaultBodies(folder)):
        with pytest.raises(StoreAway, match="is its disk mounted"):
            one.open(ID)
    with pytest.raises(StoreAway):
        LocalObjectStore(folder, is_new=False)
    for of_an_earlier_start in ("new", "00"):
        (folder / of_an_earlier_start).mkdir()
    for write in (put, lambda to, body: to.replace(ID, io.BytesIO(body))):
        with pytest.raises(StoreAway):
            write(store, BODY)
    assert [path for path in folder.rglob("*") if path.is_file()] == []

    shutil.rmtree(folder)
    away.rename(folder)
    assert read(LocalObjectStore(folder, is_new=False)) == BODY


def test_what_was_made_before_that_was_told_apart_is_known_by_its_bodies(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path / "objects")
    put(store, BODY)
    (tmp_path / "objects" / MADE).unlink()

    again = LocalObjectStore(tmp_path / "objects", is_new=False)

    (tmp_path / "objects" / "00" / f"{ID}.body").unlink()
    with pytest.raises(BodyMissing):
        again.open(ID)
    with pytest.raises(BodyMissing):
        LocalObjectStore(tmp_path / "objects", is_new=False).open(ID)


def test_a_new_disk_counts_once_a_person_says_so(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    made = tmp_path / "objects" / MADE
    made.touch()
    os.utime(made, (1, 1))

    put(LocalObjectStore(tmp_path / "objects", is_new=False), BODY)

    assert made.stat().st_mtime == 1  # left as it is: it may be somebody else's

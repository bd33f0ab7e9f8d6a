"""The spool: whole and durable or not there, oldest first, whatever happens in between."""

import errno
import os
from pathlib import Path

import pytest

from edge_agent.capture.spool import Spool, SpoolFull, SpoolUnavailable
from shared.identity import ObjectId


def spool_on(folder: Path) -> Spool:
    return Spool(folder, free_bytes=lambda _: 1 << 40)


def put(spool: Spool, content: bytes = b"sealed") -> ObjectId:
    incoming = spool.begin(ObjectId.new())
    incoming.write(content)
    spool.offer(incoming.commit())
    return incoming.object_id


def test_a_committed_object_is_ready_whole_and_gone_from_incoming(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    object_id = put(spool, b"sealed")

    oldest = spool.oldest()
    assert oldest is not None
    with spool.open(oldest) as file:
        assert (oldest.object_id, file.read()) == (object_id, b"sealed")
    assert not list((tmp_path / "incoming").iterdir())


def test_oldest_first_survives_a_restart(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    ids = [put(spool) for _ in range(12)]

    assert [s.object_id for s in spool_on(tmp_path).everything()] == ids


def test_numbers_go_on_after_a_restart_and_never_repeat(tmp_path: Path) -> None:
    first = spool_on(tmp_path)
    put(first)
    refused = first.oldest()
    assert refused is not None
    first.refuse(refused)
    second = spool_on(tmp_path)
    put(second)

    later = second.oldest()
    assert later is not None
    assert later.number > refused.number


def test_an_object_that_was_not_offered_is_not_delivered(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    incoming.commit()

    assert spool.oldest() is None


def test_a_discarded_object_leaves_no_trace(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    incoming.write(b"half")
    incoming.discard()

    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_discarding_after_commit_keeps_the_object(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    incoming.commit()
    incoming.discard()

    assert len(list((tmp_path / "ready").iterdir())) == 1


def test_what_a_stopped_agent_was_writing_is_deleted_and_named(tmp_path: Path) -> None:
    incoming = spool_on(tmp_path).begin(ObjectId.new())
    incoming.write(b"half")

    assert spool_on(tmp_path).clear_incoming() == (str(incoming.object_id),)
    assert not list((tmp_path / "incoming").iterdir())
    incoming.discard()


def test_refuses_while_the_reserve_would_be_used(tmp_path: Path) -> None:
    spool = Spool(tmp_path, reserve_bytes=100, free_bytes=lambda _: 99)

    with pytest.raises(SpoolFull):
        spool.begin(ObjectId.new())


def test_never_overwrites_an_object(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    object_id = ObjectId.new()
    first = spool.begin(object_id)

    with pytest.raises(SpoolUnavailable):
        spool.begin(object_id)
    first.discard()


def test_a_refused_object_is_kept_aside(tmp_path: Path) -> None:
    spool = spool_on(tmp_path)
    put(spool, b"sealed")
    oldest = spool.oldest()
    assert oldest is not None
    spool.refuse(oldest)

    assert spool.waiting() == 0
    assert (tmp_path / "refused" / oldest.name).read_bytes() == b"sealed"


def test_if_the_folder_cannot_be_synced_nothing_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_on(tmp_path)
    incoming = spool.begin(ObjectId.new())
    incoming.write(b"sealed")
    real, calls = os.fsync, []

    def broken_at_the_folder(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", broken_at_the_folder)
    with pytest.raises(SpoolUnavailable):
        incoming.commit()
    assert not list((tmp_path / "ready").iterdir())


def test_foreign_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    spool_on(tmp_path)
    (tmp_path / "ready" / "README").write_text("hello")

    assert spool_on(tmp_path).oldest() is None

"""The second wrap: it opens beside its own object only, names nobody, and is gone when it has served."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from time import monotonic

import pytest

from edge_agent.database import DatabaseUnavailable
from edge_agent.forward import box
from edge_agent.forward.box import Contents
from edge_agent.forward.queue import ForwardQueue
from shared.audit.events import Event, Happening
from shared.sealing import object_file
from shared.sealing.chunked import decrypt
from shared.sealing.hpke import BoxLabel, BoxNotAuthentic, SealedBox, SealingPrivateKey
from shared.sealing.object_file import BodyWindow
from tests.edge_agent.forward.bench import ForwardBench, pixels, route
from tests.fakes.archive import CT, Archive

KEY = SealingPrivateKey(bytes(32))


def test_a_box_gives_back_what_was_put_in() -> None:
    contents = Contents(bytes(range(32)), CT, "1.2.3")

    assert box.open_box(box.seal(contents, b"binding", KEY.public), b"binding", KEY) == contents


@pytest.mark.parametrize("uid", ["", "x" * 65, "1.2 3", "1.2\n3", "ä"])
def test_a_uid_that_cannot_be_sent_is_left_empty_and_loses_nothing_else(uid: str) -> None:
    sealed = box.seal(Contents(bytes(32), CT, uid), b"binding", KEY.public)

    assert box.open_box(sealed, b"binding", KEY) == Contents(bytes(32), CT, "")


def test_the_wrap_for_the_vault_is_no_forwarding_box() -> None:
    wrap = KEY.public.seal(BoxLabel.DATA_KEY, b"binding", bytes(32))

    with pytest.raises(BoxNotAuthentic):
        box.open_box(wrap, b"binding", KEY)


def test_the_box_of_one_object_does_not_open_beside_another(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    first, second = bench.capture(), bench.capture()
    boxes = [bench.queue.box(one.object_id) for one in (first, second)]
    with bench.host.database.transaction() as connection:
        for one, other in zip((first, second), reversed(boxes), strict=True):
            connection.execute("UPDATE forward_box SET box = ? WHERE object = ?", (other, str(one.object_id)))

    bench.work(to)
    assert pacs.stored == []
    assert bench.states() == ["refused"] * 2
    assert all("is not authentic for the thing it lies beside" in why for why in bench.whys())


def test_a_box_that_is_gone_is_said_and_loses_only_its_own_image(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    lost, sent = bench.capture(), bench.capture()
    with bench.host.database.transaction() as connection:
        connection.execute("DELETE FROM forward_box WHERE object = ?", (str(lost.object_id),))

    bench.work(to)
    assert pacs.stored == [sent.arrived]
    assert "its second wrap is gone" in bench.records(Event.ROUTE_FAILED)[0].reason


# ---- a thief with the disk


def opened_by_a_thief(disk: Path) -> Iterator[bytes]:
    """Open what opens with the keys and rows that lie on a host's disk, and nothing else."""
    thief = ForwardBench(disk)
    for name, sealed in thief.rows("SELECT object, box FROM forward_box"):
        with (disk / "sealed" / name).open("rb") as source:
            parts = object_file.parse(source)
            contents = box.open_box(sealed, parts.binding.encode(), thief.key.private())
            pieces = decrypt(BodyWindow(source, parts), contents.data_key, parts.binding.encode())
            yield b"".join(bytes(piece) for piece in pieces)


def test_a_thief_opens_what_the_status_counts_as_openable_and_not_one_image_more(
    bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to)
    delivered = [bench.capture(pixels(9000, number)) for number in range(3)]
    bench.work(to)
    bench.capture(pixels(9000, 3), routes=())
    waiting = bench.capture(pixels(9000, 4))

    stolen = list(opened_by_a_thief(bench.folder))
    assert stolen == [waiting.dataset]
    assert bench.queue.openable() == len(stolen)
    assert all(bench.spool.path(one.object_id).exists() for one in delivered)


def test_a_delivery_that_cannot_be_recorded_deletes_no_box(
    bench: ForwardBench, pacs: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence, record and deletion are one step: a disk that is full in the middle of it leaves all as it was."""
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()

    def full(_: Happening) -> int:
        raise DatabaseUnavailable("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(bench.host.journal, "record", full)
        with pytest.raises(DatabaseUnavailable):
            bench.work(to)
    assert bench.states() == ["sending"]
    assert bench.queue.openable() == 1
    bench.queue.recover("pacs")
    bench.work(to)
    assert pacs.stored == [sent.arrived] * 2
    assert bench.queue.openable() == 0


class KeepsBoxes(ForwardQueue):
    """What must never be built in: a queue that forgets to delete the box."""

    def _let_go(self, connection: Connection, name: str) -> bool:
        return False


def test_negative_control_a_box_that_is_not_deleted_is_still_counted_and_still_opens(
    tmp_path: Path, pacs: Archive
) -> None:
    bench = ForwardBench(tmp_path / "agent", queue=KeepsBoxes)
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()

    bench.work(to)
    assert bench.states() == ["delivered"]
    assert bench.queue.openable() == 1
    assert list(opened_by_a_thief(bench.folder)) == [sent.dataset]


def left_on_disk(folder: Path, boxes: list[bytes]) -> int:
    """Return of how many boxes a piece still stands in a file of the agent's."""
    disk = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    pieces = [SealedBox.parse(one).enc for one in boxes]
    return sum(any(enc[start : start + 16] in disk for start in range(0, len(enc) - 16, 16)) for enc in pieces)


@pytest.mark.parametrize("overwrites", [True, False], ids=["as it is", "negative control"])
def test_deleted_boxes_stand_in_no_file_any_more(bench: ForwardBench, pacs: Archive, overwrites: bool) -> None:
    if not overwrites:
        with bench.host.database._lock:
            bench.host.database._connection.execute("PRAGMA secure_delete=OFF")
    to, away = route(pacs), route(pacs, name="away")
    bench.publish(to, away)
    sent = [bench.capture(b"small", routes=("pacs",) if number % 3 else ("away",)) for number in range(60)]
    boxes = [bench.queue.box(one.object_id) for one in sent]
    gone = [one for number, one in enumerate(boxes) if number % 3]

    bench.work(to)
    bench.queue.tidy()
    assert bench.queue.openable() == 20
    assert left_on_disk(bench.folder, boxes) >= 20
    assert (left_on_disk(bench.folder, gone) == 0) == overwrites


def test_somebody_who_reads_the_database_holds_nobody_up_and_the_log_is_emptied_later(
    bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()
    (sealed,) = boxes = [bench.queue.box(sent.object_id)]
    with closing(sqlite3.connect(bench.folder / "agent.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT box FROM forward_box").fetchall() == [(sealed,)]

        bench.work(to)
        start = monotonic()
        bench.queue.tidy()
        assert monotonic() - start < 5
        assert left_on_disk(bench.folder, boxes) == 1
    bench.queue.tidy()
    assert left_on_disk(bench.folder, boxes) == 0


def test_the_log_is_emptied_for_each_image_and_not_for_the_first_alone(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    left = []
    for _ in range(2):
        boxes = [bench.queue.box(bench.capture().object_id)]
        bench.work(to)
        bench.queue.tidy()
        left.append(left_on_disk(bench.folder, boxes))

    assert left == [0, 0]


def test_no_instance_uid_stands_in_clear_on_the_disk(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    uid = "1.2.276.0.7230010.3.1.4.1787205428.2345"
    bench.capture(uid=uid)
    before = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())

    bench.work(to)
    after = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert pacs.uids() == [uid]
    assert uid.encode() not in before + after

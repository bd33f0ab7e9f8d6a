"""After a stop at any moment: what is whole is captured, what is not is refused, each with one outcome."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.capture.pipeline import Capture, ImageHeader
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.database import DatabaseUnavailable
from edge_agent.forward.queue import Forward
from edge_agent.spool.catalogue import State
from edge_agent.spool.entry import BLOCK_BYTES
from edge_agent.spool.errors import SpoolUnavailable
from shared.audit.events import Action, Event, Happening, Outcome
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from tests.fakes.centre import open_object
from tests.fakes.host import Host

DATASET = bytes(range(256)) * 200
HEADER = ImageHeader("CT1", "1.2.3", "1.2.840.10008.1.2.1")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def unregistered(host: Host, dataset: bytes = DATASET, uid: str = "1.2.3") -> ObjectId:
    """Capture an image up to the moment before it is registered."""
    host.pipeline.registrar = GroupRegistrar(host.captures.entries, host.log)
    return host.capture(dataset, uid=uid)


def started_again(host: Host) -> None:
    host.restart()
    host.recover()


def opened(host: Host) -> list[bytes]:
    found = []
    for spooled in host.spool.everything():
        with host.spool.open(spooled) as file:
            found.append(open_object(file.read(), host.signer.public, host.keys)[0])
    return found


def the_segment(host: Host) -> Path:
    (path,) = (host.folder / "spool" / "segments").iterdir()
    return path


def test_an_entry_that_is_whole_is_captured(host: Host) -> None:
    object_id = unregistered(host)
    started_again(host)

    assert opened(host) == [DATASET]
    (record,) = host.records()
    assert (record.event, record.what[0].name) == (Event.IMAGE_CAPTURED, str(object_id))
    assert record.reason == "recovered after restart"


@pytest.mark.parametrize("size", [40_000, 2 << 20], ids=["in a segment", "a file of its own"])
@pytest.mark.parametrize("is_lost", [True, False], ids=["the database is lost", "a control: it is not"])
def test_where_the_database_is_lost_everything_whole_is_captured_also_what_archives_were_owed(
    host: Host, monkeypatch: pytest.MonkeyPatch, size: int, is_lost: bool
) -> None:
    host.journal.record(Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    vars(host.captures.entries)["_owe"] = lambda _connection, _forward: None
    monkeypatch.setattr(Capture, "_second_wrap", lambda its, _: Forward(its._sealer.binding.object_id, ("pacs",), b""))
    object_id = host.capture(bytes(size))
    host.database.close()
    if is_lost:
        for path in host.folder.glob("agent.sqlite*"):
            path.unlink()
        host.open()
    else:
        host.open()
        with host.database.transaction() as connection:
            connection.execute("DELETE FROM spooled")  # as before it was registered
    host.recover()

    waiting = [spooled.object_id for spooled in host.spool.everything()]
    assert waiting == ([object_id] if is_lost else [])
    if is_lost:
        (record,) = host.records()
        assert "no archive gets it" in record.reason


def test_where_the_database_is_lost_a_recovery_that_broke_off_is_taken_up_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    vars(host.captures.entries)["_owe"] = lambda _connection, _forward: None
    monkeypatch.setattr(Capture, "_second_wrap", lambda its, _: Forward(its._sealer.binding.object_id, ("pacs",), b""))
    objects = [host.capture(bytes([n]) * 40_000, uid=f"1.2.{n}") for n in range(3)]
    host.database.close()
    for path in host.folder.glob("agent.sqlite*"):
        path.unlink()
    host.open()
    enter, entered = host.captures.entries.enter, list[object]()

    def enter_one(images: Any) -> None:
        if entered:
            raise DatabaseUnavailable("the power went")
        entered.extend(images)
        enter(images)

    vars(host.captures.entries)["enter"] = enter_one
    with pytest.raises(DatabaseUnavailable):
        host.recover()
    started_again(host)

    assert [spooled.object_id for spooled in host.spool.everything()] == objects


def torn_at(entry_bytes: int) -> list[int]:
    """Return the places at which a power cut may have ended a write: each block, and so each of the parts."""
    return [block * BLOCK_BYTES for block in range(1, entry_bytes // BLOCK_BYTES)]


ENTRY_BYTES = BLOCK_BYTES + -(-(len(DATASET) + 4200) // BLOCK_BYTES) * BLOCK_BYTES


@pytest.mark.parametrize("at", torn_at(ENTRY_BYTES))
@pytest.mark.parametrize("from_the_end", [False, True], ids=["only its beginning", "only its end"])
def test_an_entry_that_a_power_cut_tore_is_kept_aside_and_the_next_is_found(
    host: Host, at: int, from_the_end: bool
) -> None:
    unregistered(host)
    whole = unregistered(host, b"whole", "1.2.4")
    data = bytearray(the_segment(host).read_bytes())
    if from_the_end:
        data[BLOCK_BYTES:at] = bytes(at - BLOCK_BYTES)
    else:
        data[at:ENTRY_BYTES] = bytes(ENTRY_BYTES - at)
    the_segment(host).write_bytes(data)
    is_torn = bytes(data[:ENTRY_BYTES]) != b"" and not (from_the_end and at == BLOCK_BYTES)
    started_again(host)

    assert [spooled.object_id for spooled in host.spool.everything()][-1] == whole
    assert (Event.OBJECT_DAMAGED in host.events()) == is_torn
    assert host.events().count(Event.IMAGE_CAPTURED) == 2 - is_torn
    aside = [row.why for row in host.spool.rows(State.PUT_ASIDE)]
    assert len(aside) == is_torn
    assert all(why.startswith("torn or damaged when the agent started") for why in aside)


def test_control_a_start_that_does_not_look_into_the_body_takes_a_torn_entry_for_an_image(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    unregistered(host)
    data = bytearray(the_segment(host).read_bytes())
    data[3 * BLOCK_BYTES : 4 * BLOCK_BYTES] = bytes(BLOCK_BYTES)
    the_segment(host).write_bytes(data)

    def credulous(source: object, parts: object, key: object) -> object:
        from shared.sealing.record import verify_record

        return verify_record(parts.record, host.signer.public)  # type: ignore[attr-defined]

    monkeypatch.setattr("edge_agent.capture.recovery.verify_whole", credulous)
    started_again(host)
    assert host.events() == [Event.IMAGE_CAPTURED]


def test_an_image_that_was_sent_again_before_the_start_is_kept_once(host: Host) -> None:
    first = unregistered(host)
    second = unregistered(host, uid="1.2.4")
    # The same bytes twice, as where the modality had no answer and sent again to the agent before this start.
    started_again(host)
    started_again(host)

    assert [spooled.object_id for spooled in host.spool.everything()] == [first, second]
    assert host.events() == [Event.IMAGE_CAPTURED] * 2


def test_the_same_image_twice_in_the_segments_is_registered_once(host: Host) -> None:
    first = unregistered(host)
    host.restart()
    second = unregistered(host)
    assert first != second
    started_again(host)

    assert [spooled.object_id for spooled in host.spool.everything()] == [first]
    assert opened(host) == [DATASET]


def test_what_was_delivered_does_not_come_back(host: Host) -> None:
    host.capture(DATASET)
    (spooled,) = host.spool.everything()
    with host.database.transaction() as connection:
        host.spool.forget(connection, spooled)
    started_again(host)

    assert (host.left_behind(), host.events()) == ([], [Event.IMAGE_CAPTURED])


@pytest.mark.parametrize("size", [100, 2 << 20], ids=["small", "large"])
def test_an_image_on_its_way_is_refused_once(host: Host, size: int) -> None:
    with host.pipeline.begin(HEADER) as capture:
        capture.update(memoryview(bytes(size)))
        begun = host.spool.attempts.left_over()
        for _ in range(3):
            host.restart()
            host.recover()
        assert [record.what[0].name for record in host.records()] == list(map(str, begun))
        assert host.events() == [Event.IMAGE_REFUSED]
        assert host.left_behind() == []
        capture.is_kept = True  # this process goes on, and is not to record anything of its own


@pytest.mark.parametrize("lose", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_an_object_whose_file_is_gone_is_named_and_holds_up_nobody(host: Host, lose: Callable[[Path], None]) -> None:
    lost, kept = host.capture(bytes(2 << 20), uid="1.2.1"), host.capture(b"kept", uid="1.2.2")
    (file,) = host.files()
    lose(file)
    started_again(host)

    if not file.exists():
        (aside,) = host.spool.rows(State.PUT_ASIDE)
        assert aside.spooled.object_id == lost
        assert Event.OBJECT_DAMAGED in host.events()
        assert [spooled.object_id for spooled in host.spool.everything()] == [kept]


def test_a_start_goes_on_without_a_segment_that_is_gone_and_names_what_lay_in_it(host: Host) -> None:
    lost = [host.capture(DATASET, uid="1.2.1"), host.capture(DATASET[:-1], uid="1.2.2")]
    kept = host.capture(bytes(2 << 20), uid="1.2.3")
    the_segment(host).unlink()
    started_again(host)

    assert [row.spooled.object_id for row in host.spool.rows(State.PUT_ASIDE)] == lost
    assert [spooled.object_id for spooled in host.spool.everything()] == [kept]
    assert host.events().count(Event.OBJECT_DAMAGED) == len(lost)


def test_no_segment_takes_the_number_of_one_that_was_lost_and_hides_what_is_written_to_it(host: Host) -> None:
    host.capture(DATASET)
    the_segment(host).unlink()
    started_again(host)
    acknowledged = unregistered(host, b"acknowledged", "1.2.4")
    started_again(host)

    assert [spooled.object_id for spooled in host.spool.everything()] == [acknowledged]


@pytest.mark.parametrize("is_rotten", [True, False], ids=["rotten", "whole"])
@pytest.mark.parametrize("then", ["stays", "leaves", "is cut off while it leaves"])
def test_what_was_put_aside_is_not_found_again_in_the_segment_it_lay_in(host: Host, is_rotten: bool, then: str) -> None:
    aside, kept = host.capture(DATASET, uid="1.2.1"), host.capture(b"kept", uid="1.2.2")
    if is_rotten:
        with the_segment(host).open("r+b") as file:
            file.seek(3 * BLOCK_BYTES)
            file.write(bytes(BLOCK_BYTES))
    host.spool.put_aside(host.spool.everything()[0], "the vault refused it")
    (row,) = host.spool.rows(State.PUT_ASIDE)
    if then != "stays":
        host.captures.receipts.keep(Receipt(aside, bytes(32), host.clock.now()), b"signed")
        with host.database.transaction() as connection:
            host.spool.forget(connection, row.spooled)
        if then == "leaves":
            host.spool.let_go(row.spooled)
    before = host.events()
    started_again(host)
    started_again(host)

    assert host.events() == before
    assert [spooled.object_id for spooled in host.spool.everything()] == [kept]
    assert list(host.spool.rows(State.PUT_ASIDE)) == ([row] if then == "stays" else [])
    assert len(host.files()) == (then == "stays")
    assert len(list(host.spool.rows(*State))) == (2 if then == "stays" else 1)


@pytest.mark.parametrize("at", [BLOCK_BYTES + 100, 3 * BLOCK_BYTES], ids=["in its head", "in its body"])
def test_a_segment_that_ends_too_early_stops_no_start(host: Host, at: int) -> None:
    unregistered(host)
    the_segment(host).write_bytes(the_segment(host).read_bytes()[:at])
    started_again(host)

    (aside,) = host.spool.rows(State.PUT_ASIDE)
    assert aside.why == "torn or damaged when the agent started: Malformed"


def test_a_file_that_is_damaged_before_it_was_registered_is_kept_and_named(host: Host) -> None:
    object_id = host.capture(bytes(2 << 20))
    with host.database.transaction() as connection:
        connection.execute("DELETE FROM spooled")
    (file,) = host.files()
    file.write_bytes(file.read_bytes()[:-100])
    started_again(host)

    (aside,) = host.spool.rows(State.PUT_ASIDE)
    assert (aside.spooled.object_id, host.spool.everything()) == (object_id, ())
    assert file.exists()
    assert host.records()[-1].event is Event.OBJECT_DAMAGED
    assert host.records()[-1].what[0].name == str(object_id)


def test_a_start_after_a_start_looks_through_no_segment_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    unregistered(host)
    started_again(host)
    host.restart()

    def unexpected(name: object) -> None:
        raise AssertionError("a segment was looked through")

    monkeypatch.setattr(host.spool.segments, "entries", unexpected)
    host.recover()
    assert opened(host) == [DATASET]


def test_a_start_that_is_itself_cut_off_leaves_the_rest_to_the_next(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [unregistered(host, uid=f"1.2.{n}") for n in range(3)]
    host.restart()
    enter, entered = host.captures.entries.enter, list[object]()

    def cut_off_after_the_first(images: object) -> None:
        if entered:
            raise DatabaseUnavailable("cut off")
        entered.append(images)
        enter(images)  # type: ignore[arg-type]

    monkeypatch.setattr(host.captures.entries, "enter", cut_off_after_the_first)
    with pytest.raises(DatabaseUnavailable):
        host.recover()
    started_again(host)

    assert waiting(host) == ids
    assert host.events() == [Event.IMAGE_CAPTURED] * 3


# ---- segments that are missing, cut short or rotten


def put_aside(host: Host) -> dict[ObjectId, str]:
    return {row.spooled.object_id: row.why for row in host.spool.rows(State.PUT_ASIDE)}


def waiting(host: Host) -> list[ObjectId]:
    return [spooled.object_id for spooled in host.spool.everything()]


def spoil(host: Host, at: int, data: bytes) -> None:
    with the_segment(host).open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_segment_that_is_missing_is_named_and_the_next_image_is_taken(host: Host) -> None:
    lost, large = host.capture(uid="1.2.1"), host.capture(bytes(2 << 20), uid="1.2.2")
    the_segment(host).unlink()
    started_again(host)

    assert "missing at the start" in put_aside(host)[lost]
    assert host.events().count(Event.OBJECT_DAMAGED) == 1
    new = host.capture(uid="1.2.3")
    started_again(host)
    assert waiting(host) == [large, new]


def test_of_a_segment_that_was_cut_short_what_is_left_is_taken(host: Host) -> None:
    whole, cut, gone = (unregistered(host, uid=f"1.2.{n}") for n in range(3))
    with the_segment(host).open("r+b") as file:
        file.truncate(ENTRY_BYTES * 3 // 2)
    started_again(host)

    assert waiting(host) == [whole]
    assert cut in put_aside(host)
    refused = [record for record in host.records() if record.event is Event.IMAGE_REFUSED]
    assert [record.what[0].name for record in refused] == [str(gone)]


def test_a_rotten_object_that_was_put_aside_is_not_found_again_by_a_start(host: Host) -> None:
    rotten, whole = host.capture(DATASET, uid="1.2.1"), host.capture(DATASET, uid="1.2.2")
    spoil(host, 3 * BLOCK_BYTES, b"rotten")
    host.spool.put_aside(host.spool.everything()[0], "the vault refused it")
    for _ in range(2):
        started_again(host)

    assert put_aside(host) == {rotten: "the vault refused it"}
    assert waiting(host) == [whole]
    assert Event.OBJECT_DAMAGED not in host.events()


def test_a_torn_entry_is_not_called_by_the_name_of_what_lay_there_before(host: Host) -> None:
    before = host.capture(DATASET, uid="1.2.1")
    torn = unregistered(host, uid="1.2.2")
    data = the_segment(host).read_bytes()
    # Of the second entry its head and nothing else arrived where the first one had lain.
    spoil(host, ENTRY_BYTES + BLOCK_BYTES, data[BLOCK_BYTES:ENTRY_BYTES])
    started_again(host)

    assert waiting(host) == [before]
    (aside,) = put_aside(host)
    assert aside not in (before, torn)
    assert host.events().count(Event.OBJECT_DAMAGED) == 1


@pytest.mark.parametrize(
    "rot", [b"\x7f", b"\x80", b"\x00\x00\x00\x01"], ids=["a length", "more than there can be", "a bit"]
)
@pytest.mark.parametrize("at", [24, 32], ids=["its number", "its length"])
def test_a_rotten_head_hides_no_image_behind_it(host: Host, at: int, rot: bytes) -> None:
    first, second = unregistered(host, uid="1.2.1"), unregistered(host, uid="1.2.2")
    spoil(host, at, rot)
    started_again(host)

    if at == 24:
        assert sorted(waiting(host)) == sorted([first, second]), "what its head says of its number loses no image"
    else:
        assert (waiting(host), [*put_aside(host)]) == ([second], [first])
    new = host.capture(uid="1.2.3")
    started_again(host)
    assert waiting(host)[-1] == new


def test_sectors_that_cannot_be_read_hold_up_nobody_and_are_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = unregistered(host, uid="1.2.1"), unregistered(host, uid="1.2.2")
    with monkeypatch.context() as bad:
        bad.setattr(os, "pread", _failing_at(0))
        started_again(host)
        assert waiting(host) == [second]
        assert ("spool.unreadable", {"segment": 1, "blocks": 1}) in host.log.events
        (damaged,) = [record for record in host.records() if record.event is Event.OBJECT_DAMAGED]
        assert "segment 1 has blocks that cannot be read: 1" in damaged.reason
        leave(host)
        assert the_segment(host).exists(), "a segment was let go of that could not be read"
    started_again(host)
    assert waiting(host) == [first]
    outcomes = [(r.event, r.what[0].name) for r in host.records() if r.event is not Event.OBJECT_DAMAGED]
    assert sorted(outcomes) == sorted((Event.IMAGE_CAPTURED, str(object_id)) for object_id in (first, second))


def test_what_was_discarded_stays_away_while_its_segment_cannot_be_read_as_a_whole(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    unregistered(host, uid="1.2.1"), unregistered(host, uid="1.2.2")
    with monkeypatch.context() as bad:
        bad.setattr(os, "pread", _failing_at(0))
        started_again(host)
        (spooled,) = host.spool.everything()
        host.spool.put_aside(spooled, "why")
        (row,) = host.spool.rows(State.PUT_ASIDE)
        host.spool.give_up(row.spooled)
        started_again(host)
        started_again(host)
        assert (waiting(host), put_aside(host)) == ([], {})


def test_a_copy_left_beside_what_was_discarded_since_does_not_stop_a_start(host: Host) -> None:
    object_id = host.capture()
    (row,) = host.spool.rows(State.WAITING)
    with host.database.transaction() as connection:
        host.spool.forget(connection, row.spooled)
    (host.spool.files / row.spooled.name).write_bytes(b"a copy that a kill left")
    started_again(host)

    assert host.spool.find(object_id) is None
    assert not list(host.spool.files.iterdir())


def _failing_at(offset: int) -> Callable[[int, int, int], bytes]:
    real = os.pread

    def pread(descriptor: int, size: int, at: int) -> bytes:
        if at == offset:
            raise OSError(errno.EIO, "bad sector")
        return real(descriptor, size, at)

    return pread


def leave(host: Host) -> None:
    """Have everything that waits leave, as when the vault has answered."""
    for spooled in host.spool.everything():
        with host.database.transaction() as connection:
            host.spool.forget(connection, spooled)
        host.spool.let_go(spooled)


def test_a_stop_between_the_end_of_a_segment_and_that_of_its_rows_hides_no_later_image(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.capture(uid="1.2.1")
    host.restart()
    host.recover()
    with monkeypatch.context() as stopped:
        stopped.setattr(host.spool.catalogue, "retired", lambda _segments: None)
        leave(host)
    assert not list((host.folder / "spool" / "segments").iterdir())
    started_again(host)
    later = unregistered(host, uid="1.2.2")
    started_again(host)

    assert waiting(host) == [later]
    assert host.database.read("SELECT count(*) FROM spooled WHERE state = 'gone'") == [(0,)]


# ---- segments that are used again


@pytest.fixture
def tight(tmp_path: Path) -> Host:
    """A host whose segments hold one image of the usual size, and which keeps one for the next use."""
    host = Host(tmp_path / "tight", segment_bytes=ENTRY_BYTES + BLOCK_BYTES)
    host.put_in_force()
    host.spool.segments.spares = 1
    return host


def captured_behind_one_that_is_being_written(host: Host) -> ObjectId:
    """Use a segment again, and have the agent stopped with one entry on its way and another acknowledged behind it."""
    for n in range(2):
        host.capture(DATASET, uid=f"1.2.{n}")
    leave(host)
    never, begun = threading.Event(), threading.Event()

    def on_its_way(epoch: bytes) -> memoryview:
        begun.set()
        never.wait()
        raise SpoolUnavailable("it was stopped")

    def write() -> None:
        with contextlib.suppress(SpoolUnavailable):
            host.spool.segments.write(on_its_way, 2 * BLOCK_BYTES)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(60)
    behind = unregistered(host, b"small", "1.2.9")
    started_again(host)
    never.set()
    thread.join(60)
    return behind


def test_in_a_segment_that_is_used_again_only_what_is_new_is_found(tight: Host) -> None:
    behind = captured_behind_one_that_is_being_written(tight)

    assert (waiting(tight), put_aside(tight)) == ([behind], {})
    assert Event.OBJECT_DAMAGED not in tight.events()


def test_control_without_an_epoch_of_its_own_what_has_left_is_called_damaged(tight: Host) -> None:
    tight.spool.segments._random = bytes
    behind = captured_behind_one_that_is_being_written(tight)

    assert waiting(tight) == [behind]
    assert tight.events().count(Event.OBJECT_DAMAGED) == 1

"""After a stop at any moment: what is whole is captured, what is not is refused, each with one outcome."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.capture.pipeline import ImageHeader
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.spool.catalogue import State
from edge_agent.spool.entry import BLOCK_BYTES
from shared.audit.record import Event
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

"""Segments: durable at once, never mistaken for what lay there before, given back when nothing waits in them."""

import errno
import gc
import mmap
from pathlib import Path

import pytest

from edge_agent.spool import segment
from edge_agent.spool.entry import BLOCK_BYTES, EntryHead, digest_of, entry_bytes
from edge_agent.spool.errors import SpoolUnavailable
from edge_agent.spool.segment import Window
from edge_agent.spool.segments import Place, Segments

SIZE = 8 * BLOCK_BYTES


def segments_in(folder: Path, *, spares: int = 0, room: bool = True) -> Segments:
    return Segments(folder, segment_bytes=SIZE, spares=spares, has_room=lambda _: room)


def put(segments: Segments, number: int, content: bytes = b"sealed") -> Place:
    """Write one entry and enter it in the catalogue, as far as segments know."""
    buffer = memoryview(mmap.mmap(-1, entry_bytes(len(content))))
    buffer[BLOCK_BYTES : BLOCK_BYTES + len(content)] = content

    def headed(epoch: bytes) -> memoryview:
        head = EntryHead(epoch, number, len(content), digest_of(b"{}", content), b"{}").encode()
        buffer[: len(head)] = head
        return buffer

    place = segments.write(headed, len(buffer))
    segments.registered(place.segment)
    return place


def read(segments: Segments, place: Place, size: int) -> bytes:
    with Window(segments.path(place.segment), place.offset, size) as window:
        return window.read()


def found(segments: Segments) -> list[int]:
    return [head.number for name in segments.names() for _, head in segments.entries(name) if head is not None]


def complete(segments: Segments) -> None:
    segments.noted(segments.newly_complete())


def test_what_was_written_is_found_by_another_process(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    places = [put(segments, number, bytes([number]) * 5000) for number in (1, 2, 3)]

    again = segments_in(tmp_path)
    assert found(again) == [1, 2, 3]
    assert [read(again, place, 5000) for place in places] == [bytes([number]) * 5000 for number in (1, 2, 3)]


def test_a_segment_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    places = [put(segments, number) for number in range(1, 6)]

    assert [place.segment for place in places] == [1, 1, 1, 1, 2]
    assert segments.newly_complete() == [1]


def test_nothing_is_written_to_a_segment_of_before_the_restart(tmp_path: Path) -> None:
    put(segments_in(tmp_path), 1)

    assert put(segments_in(tmp_path), 2).segment == 2


def test_a_segment_stays_until_its_last_object_has_left(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    places = [put(segments, number) for number in range(1, 6)]
    complete(segments)
    for place in places[:3]:
        segments.gone(place.segment)
    assert segments.retire() == []
    segments.gone(places[3].segment)

    assert segments.retire() == [1]
    assert found(segments) == [5]
    assert read(segments, places[4], 6) == b"sealed"


def test_a_segment_that_a_start_would_have_to_look_through_is_not_given_back(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    places = [put(segments, number) for number in range(1, 6)]
    for place in places[:4]:
        segments.gone(place.segment)

    assert segments.retire() == []
    complete(segments)
    assert segments.retire() == [1]


def used_again(segments: Segments) -> None:
    """Fill a segment, have everything leave, and write one entry over what lay there."""
    for number in range(1, 5):
        put(segments, number)
    put(segments, 5)
    complete(segments)
    for _ in range(4):
        segments.gone(1)
    assert segments.retire() == [1]
    for number in range(6, 10):
        put(segments, number)


def test_what_lay_in_a_segment_before_is_not_found_in_it_again(tmp_path: Path) -> None:
    segments = segments_in(tmp_path, spares=1)
    used_again(segments)

    assert len(list(tmp_path.iterdir())) == 2, "the retired segment was not used again"
    assert found(segments_in(tmp_path)) == [5, 6, 7, 8, 9]


def test_control_without_an_epoch_of_its_own_a_segment_gives_back_the_dead(tmp_path: Path) -> None:
    """The random epoch is what tells them apart: where it is the same each time, objects that have left come back."""
    segments = Segments(tmp_path, segment_bytes=SIZE, spares=1, random_bytes=bytes)
    used_again(segments)

    assert found(segments_in(tmp_path)) == [5, 6, 7, 8, 9, 2, 3, 4]


def test_spares_are_written_in_advance_kept_over_restarts_and_given_up(tmp_path: Path) -> None:
    segments = segments_in(tmp_path, spares=2)
    while segments.needs_spare():
        segments.prepare()
    again = segments_in(tmp_path, spares=2)
    assert not again.needs_spare()
    put(again, 1)
    assert again.needs_spare()
    again.drop_spares()

    assert [path.name[:20] for path in tmp_path.iterdir()] == ["00000000000000000001"]


def test_a_spare_that_was_not_whole_when_the_agent_stopped_is_thrown_away(tmp_path: Path) -> None:
    segments_in(tmp_path)
    (tmp_path / "draft-01").write_bytes(b"half")
    segments_in(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_without_room_for_a_segment_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="no room"):
        put(segments_in(tmp_path, room=False), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_whose_write_failed_is_left_alone_and_the_next_object_finds_another(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    first = put(segments, 1)

    def broken(epoch: bytes) -> memoryview:
        raise OSError(5, "broken")

    with pytest.raises(OSError, match="broken"):
        segments.write(broken, BLOCK_BYTES)
    second = put(segments, 2)

    assert (first.segment, second.segment) == (1, 2)
    assert found(segments_in(tmp_path)) == [1, 2]


def test_a_window_is_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before|inside|after")
    with Window(file, 7, 6) as window:
        assert window.read() == b"inside"
        assert window.read() == b""
        assert window.seek(-4, 2) == 2
        assert window.read(2) == b"si"
        assert window.seek(100) == 100
        assert window.read() == b""


def test_a_window_on_a_file_that_ends_too_early_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))
    with Window(tmp_path / "file", 4, 10) as window:
        assert window.read(6) == bytes(6)
        with pytest.raises(OSError, match="ends before"):
            window.read(1)


def test_a_file_of_another_name_is_left_alone(tmp_path: Path) -> None:
    copy = tmp_path / "00000000000000000001.seg.copy"
    copy.write_bytes(b"somebody's copy")
    segments_in(tmp_path)

    assert copy.exists()


def test_a_number_is_given_once_whatever_happens_to_its_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = segments_in(tmp_path)

    def broken(_path: Path) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as failing:
        failing.setattr(segment, "_open_direct", broken)
        with pytest.raises(SpoolUnavailable):
            put(segments, 1)
    assert not list(tmp_path.iterdir())

    assert put(segments, 2).segment == 2


@pytest.mark.parametrize("epoch", ["00" * 16, "ff" * 16])
def test_of_two_segments_of_one_number_one_is_chosen_only_where_the_other_was_never_written_to(
    tmp_path: Path, epoch: str
) -> None:
    place = put(segments_in(tmp_path), 1)
    other = tmp_path / f"{place.segment:020}-{epoch}.seg"
    other.write_bytes(bytes(SIZE))

    again = segments_in(tmp_path)
    assert found(again) == [1]
    assert not other.exists()
    (path,) = tmp_path.iterdir()
    other.write_bytes(path.read_bytes().replace(again.names()[0].epoch, bytes.fromhex(epoch)))
    with pytest.raises(SpoolUnavailable, match="two segments 1"):
        segments_in(tmp_path)


def test_a_spare_that_is_not_there_any_more_costs_no_segment(tmp_path: Path) -> None:
    segments = segments_in(tmp_path, spares=2)
    segments.prepare()
    segments.prepare()
    for path in tmp_path.iterdir():
        path.unlink()

    assert put(segments, 1).segment == 1
    assert segments.needs_spare()


def test_a_spare_that_cannot_be_given_up_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = segments_in(tmp_path, spares=2)
    segments.prepare()
    segments.prepare()

    def broken(_path: Path, **_: bool) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as failing:
        failing.setattr(Path, "unlink", broken)
        with pytest.raises(SpoolUnavailable):
            segments.drop_spares()
    segments.drop_spares()
    assert not list(tmp_path.iterdir())


def test_what_was_noted_by_two_and_is_gone_already_harms_nobody(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    first = put(segments, 1, bytes(SIZE - 2 * BLOCK_BYTES))
    put(segments, 2)
    complete = segments.newly_complete()
    segments.noted(complete)
    segments.gone(first.segment)

    assert segments.retire() == complete == [first.segment]
    segments.noted(complete)


def test_a_segment_that_nobody_has_any_more_keeps_no_descriptor(tmp_path: Path) -> None:
    segments = segments_in(tmp_path)
    put(segments, 1)
    opened = {path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    (path,) = tmp_path.iterdir()
    assert path in opened

    del segments
    gc.collect()
    assert path not in {other.readlink() for other in Path("/proc/self/fd").iterdir() if other.is_symlink()}

"""Frames: whole again however they are cut, and held only as far as they came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.frames import FrameReader, frame
from shared.errors import Malformed

MOST = 300


def fed(reader: FrameReader, stream: bytes, cuts: list[int]) -> list[bytes]:
    """Feed a stream as a socket would, in pieces of at most these sizes and of what is wanted; return the payloads."""
    found, at, turn = [], 0, 0
    while at < len(stream):
        piece = stream[at : at + min(reader.wanted, cuts[turn % len(cuts)])]
        at, turn = at + len(piece), turn + 1
        payload = reader.feed(piece)
        if payload is not None:
            found.append(payload)
    return found


@given(st.lists(st.binary(min_size=1, max_size=MOST), max_size=5), st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader(MOST)

    assert fed(reader, b"".join(frame(payload, MOST) for payload in payloads), cuts) == payloads
    assert not reader.is_within


@given(st.binary(min_size=1, max_size=MOST), st.integers(1, MOST + 3))
def test_a_frame_that_is_cut_off_is_no_frame(payload: bytes, missing: int) -> None:
    reader, stream = FrameReader(MOST), frame(payload, MOST)
    kept = stream[: max(1, len(stream) - missing)]

    assert fed(reader, kept, [MOST]) == []
    assert reader.is_within


@pytest.mark.parametrize("size", [0, MOST + 1, 0xFFFFFFFF])
def test_a_length_beyond_the_limit_is_refused_before_anything_of_it_is_read(size: int) -> None:
    with pytest.raises(Malformed, match=f"a length of {size} bytes, expected 1 to {MOST}"):
        FrameReader(MOST).feed(size.to_bytes(4))


@pytest.mark.parametrize("payload", [b"", bytes(MOST + 1)])
def test_no_frame_is_made_that_its_reader_would_refuse(payload: bytes) -> None:
    with pytest.raises(Malformed):
        frame(payload, MOST)


def test_no_more_is_wanted_than_belongs_to_the_frame() -> None:
    reader = FrameReader(MOST)
    assert reader.wanted == 4

    reader.feed(frame(b"12345", MOST)[:4])
    assert reader.wanted == 5
    reader.feed(b"123")
    assert reader.wanted == 2

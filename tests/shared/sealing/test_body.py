"""The body: any flipped bit, cut or reordering is refused, and a range is a slice."""

import io
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure
from shared.sealing.chunked import (
    CHUNK_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    SALT_BYTES,
    SEALED_CHUNK_BYTES,
    ChunkNotAuthentic,
    CommitmentMismatch,
    Truncated,
    decrypt,
    decrypt_range,
)
from tests.shared.made import flipped
from tests.vectors.salted import salted_body

KEY, SALT, CONTEXT = bytes(range(KEY_BYTES)), bytes(SALT_BYTES), b"a binding"
MESSAGE = b"".join(n.to_bytes(4) for n in range((3 * CHUNK_BYTES + 400) // 4))


def seal(pieces: Sequence[bytes]) -> bytes:
    return salted_body(KEY, SALT, CONTEXT, *pieces)


def opened(body: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    return b"".join(bytes(piece) for piece in decrypt(io.BytesIO(body), key, context))


BODY = seal([MESSAGE])
CHUNKS = [BODY[at : at + SEALED_CHUNK_BYTES] for at in range(HEADER_BYTES, len(BODY), SEALED_CHUNK_BYTES)]
ENDS = [HEADER_BYTES + n * SEALED_CHUNK_BYTES for n in range(len(CHUNKS))]
near_an_end = st.builds(lambda end, off: max(0, end + off), st.sampled_from(ENDS), st.integers(-20, 20))


class Drip:
    """A source that gives one to a few bytes at a time, as a socket may."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._file, self._sizes, self._reads = io.BytesIO(data), sizes, 0

    def readinto(self, buffer: memoryview, /) -> int:
        size = self._sizes[self._reads % len(self._sizes)]
        self._reads += 1
        return self._file.readinto(buffer[:size])


@given(st.lists(st.integers(0, 2 * CHUNK_BYTES + 7), max_size=6))
@example([CHUNK_BYTES])
@example([CHUNK_BYTES, CHUNK_BYTES])
@example([CHUNK_BYTES - 1, 1])
@example([1, CHUNK_BYTES - 1, 0])
def test_pieces_of_any_size_give_the_body_of_the_whole(sizes: list[int]) -> None:
    pieces = [bytes([n]) * size for n, size in enumerate(sizes)]

    body = seal(pieces)

    assert body == seal([b"".join(pieces)])
    assert opened(body) == b"".join(pieces)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_a_source_that_gives_a_little_at_a_time_opens_the_same(sizes: list[int]) -> None:
    assert b"".join(bytes(piece) for piece in decrypt(Drip(BODY, sizes), KEY, CONTEXT)) == MESSAGE


@given(st.integers(0, 8 * len(BODY) - 1) | near_an_end.map(lambda at: 8 * min(at, len(BODY) - 1)))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    expected = CommitmentMismatch if bit < 8 * HEADER_BYTES else ChunkNotAuthentic

    with pytest.raises(expected):
        opened(flipped(BODY, bit))


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_any_flipped_bit_of_the_header_is_refused_before_any_chunk_is_tried(at: int) -> None:
    given_out = []

    with pytest.raises(CommitmentMismatch):
        given_out += list(decrypt(io.BytesIO(flipped(BODY, 8 * at)), KEY, CONTEXT))
    assert not given_out


@pytest.mark.parametrize("end", ENDS)
def test_a_cut_exactly_at_a_chunks_end_is_refused(end: int) -> None:
    with pytest.raises(Truncated):
        opened(BODY[:end])


@given(st.integers(0, len(BODY) - 1) | near_an_end.filter(lambda at: at < len(BODY)))
def test_any_cut_is_refused(size: int) -> None:
    with pytest.raises((Truncated, ChunkNotAuthentic)):
        opened(BODY[:size])


@given(st.integers(1, CHUNK_BYTES * 2))
def test_anything_after_the_last_chunk_is_refused(more: int) -> None:
    with pytest.raises(ChunkNotAuthentic):
        opened(BODY + bytes(more))


@pytest.mark.parametrize("order", [p for p in permutations(range(len(CHUNKS))) if p != tuple(range(len(CHUNKS)))])
def test_chunks_in_any_other_order_are_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(IntegrityFailure):
        opened(BODY[:HEADER_BYTES] + b"".join(CHUNKS[n] for n in order))


@given(st.lists(st.integers(0, len(CHUNKS) - 1), max_size=6))
def test_chunks_left_out_or_repeated_are_refused(chosen: list[int]) -> None:
    body = BODY[:HEADER_BYTES] + b"".join(CHUNKS[n] for n in chosen)
    if chosen == list(range(len(CHUNKS))):
        return

    with pytest.raises(IntegrityFailure):
        opened(body)


def test_chunks_of_another_body_under_the_same_key_are_refused() -> None:
    other = salted_body(KEY, b"\x01" * SALT_BYTES, CONTEXT, MESSAGE)

    with pytest.raises(ChunkNotAuthentic):
        opened(BODY[: ENDS[1]] + other[ENDS[1] :])


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.binary(max_size=200))
def test_another_key_or_binding_is_refused_before_any_chunk_is_tried(key: bytes, context: bytes) -> None:
    if (key, context) == (KEY, CONTEXT):
        return

    with pytest.raises(CommitmentMismatch):
        next(decrypt(io.BytesIO(BODY), key, context))


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_a_mistake_of_the_caller(size: int) -> None:
    with pytest.raises(ValueError, match="key of 32 bytes"):
        next(decrypt(io.BytesIO(BODY), bytes(size), CONTEXT))
    with pytest.raises(ValueError, match="salt of 24"):
        salted_body(KEY, bytes(size), CONTEXT)


# ---- ranges

positions = st.integers(0, len(MESSAGE) + CHUNK_BYTES) | st.builds(
    lambda n, off: max(0, n * CHUNK_BYTES + off), st.integers(0, 4), st.integers(-2, 2)
)


def range_of(body: bytes, start: int, length: int, body_bytes: int = len(BODY)) -> bytes:
    def read_at(offset: int, size: int) -> bytes:
        assert offset >= 0
        assert size >= 0
        return body[offset : offset + size]

    return decrypt_range(read_at, body_bytes, KEY, CONTEXT, start, length)


@given(positions, positions)
@example(len(MESSAGE), 1)
@example(CHUNK_BYTES, 0)
@example(0, 1 << 60)
@example(1 << 60, 1 << 60)
def test_a_range_is_a_slice(start: int, length: int) -> None:
    assert range_of(BODY, start, length) == MESSAGE[start : start + length]


@given(st.integers(0, 3 * CHUNK_BYTES), st.integers(0, 3 * CHUNK_BYTES), st.integers(0, 3 * CHUNK_BYTES))
def test_a_range_of_a_body_of_any_size_is_a_slice(size: int, start: int, length: int) -> None:
    message = MESSAGE[:size]
    body = seal([message])

    assert range_of(body, start, length, len(body)) == message[start : start + length]


@given(st.integers(8 * HEADER_BYTES, 8 * len(BODY) - 1), positions, st.integers(0, CHUNK_BYTES))
def test_a_range_that_touches_an_altered_chunk_is_refused_and_another_is_right(
    bit: int, start: int, length: int
) -> None:
    body = flipped(BODY, bit)
    altered = (bit // 8 - HEADER_BYTES) // SEALED_CHUNK_BYTES
    last = len(CHUNKS) - 1
    touched = range(min(start // CHUNK_BYTES, last), min((start + max(length, 1) - 1) // CHUNK_BYTES, last) + 1)

    if altered in touched:
        with pytest.raises(ChunkNotAuthentic):
            range_of(body, start, length)
    else:
        assert range_of(body, start, length) == MESSAGE[start : start + length]


@given(positions, st.integers(0, 100))
@example(1 << 40, 1)
def test_a_range_reads_no_more_than_the_chunks_it_touches(start: int, length: int) -> None:
    asked: list[tuple[int, int]] = []

    def read_at(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return BODY[offset : offset + size]

    decrypt_range(read_at, len(BODY), KEY, CONTEXT, start, length)

    assert asked[0] == (0, HEADER_BYTES)
    assert len(asked) <= 3
    assert all(offset >= 0 and offset + size <= len(BODY) for offset, size in asked)


@pytest.mark.parametrize("body_bytes", range(HEADER_BYTES))
def test_a_record_that_states_a_body_shorter_than_its_header_is_refused(body_bytes: int) -> None:
    with pytest.raises(Truncated):
        range_of(BODY, 0, 1, body_bytes)


other_lengths = st.integers(0, len(BODY) - 1) | st.integers(ENDS[-1] + SEALED_CHUNK_BYTES, 10 * len(BODY))


@given(other_lengths | st.sampled_from(ENDS))
def test_a_record_that_states_another_length_cannot_prove_the_end(body_bytes: int) -> None:
    with pytest.raises(IntegrityFailure):
        range_of(BODY, 1 << 40, 1, body_bytes)


@pytest.mark.parametrize("start, length", [(-1, 1), (0, -1)])
def test_a_range_before_the_beginning_is_a_mistake_of_the_caller(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="is not in any object"):
        range_of(BODY, start, length)

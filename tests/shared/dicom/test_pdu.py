"""The PDU reader: the same events however a stream is cut up, and nothing but ProtocolError from any other bytes."""

import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.dicom.pdu import (
    AbortReason,
    Control,
    Fragment,
    PduReader,
    PduType,
    ProtocolError,
    command_pdus,
    provider_abort,
    reject,
    release_reply,
    user_abort,
)
from tests.edge_agent.capture.wire import associate_request, p_data, pdu, pdv

MOST = 1000
pdvs = st.builds(pdv, st.binary(max_size=60), st.integers(0, 3), st.integers(1, 255))
pdus = st.one_of(
    st.lists(pdvs, min_size=1, max_size=4).map(lambda parts: p_data(*parts)),
    st.just(release_reply()),
    st.just(pdu(5, bytes(4))),
    st.just(user_abort()),
    st.just(associate_request()),
)


def events(stream: bytes, cuts: "list[int]") -> list[tuple[object, ...]]:
    """Return what is read from `stream` cut into pieces, fragments of one PDV put together again."""
    reader, read = PduReader(MOST), list[tuple[object, ...]]()
    pending = b""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        for event in reader.feed(memoryview(stream)[start:end]):
            if isinstance(event, Control):
                read.append((event.type, event.data))
            else:
                pending += bytes(event.data)
                read.append((event.context_id, event.is_command, event.last, pending))
                if not event.last:
                    # Not the end of a PDV by itself; compared as one run of bytes.
                    read.pop()
                else:
                    pending = b""
    return [*read, ("rest", pending, reader.between_pdus)]


@settings(max_examples=300, deadline=None)
@given(st.lists(pdus, max_size=6).map(b"".join), st.lists(st.integers(0, 1 << 16), max_size=40))
def test_however_a_stream_is_cut_it_says_the_same(stream: bytes, cuts: "list[int]") -> None:
    assert events(stream, cuts) == events(stream, [])


def test_byte_by_byte_says_the_same() -> None:
    stream = associate_request() + p_data(pdv(b"abc", 1), pdv(b"", 3), pdv(b"defg", 2)) + pdu(5, bytes(4))

    assert events(stream, list(range(len(stream)))) == events(stream, [])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_no_bytes_bring_anything_but_a_protocol_error(pieces: "list[bytes]") -> None:
    reader = PduReader(MOST)
    with suppress(ProtocolError):
        for piece in pieces:
            for _ in reader.feed(memoryview(piece)):
                pass


@settings(max_examples=300, deadline=None)
@given(st.lists(pdus, min_size=1, max_size=4).map(b"".join), st.data())
def test_no_damage_to_a_stream_brings_anything_but_a_protocol_error(stream: bytes, data: st.DataObject) -> None:
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        events(bytes(damaged), [])


@pytest.mark.parametrize(
    "stream, reason",
    [
        (pdu(0, b""), AbortReason.UNRECOGNISED_PDU),
        (pdu(8, b""), AbortReason.UNRECOGNISED_PDU),
        (b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNISED_PDU),
        (struct.pack(">BxI", 4, MOST + 7), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 4, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 1, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 1, 0), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 5, 5), AbortReason.INVALID_PARAMETER),
        (pdu(4, b""), AbortReason.INVALID_PARAMETER),
        (pdu(4, struct.pack(">IBB", 1, 1, 0)), AbortReason.INVALID_PARAMETER),
        (pdu(4, struct.pack(">IBB", 0, 1, 0)), AbortReason.INVALID_PARAMETER),
        (pdu(4, struct.pack(">IBB", 0xFFFFFFFF, 1, 0)), AbortReason.INVALID_PARAMETER),
        (pdu(4, pdv(b"ab", 0) + b"\x00"), AbortReason.INVALID_PARAMETER),
        (pdu(4, pdv(b"ab", 4)), AbortReason.INVALID_PARAMETER),
    ],
)
def test_refuses_what_ps3_8_does_not_allow(stream: bytes, reason: AbortReason) -> None:
    with pytest.raises(ProtocolError) as caught:
        list(PduReader(MOST).feed(memoryview(stream)))
    assert caught.value.reason == reason


def test_data_passes_without_being_gathered() -> None:
    buffer = memoryview(p_data(pdv(bytes(500), 2)))
    reader = PduReader(MOST)

    (first,) = reader.feed(buffer[:300])
    (second,) = reader.feed(buffer[300:])
    assert isinstance(first, Fragment)
    assert isinstance(second, Fragment)
    assert (len(first.data), first.last, len(second.data), second.last) == (288, False, 212, True)
    assert first.data.obj is buffer.obj


@pytest.mark.parametrize("most", [0, 1, 70, 100, 16_384])
def test_a_command_fits_what_the_peer_takes(most: int) -> None:
    command = bytes(range(256))
    reader = PduReader(1 << 16)

    read = list(reader.feed(memoryview(command_pdus(3, command, most))))
    assert b"".join(bytes(event.data) for event in read) == command
    assert [event.last for event in read if isinstance(event, Fragment)] == [False] * (len(read) - 1) + [True]


def test_what_is_sent_reads_as_what_it_is() -> None:
    stream = reject(2, 3, 2) + release_reply() + provider_abort(AbortReason.UNEXPECTED_PDU)

    types = [event.type for event in PduReader(MOST).feed(memoryview(stream)) if isinstance(event, Control)]
    assert types == [PduType.ASSOCIATE_RJ, PduType.RELEASE_RP, PduType.ABORT]

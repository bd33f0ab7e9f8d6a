"""The guard's end of the link: a stream as a hostile agent would send it, and what a guard could answer."""

from edge_agent.link import protocol
from edge_agent.link.frames import FrameReader, frame
from edge_agent.link.protocol import (
    Confirm,
    Error,
    Explain,
    Given,
    Hello,
    Offer,
    Records,
    Report,
    Reported,
    Welcome,
    encode_answer,
    encode_request,
    parse_answer,
    parse_request,
)
from tests.fakes.guard import REPORT, MemoryDesk, chain
from tests.fuzz.target import Target


def _stream(data: bytes) -> None:
    """The first byte is the size of the pieces; what is read of the rest does not depend on it."""
    step, stream = (data[0] + 1 if data else 1), data[1:]
    reader, at = FrameReader(protocol.MAX_REQUEST_BYTES), 0
    while at < len(stream):
        piece = stream[at : at + min(reader.wanted, step)]
        assert piece
        at += len(piece)
        payload = reader.feed(piece)
        if payload is not None:
            assert encode_request(parse_request(payload)) == payload, "two encodings of one request are read"


def _answer(payload: bytes) -> None:
    assert encode_answer(parse_answer(payload)) == payload, "two encodings of one answer are read"


_REQUESTS = (Hello(), Offer(b"head", b"layer"), Report(), Records(3, 128), Confirm(9), Explain("1-1.2"))
_ANSWERS = (
    Welcome(REPORT.software, 9, 3), Reported(REPORT), Given(tuple(chain(2))), MemoryDesk().explain("1-2"), Error("no"),
)  # fmt: skip
TARGETS = (
    Target(
        "guard-link",
        _stream,
        (
            *(b"\x07" + frame(encode_request(request), protocol.MAX_REQUEST_BYTES) for request in _REQUESTS),
            b"\xff" + b"".join(frame(encode_request(request), protocol.MAX_REQUEST_BYTES) for request in _REQUESTS),
        ),
    ),
    Target("guard-answer", _answer, tuple(encode_answer(answer) for answer in _ANSWERS)),
)

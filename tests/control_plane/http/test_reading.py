"""What a door reads of a connection: a body to its end, and nothing of what comes behind it; and how it answers."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from control_plane.http.serving import Door, WsgiApp
from control_plane.http.streams import MAX_HEADER_BYTES, Arriving, make_file
from tests.fakes.dicom_pki import self_signed

BODY, NEXT = bytes(range(256)) * 1000, b"GET /next HTTP/1.1\r\n"
LINES = [b"PUT / HTTP/1.1\r\n", b"X" * 20_000 + b"\r\n"]


@contextmanager
def reading(sent: bytes) -> Iterator[Any]:
    """Yield what a door reads with, of a client that sends `sent` and hangs up."""
    near, far = socket.socketpair()

    def send() -> None:
        with far:
            far.sendall(sent)

    sender = Thread(target=send)
    sender.start()
    with near:
        yield make_file(near, "rb")
        sender.join()


@pytest.mark.parametrize("size", [1, 8192, 65_535, 65_536, len(BODY)])
@pytest.mark.parametrize("line", LINES, ids=["short", "longer than its buffer"])
def test_a_body_is_read_to_its_end_and_no_further(line: bytes, size: int) -> None:
    with reading(line + BODY[:size] + NEXT) as connection:
        assert connection.readline() == line
        assert connection.read(size) == BODY[:size]
        assert connection.readline() == NEXT
        assert connection.bytes_read >= size


@pytest.mark.parametrize("size", [100, len(BODY)])
def test_a_body_that_breaks_off_is_as_long_as_what_came(size: int) -> None:
    with reading(LINES[0] + BODY[: size - 1]) as connection:
        connection.readline()

        assert connection.read(size) == BODY[: size - 1]
        assert connection.read(size) == b""


def says_how_long_it_was(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    answer = str(len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", 0))))).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


@contextmanager
def connected(folder: Path, app: WsgiApp) -> Iterator[ssl.SSLSocket]:
    """Yield a client's connection to a door of `app`."""
    party = self_signed(folder, "door", ends=timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(party.chain)
    door = Door("reading", app, "127.0.0.1", 0, context, max_body_bytes=1 << 20, threads=1)
    door.open()
    client = ssl.create_default_context(cafile=party.certificate)
    try:
        with client.wrap_socket(socket.create_connection(("127.0.0.1", door.port)), server_hostname="localhost") as one:
            yield one
    finally:
        door.close()


@pytest.mark.parametrize("size", [100, 70_000, len(BODY)])
def test_a_request_in_the_same_tls_record_as_the_end_of_a_body_is_answered(tmp_path: Path, size: int) -> None:
    sent = f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size)
    with connected(tmp_path, says_how_long_it_was) as one:
        one.sendall(sent + b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: one.recv(4096), b""))

    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b"0"), "of the second, which has no body"


def in_pieces(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    pieces = [piece.encode() for piece in environ["QUERY_STRING"].split("+") if piece]
    sized = "0" in environ["PATH_INFO"]
    start_response("200 OK", [("Content-Length", str(sum(map(len, pieces))))] if sized else [])
    yield from pieces


@pytest.mark.parametrize(
    "asked, ends",
    [("/0?whole", b"\r\n\r\nwhole"), ("/?piece", b"\r\n\r\n5\r\npiece\r\n"), ("/0?", b"\r\n\r\n")],
    ids=["of one piece", "of pieces", "empty"],
)
def test_an_answer_comes_in_one_tls_record_with_the_beginning_of_its_body(
    tmp_path: Path, asked: str, ends: bytes
) -> None:
    with connected(tmp_path, in_pieces) as one:
        one.sendall(f"GET {asked} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        record = one.recv(1 << 14)

    assert record.startswith(b"HTTP/1.1 200 OK")
    assert record.endswith(ends)


def test_an_answer_of_several_pieces_comes_whole_and_the_next_one_after_it(tmp_path: Path) -> None:
    asked = b"GET /0?one+two+three HTTP/1.1\r\nHost: h\r\n\r\nGET /0? HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET /0?last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with connected(tmp_path, in_pieces) as one:
        one.sendall(asked + last)
        answers = b"".join(iter(lambda: one.recv(4096), b""))

    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"onetwothree", b"", b"last"]


HEAD = b"PUT / HTTP/1.1\r\nHost: h\r\n"
REQUESTS = [
    (b"", False),
    (b"GET / HTTP/1.1\r\n", False),
    (HEAD + b"\r", False),
    (HEAD + b"\r\n", True),
    (HEAD + b"content-LENGTH: 3\r\n\r\n12", False),
    (HEAD + b"content-LENGTH: 3\r\n\r\n123", True),
    (HEAD + b"Content-Length: 3\r\nContent-Length: 0\r\n\r\n12", False),
    (HEAD + b"Content-Length: 100\r\n\r\n", False),
    (HEAD + b"Content-Length: 101\r\n\r\n", True),
    (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", True),
    (HEAD + b"X: content-length: 3\r\n\r\n", True),
    (b"GET / HTTP/1.1\n", True),
    (b"x" * (MAX_HEADER_BYTES + 256), False),
    (b"x" * (MAX_HEADER_BYTES + 257), True),
]


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
@pytest.mark.parametrize("sent, arrived", REQUESTS)
def test_a_request_has_arrived_when_nothing_of_it_is_to_be_waited_for(sent: bytes, arrived: bool, at_once: int) -> None:
    arriving = Arriving(100)
    for start in range(0, len(sent), at_once):
        assert not arriving.has_arrived
        arriving.came(sent[start : start + at_once])

    assert arriving.has_arrived is arrived
    assert arriving.held == sent


def test_who_asks_whether_to_send_a_body_is_told_to_go_ahead(tmp_path: Path) -> None:
    """RFC 9110 section 10.1.1: whoever waits to be told would wait until it is too late."""
    with connected(tmp_path, says_how_long_it_was) as one:
        one.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert one.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"123")
        answer = b"".join(iter(lambda: one.recv(1), b"3"))
    assert b"HTTP/1.1 200 OK" in answer

"""What a door reads of a connection: a body to its end, and nothing of what comes behind it."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from control_plane.http.serving import ContextAdapter, Door
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
        yield ContextAdapter(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).makefile(near, "rb")
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


@pytest.mark.parametrize("size", [100, 70_000, len(BODY)])
def test_a_request_in_the_same_tls_record_as_the_end_of_a_body_is_answered(tmp_path: Path, size: int) -> None:
    party = self_signed(tmp_path, "door", ends=timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(party.chain)
    door = Door("reading", says_how_long_it_was, "127.0.0.1", 0, context, max_body_bytes=1 << 20, threads=1)
    door.open()
    client = ssl.create_default_context(cafile=party.certificate)
    sent = f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size)
    try:
        with client.wrap_socket(socket.create_connection(("127.0.0.1", door.port)), server_hostname="localhost") as one:
            one.sendall(sent + b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answers = b"".join(iter(lambda: one.recv(4096), b""))
    finally:
        door.close()

    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b"0"), "of the second, which has no body"

"""What a door reads of a connection: a body to its end, and nothing of what comes behind it."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from control_plane.http.serving import ContextAdapter

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

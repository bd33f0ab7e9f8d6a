"""The asking end: it talks to the guard alone, and calls whatever else happens by its name."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.link import protocol
from edge_agent.link.client import GuardClient, GuardRefused, GuardUnavailable
from edge_agent.link.frames import frame
from edge_agent.link.protocol import Taken, encode_answer
from tests.fakes.guard import REHEARSAL, REPORT, STICK, MemoryDesk, chain, guard

US = os.getuid()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "guard.sock"


def test_asks_and_is_answered(path: Path) -> None:
    desk = MemoryDesk(chain(200))
    with guard(path, desk), GuardClient(path, guard_user=US) as client:
        assert client.hello().software == REPORT.software
        assert client.report().devices == REPORT.devices
        assert client.records(0) == tuple(desk.lines[:128])
        assert client.records(128, 100) == tuple(desk.lines[128:])
        client.confirm(200)
        client.offer(bytes(protocol.MAX_HEAD_BYTES), bytes(protocol.MAX_LAYER_BYTES))
        assert client.explain("1-2").device == STICK
        assert client.rehearse() == REHEARSAL

    assert desk.confirmed == 200
    assert desk.offers == [(bytes(protocol.MAX_HEAD_BYTES), bytes(protocol.MAX_LAYER_BYTES))]


def test_a_refusal_says_why_and_the_connection_goes_on(path: Path) -> None:
    with guard(path, MemoryDesk()), GuardClient(path, guard_user=US) as client:
        with pytest.raises(GuardRefused, match="nothing is attached to port 9-9"):
            client.explain("9-9")
        assert client.hello().records == 0


def test_where_nobody_listens_there_is_no_guard(path: Path) -> None:
    with pytest.raises(GuardUnavailable, match="No such file"):
        GuardClient(path)


def test_whoever_else_listens_there_is_no_guard(path: Path) -> None:
    with guard(path, MemoryDesk()), pytest.raises(GuardUnavailable, match=f"user {US} listens there"):
        GuardClient(path, guard_user=US + 1)


@contextmanager
def impostor(path: Path, says: bytes) -> Iterator[None]:
    """Answer one request with these bytes and hang up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(says)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    "says, why",
    [
        (b"", "it hung up"),
        (b"\0\0\0\x09{", "it hung up"),
        (b"\xff\xff\xff\xff", "a length of"),
        (frame(b"{}", 99), "guard answer"),
        (frame(encode_answer(Taken()), 99), "taken is no answer to hello"),
    ],
)
def test_an_answer_that_is_none_is_said_to_be_so(path: Path, says: bytes, why: str) -> None:
    with impostor(path, says), GuardClient(path, guard_user=US) as client, pytest.raises(GuardUnavailable, match=why):
        client.hello()


def test_a_guard_that_does_not_answer_is_waited_for_so_long_and_no_longer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with GuardClient(path, guard_user=US, timeout_s=0.05) as client, pytest.raises(GuardUnavailable, match="timed"):
            client.hello()

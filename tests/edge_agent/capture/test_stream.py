"""The connection of an association: nothing that came is lost, and a peer that stands still costs bounded time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.capture.stream import stream_of
from edge_agent.capture.tls import client_context, server_context
from tests.fakes.dicom_pki import party

SOON_S, SHORT_S = 30.0, 0.2
WORTH_WAITING = 128 << 10


class Line:
    """`ours` as an association has it, `theirs` what the peer holds."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.ours, self.theirs, self.buffer = stream_of(ours), theirs, memoryview(bytearray(256 << 10))

    def read(self, timeout_s: float = SOON_S, expected: int = 0) -> bytes | None:
        count = self.ours.read(self.buffer, timeout_s, expected)
        return None if count is None else bytes(self.buffer[:count])


def connected(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    theirs = stack.enter_context(socket.create_connection(server.getsockname()))
    return stack.enter_context(server.accept()[0]), theirs


def secured(stack: ExitStack, folder: Path) -> tuple[socket.socket, socket.socket]:
    plain_ours, plain_theirs = connected(stack)
    host, modality = party(folder, "host"), party(folder, "modality")
    ours = server_context(host.chain, modality.pem).wrap_socket(
        plain_ours, server_side=True, do_handshake_on_connect=False
    )
    shaking = threading.Thread(target=ours.do_handshake)
    shaking.start()
    theirs = client_context(modality.chain, host.pem).wrap_socket(plain_theirs, server_hostname="localhost")
    shaking.join()
    return stack.enter_context(ours), stack.enter_context(theirs)


@pytest.fixture(params=["plain", "tls"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(*(connected(stack) if request.param == "plain" else secured(stack, tmp_path)))


def test_silence_is_none_and_the_end_is_no_bytes(line: Line) -> None:
    assert line.read(SHORT_S) is None
    line.theirs.sendall(b"x")
    assert line.read() == b"x"
    assert line.read(SHORT_S) is None
    # Of the socket below TLS, as a peer that dies ends it.
    socket.socket.shutdown(line.theirs, socket.SHUT_WR)
    assert line.read() == b""


def test_what_came_before_a_peer_fell_silent_is_not_lost(line: Line) -> None:
    line.theirs.sendall(b"begun")

    assert line.read(SHORT_S, expected=WORTH_WAITING) == b"begun"
    assert line.read(SHORT_S, expected=WORTH_WAITING - 5) is None
    line.theirs.sendall(b"ended")
    assert line.read(SHORT_S, expected=WORTH_WAITING - 5) == b"ended"


def test_a_pdu_of_which_the_length_is_known_is_one_read(line: Line) -> None:
    sent = bytes(range(256)) * (WORTH_WAITING // 256)
    sender = threading.Thread(target=line.theirs.sendall, args=(sent,))
    sender.start()
    got = line.read(expected=len(sent))
    sender.join()

    assert got == sent


def test_no_more_than_what_is_expected_is_waited_for(line: Line) -> None:
    sent = bytes(range(256)) * (WORTH_WAITING // 256)
    sender = threading.Thread(target=line.theirs.sendall, args=(sent + b"next",))
    sender.start()
    got = b""
    while len(got) < len(sent) + 4:
        got += line.read(expected=max(len(sent) - len(got), 0)) or b""
    sender.join()

    assert got == sent + b"next"


@pytest.mark.parametrize("takes", [0, 1 << 10])
def test_a_peer_that_takes_nothing_or_next_to_nothing_is_given_up(line: Line, takes: int) -> None:
    over = threading.Event()

    def take() -> None:
        while takes and not over.wait(0.01):
            line.theirs.recv(takes)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        with pytest.raises(TimeoutError):
            line.ours.write(bytes(64 << 20), SHORT_S)
    finally:
        over.set()
        taker.join()


def test_what_is_written_arrives_whole(line: Line) -> None:
    data, got = bytes(range(256)) * 4096, bytearray()

    def take() -> None:
        while len(got) < len(data):
            got.extend(line.theirs.recv(1 << 16))

    taker = threading.Thread(target=take)
    taker.start()
    line.ours.write(data, SOON_S)
    taker.join()
    assert got == data

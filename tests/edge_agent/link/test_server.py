"""The guard's end of the link: who is let in, what a bad peer costs, and that nobody starves the loop."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.link import protocol
from edge_agent.link.frames import FrameReader, frame
from edge_agent.link.protocol import Error, Hello, Offer, Records, Report, Request, encode_request, parse_answer
from edge_agent.link.server import IDLE_S, MAX_PEERS_OF_A_USER, STALL_S, SocketFolderOpen
from shared.errors import IntegrityFailure, Refused, Unavailable
from tests.fakes.guard import REPORT, Loop, MemoryDesk, chain

HELLO = frame(encode_request(Hello()), protocol.MAX_REQUEST_BYTES)


class Peer:
    """A client that sends what it likes, a turn of the loop at a time."""

    def __init__(self, loop: Loop, path: Path) -> None:
        self.loop, self.socket = loop, socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.reader = FrameReader(protocol.MAX_ANSWER_BYTES)
        loop.turns()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.loop.turns()

    def ask(self, request: Request) -> protocol.Answer:
        self.send(frame(encode_request(request), protocol.MAX_REQUEST_BYTES))
        return self.answer()

    def answer(self) -> protocol.Answer:
        while True:
            self.loop.turns()
            data = self.socket.recv(self.reader.wanted)
            assert data, "the guard hung up"
            payload = self.reader.feed(data)
            if payload is not None:
                return parse_answer(payload)

    def is_hung_up_on(self) -> bool:
        try:
            while self.socket.recv(1 << 16):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "guard.sock"


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk(chain(3))


@pytest.fixture
def loop(path: Path, desk: MemoryDesk) -> Iterator[Loop]:
    loop = Loop(path, desk)
    yield loop
    loop.close()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.socket.close()


@pytest.fixture
def peer(loop: Loop, path: Path, peers: list[Peer]) -> Peer:
    peers.append(Peer(loop, path))
    return peers[-1]


def test_every_request_has_its_answer(peer: Peer, desk: MemoryDesk) -> None:
    assert peer.ask(Hello()) == protocol.Welcome(REPORT.software, 3, 0)
    assert peer.ask(Offer(b"head", None)) == protocol.Taken()
    assert isinstance(peer.ask(Report()), protocol.Reported)
    assert peer.ask(Records(1, 10)) == protocol.Given(tuple(desk.lines[1:]))
    assert peer.ask(protocol.Confirm(2)) == protocol.Confirmed(2)
    assert isinstance(peer.ask(protocol.Explain("1-2")), protocol.Explanation)

    assert (desk.offers, desk.confirmed) == ([(b"head", None)], 2)


@pytest.mark.parametrize("kind", [Refused, IntegrityFailure, Unavailable])
def test_what_the_desk_does_not_grant_is_an_error_and_the_peer_stays(
    peer: Peer, desk: MemoryDesk, kind: type[Exception]
) -> None:
    desk.busy = kind("one offer is being judged")

    assert peer.ask(Offer(b"1", b"2")) == Error("one offer is being judged")
    desk.busy = None
    assert peer.ask(Offer(b"1", b"2")) == protocol.Taken()


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\r\n", (0).to_bytes(4), b"\0\0\0\2{}", frame(b'{"ask":"allow","port":"1-2","v":1}', 99)]
)
def test_whoever_is_out_of_form_is_told_and_hung_up_on(peer: Peer, loop: Loop, bad: bytes) -> None:
    peer.send(bad)

    assert isinstance(peer.answer(), Error)
    assert peer.is_hung_up_on()
    assert loop.server.peers == 0


def test_a_length_beyond_the_limit_costs_no_memory_and_the_connection(peer: Peer) -> None:
    peer.send((protocol.MAX_REQUEST_BYTES + 1).to_bytes(4))

    answer = peer.answer()
    assert isinstance(answer, Error)
    assert "expected 1 to" in answer.text
    assert peer.is_hung_up_on()


def test_a_stranger_is_refused_and_recorded_once_for_a_while(path: Path, desk: MemoryDesk, peers: list[Peer]) -> None:
    loop = Loop(path, desk, users=frozenset({os.getuid() + 1}))
    for _ in range(3):
        peers.append(Peer(loop, path))
        assert peers[-1].is_hung_up_on()
    assert desk.strangers == [(os.getuid(), os.getpid())]
    assert desk.asked == []

    loop.now += 3600
    peers.append(Peer(loop, path))
    assert len(desk.strangers) == 2
    loop.close()


def test_one_user_has_so_many_connections_and_no_more(loop: Loop, path: Path, peers: list[Peer]) -> None:
    peers += [Peer(loop, path) for _ in range(MAX_PEERS_OF_A_USER + 2)]

    assert [peer.is_hung_up_on() for peer in peers] == [False] * MAX_PEERS_OF_A_USER + [True, True]
    peers[0].socket.close()
    loop.turns()
    peers.append(Peer(loop, path))
    assert isinstance(peers[-1].ask(Hello()), protocol.Welcome)


def test_a_peer_that_says_nothing_is_hung_up_on(peer: Peer, loop: Loop) -> None:
    loop.now += IDLE_S - 1
    loop.turn()
    assert not peer.is_hung_up_on()

    loop.now += 2
    loop.turn()
    assert peer.is_hung_up_on()


def test_a_byte_now_and_then_does_not_keep_a_peer(peer: Peer, loop: Loop) -> None:
    for byte in HELLO[:4]:
        peer.send(bytes([byte]))
        loop.now += STALL_S / 3

    loop.turn()
    assert peer.is_hung_up_on()


def test_a_peer_that_takes_no_answer_is_hung_up_on_and_asked_for_no_more(
    loop: Loop, path: Path, desk: MemoryDesk, peer: Peer
) -> None:
    desk.lines = chain(128)
    request = frame(encode_request(Records(0, 128)), protocol.MAX_REQUEST_BYTES)
    peer.send(request * 200)
    # A socket takes some answers by itself; then the peer's turn to read has come.
    asked = len(desk.asked)
    loop.turns()
    assert len(desk.asked) == asked < 200

    loop.now += STALL_S + 1
    loop.turn()
    assert loop.server.peers == 0


def test_a_flood_leaves_the_others_their_turn(loop: Loop, path: Path, peers: list[Peer]) -> None:
    peers += [Peer(loop, path), Peer(loop, path)]
    flooding, other = peers
    flooding.socket.sendall(HELLO * 100)
    other.socket.sendall(HELLO)

    turns = 0
    while turns < 100:
        loop.turn()
        turns += 1
        try:
            if other.socket.recv(1):
                break
        except BlockingIOError:
            continue
    # A frame is read in two pieces, its length and the rest, each in a turn of its own.
    assert turns <= 3


def test_in_one_turn_a_peer_has_one_request_answered_at_most(loop: Loop, peer: Peer, desk: MemoryDesk) -> None:
    peer.socket.sendall(frame(encode_request(Report()), protocol.MAX_REQUEST_BYTES) * 50)

    for turns in range(1, 41):
        loop.turn()
        assert len(desk.asked) <= turns


def test_a_bug_in_the_desk_is_the_loop_s_to_report_and_costs_one_connection(
    loop: Loop, path: Path, desk: MemoryDesk, peers: list[Peer]
) -> None:
    peers += [Peer(loop, path), Peer(loop, path)]
    desk.busy = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        peers[0].send(frame(encode_request(Report()), protocol.MAX_REQUEST_BYTES))

    assert peers[0].is_hung_up_on()
    assert isinstance(peers[1].ask(Hello()), protocol.Welcome)


def test_the_socket_is_for_its_group_and_nobody_else(loop: Loop, path: Path) -> None:
    status = path.stat()

    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid == os.getgid()


def test_refuses_a_folder_in_which_another_could_put_a_socket(path: Path, desk: MemoryDesk) -> None:
    path.parent.chmod(0o777)

    with pytest.raises(SocketFolderOpen):
        Loop(path, desk)
    path.parent.chmod(0o755)
    Loop(path, desk).close()


def test_a_socket_that_a_killed_guard_left_is_replaced_and_a_file_is_not(path: Path, desk: MemoryDesk) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    loop = Loop(path, desk)
    loop.close()
    assert not path.exists()

    path.write_text("somebody's")
    with pytest.raises(Unavailable):
        Loop(path, desk)
    assert path.read_text() == "somebody's"

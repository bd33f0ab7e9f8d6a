"""Slow, broken and hostile senders by the dozen against the agent as a real process, while a good one sends."""

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from edge_agent.capture.crowd import Limits
from edge_agent.config import AgentFolder
from shared.audit.events import Event
from tests.edge_agent.capture.wire import COMMAND, LAST, Peer, associate_request, command, p_data, pdu, pdv
from tests.faults.agent import AgentProcess, running
from tests.faults.evidence import verify_all
from tests.faults.modality import Modality, half_open, image, images, store
from tests.faults.vault import Vault

_GROWTH_BYTES = 64 << 20
# One thread to a connection, and the agent's own parts. All that comes here comes from two addresses.
_OURS = 24
_THREADS = 2 * (Limits.connections_of_one + Limits.associations_of_one) + _OURS
_ELSEWHERE = "127.0.0.66"
_EVERY_S = 0.02
Attack = Callable[[int, threading.Event], None]


def dripping_request(port: int, stop: threading.Event) -> None:
    """An association request, one byte at a time."""
    with _connected(port) as connection:
        for byte in associate_request():
            if stop.wait(_EVERY_S):
                return
            connection.sendall(bytes([byte]))


def dripping_image(port: int, stop: threading.Event) -> None:
    """An image that never gets anywhere."""
    peer = Peer(port)
    with contextlib.closing(peer):
        peer.send(store(image(900_000, 1_000_000))[:200])
        while not stop.wait(_EVERY_S):
            peer.send(p_data(pdv(b"\x00", 0)))


def flooding(port: int, stop: threading.Event) -> None:
    """Connections as fast as they come, each left at once."""
    while not stop.wait(_EVERY_S):
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
            for _ in range(20):
                opened.enter_context(_connected(port))


def crowding(port: int, stop: threading.Event) -> None:
    """Connections that say nothing and stay, many more than one address may hold."""
    with contextlib.ExitStack() as opened:
        for _ in range(40):
            with contextlib.suppress(OSError):
                opened.enter_context(_connected(port, _ELSEWHERE))
        stop.wait()


def garbage(port: int, stop: threading.Event) -> None:
    rng = random.Random(port)
    while not stop.wait(_EVERY_S):
        with contextlib.suppress(OSError), _connected(port) as connection:
            connection.sendall(rng.randbytes(rng.randrange(1, 5000)))
            connection.recv(100)


def oversize(port: int, stop: threading.Event) -> None:
    """Lengths of four gigabytes, of every PDU there is."""
    while not stop.wait(_EVERY_S):
        for number in range(1, 8):
            with contextlib.suppress(OSError), _connected(port) as connection:
                connection.sendall(struct.pack(">BxI", number, 0xFFFFFFFF) + bytes(1 << 16))
                connection.recv(100)


def half_open_associations(port: int, stop: threading.Event) -> None:
    """Associations that were asked for, whose answer nobody reads."""
    with contextlib.suppress(OSError, AssertionError):
        # Thrice this is less than one address may hold, or the good sender at the same address would be shut out.
        peers = [half_open(port) for _ in range(3)]
        stop.wait()
        for peer in peers:
            peer.close()


def aborting(port: int, stop: threading.Event) -> None:
    """Images that break off: by an abort, by a reset, by a close."""
    rng = random.Random(port)
    begun = store(image(900_001, 100_000))[:60_500]
    while not stop.wait(_EVERY_S):
        with contextlib.suppress(OSError, AssertionError), contextlib.closing(Peer(port)) as peer:
            peer.send(begun)
            if rng.random() < 0.5:
                peer.send(pdu(7, bytes(4)))
            else:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless_command(port: int, stop: threading.Event) -> None:
    """A command set that goes on and on."""
    while not stop.wait(_EVERY_S):
        with contextlib.suppress(OSError, AssertionError), contextlib.closing(Peer(port)) as peer:
            for _ in range(64):
                peer.send(p_data(pdv(bytes(60_000), 1)))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        dripping_request, dripping_image, flooding, crowding, garbage, oversize, half_open_associations, aborting,
        endless_command,
    )
}  # fmt: skip


def _connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


@contextmanager
def under_attack(port: int, attacks: Sequence[Attack], each: int) -> Iterator[None]:
    stop = threading.Event()

    def attacking(attack: Attack) -> None:
        while not stop.is_set():
            # Being thrown out is what an attacker has to expect; it comes back.
            with contextlib.suppress(OSError, AssertionError):
                attack(port, stop)
            stop.wait(_EVERY_S)

    threads = [threading.Thread(target=attacking, args=(attack,)) for attack in attacks for _ in range(each)]
    with ExitStack() as stack:
        for thread in threads:
            stack.callback(thread.join, 30)
            thread.start()
        stack.callback(stop.set)
        yield


def send_through(agent: AgentProcess, modality: Modality) -> "list[tuple[int, int]]":
    """Send, again and again where the door was full, until all is acknowledged; return memory and threads meanwhile."""
    seen = [(agent.resident_bytes(), agent.threads())]

    def all_through() -> bool:
        modality.send(agent.port())
        seen.append((agent.resident_bytes(), agent.threads()))
        return not modality.unacknowledged() and len(modality.acknowledged) > 0

    agent.wait_until(all_through, 60)
    return seen


@pytest.mark.parametrize("name", ATTACKS)
def test_a_good_sender_is_served_while_others_misbehave(centre: Vault, enrolled: AgentFolder, name: str) -> None:
    modality = Modality(images(30, 50_000))
    with running(enrolled) as agent:
        before = agent.resident_bytes() if agent.port() else 0
        with under_attack(agent.port(), [ATTACKS[name]], each=3):
            seen = send_through(agent, modality)
            if name == "aborting":
                # The good sender may be through before the first of the others has begun.
                agent.wait_until(lambda: agent.status().refused > 0)
        agent.wait_until(lambda: agent.threads() <= _OURS)
        agent.wait_until_idle()

    assert max(resident for resident, _ in seen) < before + _GROWTH_BYTES
    assert max(threads for _, threads in seen) <= _THREADS
    held = verify_all(centre, enrolled.path, modality)
    if name == "aborting":
        assert any(record.event is Event.IMAGE_REFUSED for record in held)


def test_control_an_agent_that_lets_everybody_in_is_crowded(centre: Vault, enrolled: AgentFolder) -> None:
    with (
        running(enrolled, module=("tests.faults.standin", "unlimited")) as agent,
        under_attack(agent.port(), [crowding], each=3),
    ):
        agent.wait_until(lambda: agent.threads() > _THREADS, 30)


@pytest.mark.soak
def test_a_good_sender_is_served_while_all_of_them_misbehave_at_once(centre: Vault, enrolled: AgentFolder) -> None:
    modality = Modality(images(2000, 50_000))
    with running(enrolled) as agent:
        before = agent.resident_bytes() if agent.port() else 0
        with under_attack(agent.port(), [*ATTACKS.values()], each=2):
            seen = send_through(agent, modality)
        agent.wait_until_idle(300)

    assert max(resident for resident, _ in seen) < before + _GROWTH_BYTES
    assert max(threads for _, threads in seen) <= _THREADS
    verify_all(centre, enrolled.path, modality)


def test_an_oversize_part_of_an_image_ends_its_own_association(centre: Vault, enrolled: AgentFolder) -> None:
    with running(enrolled) as agent:
        bad, modality = Peer(agent.port()), Modality(images(5))
        begun = p_data(pdv(command(), COMMAND | LAST)) + p_data(pdv(bytes(1000), 0))
        bad.send(begun + pdu(4, pdv(bytes(600_000), LAST)))
        modality.send(agent.port())
        answer = bad.receive()
        bad.close()
        agent.wait_until_idle()

    assert answer[0] in (0, 7)
    verify_all(centre, enrolled.path, modality)

"""The guard's end of the link, on the guard's own selector and thread.

Everything here returns at once. A selector key's `data` is a function to be called with the mask of what is ready, and
`tick` is to be called after each turn. In one turn a peer is read from once and has one request answered at most, and
is not read from again before its answer is gone; so however it floods, the others and the kernel's events have their
turn. Credentials are the kernel's (SO_PEERCRED), taken when the peer connected.
"""

import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.link import protocol
from edge_agent.link.frames import FrameReader, frame
from edge_agent.link.protocol import Answer, Error, Explanation, Given, Rehearsal, Request, Welcome
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.devices import GuardReport

MAX_PEERS_OF_A_USER = 3  # each may hold one request in memory; no user takes another's places
# Within a request or an answer, and between two requests.
STALL_S, IDLE_S = 10.0, 60.0
_REFUSALS_APART_S = 600.0
_MAX_STRANGERS = 64
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketFolderOpen(Refused):
    """Whoever may write there could put a socket of their own in our place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} may be written by others than the guard")
        self.folder = folder


class SocketUnavailable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be listened on: {why}")
        self.path, self.why = path, why


class Desk(Protocol):
    """Who answers. Each method returns soon; Refused, IntegrityFailure and Unavailable become the answer."""

    def welcome(self) -> Welcome: ...

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        """Take bundles that nobody has verified, to be verified later. A newer offer may replace one that waits.

        Raises Refused: it is no layer of this host.
        """

    def report(self) -> GuardReport: ...

    def records(self, after: int, most: int) -> list[bytes]:
        """Return records after number `after`, oldest first, without a gap."""

    def confirm(self, upto: int) -> None:
        """Remember that records up to here are durable elsewhere. Raises Refused: there are not as many."""

    def explain(self, port: str) -> Explanation:
        """Raises Refused: there is no such device."""

    def rehearse(self) -> Rehearsal:
        """Decide about a device that is not there."""

    def stranger(self, uid: int, pid: int) -> None:
        """Record that a process was refused because of who runs it."""


@dataclass
class _Peer:
    connection: socket.socket
    uid: int
    deadline: float
    reader: FrameReader = field(default_factory=lambda: FrameReader(protocol.MAX_REQUEST_BYTES))
    out: memoryview = field(default_factory=lambda: memoryview(b""))
    hang_up: bool = False  # once `out` is gone


class LinkServer:
    """`group` may connect to the socket; `users` are then let in. `monotonic` gives seconds.

    `on_peer` is called when somebody was let in; from then on `tick` is to be called while there are `peers`.
    """

    def __init__(
        self,
        path: Path,
        desk: Desk,
        selector: selectors.BaseSelector,
        *,
        users: frozenset[int],
        group: int,
        monotonic: Callable[[], float],
        on_peer: Callable[[], object] = lambda: None,
        stall_s: float = STALL_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._path, self._desk, self._selector = path, desk, selector
        self._users, self._group, self._monotonic = users, group, monotonic
        self._on_peer, self._stall_s, self._idle_s = on_peer, stall_s, idle_s
        self._listening: socket.socket | None = None
        self._peers: dict[int, _Peer] = {}
        self._strangers: dict[int, float] = {}  # when a user was recorded last

    def open(self) -> None:
        """Listen. Raises SocketFolderOpen, SocketUnavailable."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            _verify_folder(self._path.parent)
            if self._path.is_socket():
                self._path.unlink()
            listening.bind(str(self._path))
            # Nobody can connect before `listen`, so there is no moment with other rights.
            os.chown(self._path, -1, self._group)
            self._path.chmod(0o660)
            listening.listen(16)
        except OSError as exc:
            listening.close()
            raise SocketUnavailable(self._path, exc.strerror or str(exc)) from exc
        except Refused:
            listening.close()
            raise
        self._listening = listening
        self._selector.register(listening, selectors.EVENT_READ, lambda _mask: self._accept(listening))

    def tick(self) -> float | None:
        """Hang up on whoever is too slow; return in how many seconds to come again, None: whenever."""
        now = self._monotonic()
        for peer in list(self._peers.values()):
            if peer.deadline <= now:
                self._drop(peer)
        return min((peer.deadline - now for peer in self._peers.values()), default=None)

    def close(self) -> None:
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._listening is not None:
            self._selector.unregister(self._listening)
            self._listening.close()
            self._listening = None
            with suppress(OSError):
                self._path.unlink()

    @property
    def peers(self) -> int:
        return len(self._peers)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # it has gone, or there is no descriptor left for it: the next turn tries again
        connection.setblocking(False)
        pid, uid, _ = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid not in self._users:
            connection.close()
            self._note_stranger(uid, pid)
        elif sum(peer.uid == uid for peer in self._peers.values()) >= MAX_PEERS_OF_A_USER:
            connection.close()
        else:
            peer = _Peer(connection, uid, self._monotonic() + self._idle_s)
            self._peers[connection.fileno()] = peer
            self._selector.register(connection, selectors.EVENT_READ, lambda mask: self._turn(peer, mask))
            self._on_peer()

    def _note_stranger(self, uid: int, pid: int) -> None:
        """Have it recorded, but not so often that a stranger could fill the records."""
        now = self._monotonic()
        self._strangers = {one: at for one, at in self._strangers.items() if now - at < _REFUSALS_APART_S}
        if uid not in self._strangers and len(self._strangers) < _MAX_STRANGERS:
            self._strangers[uid] = now
            self._desk.stranger(uid, pid)

    def _turn(self, peer: _Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._send(peer)
            elif mask & selectors.EVENT_READ:
                self._receive(peer)
        except BaseException:
            # A bug is the loop's to report; the peer it came up with gets nothing half done.
            self._drop(peer)
            raise

    def _receive(self, peer: _Peer) -> None:
        try:
            data = peer.connection.recv(peer.reader.wanted)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return
        if not peer.reader.is_within:
            # From the first byte to the last: a byte now and then does not keep a peer.
            peer.deadline = self._monotonic() + self._stall_s
        try:
            payload = peer.reader.feed(data)
            if payload is None:
                return
            request = protocol.parse_request(payload)
        except Malformed as exc:
            peer.hang_up = True
            self._answer(peer, Error.of(exc))
        else:
            self._answer(peer, self._ask(request))

    def _ask(self, request: Request) -> Answer:
        try:
            return _answer(self._desk, request)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            return Error.of(exc)

    def _answer(self, peer: _Peer, answer: Answer) -> None:
        try:
            data = frame(protocol.encode_answer(answer), protocol.MAX_ANSWER_BYTES)
        except Malformed as exc:
            data = frame(protocol.encode_answer(Error.of(exc)), protocol.MAX_ANSWER_BYTES)
        peer.out = memoryview(data)
        peer.deadline = self._monotonic() + self._stall_s
        self._send(peer)

    def _send(self, peer: _Peer) -> None:
        with suppress(BlockingIOError):
            try:
                peer.out = peer.out[peer.connection.send(peer.out) :]
            except BlockingIOError:
                raise
            except OSError:
                self._drop(peer)
                return
        if peer.out:
            self._await(peer, selectors.EVENT_WRITE)
        elif peer.hang_up:
            self._drop(peer)
        else:
            peer.deadline = self._monotonic() + self._idle_s
            self._await(peer, selectors.EVENT_READ)

    def _await(self, peer: _Peer, mask: int) -> None:
        key = self._selector.get_key(peer.connection)
        if key.events != mask:
            self._selector.modify(peer.connection, mask, key.data)

    def _drop(self, peer: _Peer) -> None:
        if self._peers.pop(peer.connection.fileno(), None) is not None:
            self._selector.unregister(peer.connection)
            peer.connection.close()


def _answer(desk: Desk, request: Request) -> Answer:
    match request:
        case protocol.Hello():
            return desk.welcome()
        case protocol.Offer():
            desk.offer(request.head, request.layer)
            return protocol.Taken()
        case protocol.Report():
            return protocol.Reported(desk.report())
        case protocol.Records():
            return Given(tuple(desk.records(request.after, request.most)))
        case protocol.Confirm():
            desk.confirm(request.upto)
            return protocol.Confirmed(request.upto)
        case protocol.Explain():
            return desk.explain(request.port)
        case protocol.Rehearse():
            return desk.rehearse()


def _verify_folder(folder: Path) -> None:
    """Raises SocketFolderOpen, OSError."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise SocketFolderOpen(folder)

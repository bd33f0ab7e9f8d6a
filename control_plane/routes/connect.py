"""Connects to the peers that policy names: TLS 1.2 or newer, their certificate held against policy's trust alone."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from control_plane.http.tls import TlsIdentity, client_context
from shared.policy.routes import Peer
from shared.routes.peer import PeerNotTrusted, PeerProof, PeerUnreachable

CONNECT_TIMEOUT_S = 10.0
# Linux; elsewhere a peer that writes in small pieces waits for our delayed acknowledgement.
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class PeerConnection:
    """A connected stream that acknowledges at once, and that another thread may break off."""

    def __init__(self, stream: socket.socket, proof: PeerProof) -> None:
        self._stream, self.proof = stream, proof
        self._lock = threading.Lock()
        self._closed = False

    def sendall(self, data: memoryview, /) -> None:
        self._stream.sendall(data)

    def recv_into(self, buffer: memoryview, /) -> int:
        if _QUICK_ACK is not None:
            # The kernel forgets it, so it is said again before each wait.
            self._stream.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return self._stream.recv_into(buffer)

    def settimeout(self, timeout_s: float | None, /) -> None:
        self._stream.settimeout(timeout_s)

    def break_off(self) -> None:
        """End it from another thread; whoever reads or writes gets an OSError."""
        with self._lock, contextlib.suppress(OSError):
            if not self._closed:
                # The socket below TLS: `shutdown` of an SSLSocket would take its state away under the other thread.
                socket.socket.shutdown(self._stream, socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stream.close()


@contextmanager
def connected(peer: Peer, identity: TlsIdentity, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[PeerConnection]:
    """Yield a connection to `peer`, closed at the end of the block. `identity` is shown where the peer asks for one.

    Raises PeerUnreachable, PeerNotTrusted.
    """
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout=timeout_s)
    except OSError as exc:
        raise PeerUnreachable(peer, _why(exc)) from exc
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Before the handshake: a peer that refuses our certificate has hung up by the time it ends on this side.
        address = "{}:{}".format(*plain.getpeername()[:2])
        stream = _secured(plain, peer, identity, timeout_s) if peer.trust else plain
    except OSError as exc:
        plain.close()
        raise PeerUnreachable(peer, _why(exc)) from exc
    except BaseException:
        plain.close()
        raise
    connection = PeerConnection(stream, _proof(stream, address))
    try:
        yield connection
    finally:
        connection.close()


def _secured(plain: socket.socket, peer: Peer, identity: TlsIdentity, timeout_s: float) -> ssl.SSLSocket:
    context = client_context(identity, trust=peer.trust)
    plain.settimeout(timeout_s)
    try:
        return context.wrap_socket(plain, server_hostname=peer.name or peer.host)
    except ssl.SSLCertVerificationError as exc:
        raise PeerNotTrusted(peer, exc.verify_message) from exc
    except OSError as exc:
        raise PeerUnreachable(peer, f"no TLS session: {_why(exc)}") from exc


def _proof(stream: socket.socket, address: str) -> PeerProof:
    if not isinstance(stream, ssl.SSLSocket):
        return PeerProof(address, "", "")
    certificate = stream.getpeercert(binary_form=True) or b""
    return PeerProof(address, sha256(certificate).hexdigest(), stream.version() or "")


def _why(exc: OSError) -> str:
    return exc.strerror or str(exc) or type(exc).__name__

"""Connects to the peers that policy names, with this host's DICOM certificate, held against policy's trust alone."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TypeAlias

from shared.policy.routes import Peer
from shared.routes.peer import PeerNotTrusted, PeerProof, PeerUnreachable

_TIMEOUT_S = 10.0
# Linux; elsewhere an archive that writes in small pieces waits for our delayed acknowledgement.
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)

NewContext: TypeAlias = Callable[[str], ssl.SSLContext]
"""Makes the TLS context for a list of trusted certificates. Raises DicomTlsUnusable."""


class ArchiveConnection:
    """A connected stream that another thread may break off."""

    def __init__(self, stream: socket.socket, proof: PeerProof) -> None:
        self._stream, self.proof = stream, proof
        self._lock = threading.Lock()

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
            # Below TLS: `shutdown` of an SSLSocket would take its state away under the other thread.
            socket.socket.shutdown(self._stream, socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._stream.close()


@contextmanager
def connected(peer: Peer, new_context: NewContext) -> Iterator[ArchiveConnection]:
    """Yield a connection to `peer`, closed at the end of the block.

    Raises PeerUnreachable, PeerNotTrusted, DicomTlsUnusable.
    """
    context = new_context(peer.trust) if peer.trust else None
    try:
        stream = socket.create_connection((peer.host, peer.port), timeout=_TIMEOUT_S)
    except OSError as exc:
        raise PeerUnreachable(peer, _why(exc)) from exc
    try:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Before the handshake: an archive that refuses our certificate has hung up by the time it ends on this side.
        address = "{}:{}".format(*stream.getpeername()[:2])
        if context is not None:
            stream = context.wrap_socket(stream, server_hostname=peer.name or peer.host)
    except ssl.SSLCertVerificationError as exc:
        stream.close()
        raise PeerNotTrusted(peer, exc.verify_message) from exc
    except OSError as exc:
        stream.close()
        raise PeerUnreachable(peer, f"no TLS session: {_why(exc)}" if context else _why(exc)) from exc
    connection = ArchiveConnection(stream, _proof(stream, address))
    try:
        yield connection
    finally:
        connection.close()


def _proof(stream: socket.socket, address: str) -> PeerProof:
    if not isinstance(stream, ssl.SSLSocket):
        return PeerProof(address, "", "")
    certificate = stream.getpeercert(binary_form=True) or b""
    return PeerProof(address, sha256(certificate).hexdigest(), stream.version() or "")


def _why(exc: OSError) -> str:
    return exc.strerror or str(exc) or type(exc).__name__

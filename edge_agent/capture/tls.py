"""DICOM over TLS: the side of it that modalities connect to, and ours where we connect to one.

The BCP 195 RFC 8996, 9325 TLS profile of DICOM PS3.15 section B.12: TLS 1.2 at the least, 1.3 preferred, both sides
with a certificate, and of the cipher suites of 1.2 those with forward secrecy and authenticated encryption only (RFC
9325 section 4.2).
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from shared.errors import Refused, Unavailable
from shared.policy.document import PolicyDocument

_SUITES_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"


class NoTrust(Refused):
    def __init__(self) -> None:
        super().__init__("policy names no certificates that a modality's could chain to")


class DicomTlsUnusable(Unavailable):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} cannot be used for DICOM over TLS: {why}")
        self.what, self.why = what, why


class HandshakeFailed(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the TLS handshake failed: {why}")
        self.why = why


@dataclass(frozen=True)
class Secured:
    """A connection that is encrypted, and the SHA-256 of the certificate that the peer proved to hold, in hex."""

    connection: ssl.SSLSocket
    certificate_sha256: str


class DicomTls:
    """Secures what modalities open. Follows changes of policy, and of the certificate in `file`, by itself.

    `make_certificate` sees to it that `file` holds certificate and key, `readable` yields a file that has them in
    clear: `file` itself, unless told otherwise. `context` is what a test replaces to see that it is the context that
    refuses.
    """

    def __init__(
        self,
        file: Path,
        *,
        make_certificate: Callable[[], object],
        policy: Callable[[], PolicyDocument | None],
        readable: Callable[[], AbstractContextManager[Path]] | None = None,
        context: Callable[[Path, str], ssl.SSLContext] | None = None,
    ) -> None:
        self._file, self._make, self._policy = file, make_certificate, policy
        self._readable = readable or (lambda: nullcontext(file))
        self._new_context = context or server_context
        self._lock = threading.Lock()
        self._made: tuple[object, ssl.SSLContext] | None = None

    def secure(self, connection: socket.socket, timeout_s: float) -> Secured:
        """Shake hands with a modality, in no more than `timeout_s`. Raises NoTrust, HandshakeFailed, DicomTlsUnusable.

        Whatever happens, closing what came in `connection` stays the caller's.
        """
        policy = self._policy()
        if policy is None or not policy.dicom_trust:
            raise NoTrust
        context = self._context(policy.dicom_trust)
        try:
            secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except OSError as exc:  # the peer has gone already
            raise HandshakeFailed(_reason(exc)) from exc
        # wrap_socket has taken the descriptor over, so an error must not leave it open.
        try:
            secured.settimeout(timeout_s)
            secured.do_handshake()
            certificate = secured.getpeercert(binary_form=True)
        except (OSError, ValueError) as exc:
            secured.close()
            raise HandshakeFailed(_reason(exc)) from exc
        if not certificate:
            secured.close()
            raise HandshakeFailed("the peer showed no certificate")
        return Secured(secured, sha256(certificate).hexdigest())

    def _context(self, trust: str) -> ssl.SSLContext:
        with self._lock:
            self._make()
            try:
                status = self._file.stat()
            except OSError as exc:
                raise DicomTlsUnusable(str(self._file), exc.strerror or "it cannot be read") from exc
            key = (trust, status.st_ino, status.st_mtime_ns, status.st_size)
            if self._made is None or self._made[0] != key:
                with self._readable() as file:
                    self._made = (key, self._new_context(file, trust))
            return self._made[1]


def server_context(file: Path, trust: str) -> ssl.SSLContext:
    """Return the context of a server that asks for a certificate chaining to `trust`. Raises DicomTlsUnusable."""
    context = _profile(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), file, trust)
    context.verify_mode = ssl.CERT_REQUIRED
    # Each connection proves its certificate anew. By the id of TLS 1.2 a session may still be resumed, for two hours:
    # OpenSSL keeps it in this context, which ends with the trust that it was made under.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return context


def client_context(file: Path, trust: str) -> ssl.SSLContext:
    """Return the context for connecting to a peer whose certificate chains to `trust`. Raises DicomTlsUnusable."""
    return _profile(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file, trust)


def _profile(context: ssl.SSLContext, file: Path, trust: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES_OF_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # What a hospital lists is often the modality's own certificate and no authority's.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=trust)
    except (OSError, ValueError) as exc:
        raise DicomTlsUnusable("the policy's list of trusted certificates", _reason(exc)) from exc
    try:
        context.load_cert_chain(file)
    except (OSError, ValueError) as exc:
        raise DicomTlsUnusable(str(file), _reason(exc)) from exc
    return context


def _reason(exc: Exception) -> str:
    """Say what OpenSSL found; it names protocols and causes and quotes nothing of what was sent."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return exc.reason or type(exc).__name__
    return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__

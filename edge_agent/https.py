"""Talks to the centre's doors over TLS that is verified: the centre's CA, the name in the address, our certificate.

One connection, kept open, used by one thread. What comes back is bytes of a stated largest size.
"""

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shared.errors import Refused, Unavailable

TIMEOUT_S = 30.0
_BLOCK_BYTES = 256 << 10
_MAX_ANSWER_BYTES = 4 << 20
_LISTEN_S = 5.0
# As OpenSSL names alerts of RFC 8446 section 6.2.
_EXPIRED, _CERTIFICATE_REQUIRED = "ALERT_CERTIFICATE_EXPIRED", "ALERT_CERTIFICATE_REQUIRED"
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}  # as OpenSSL 3.0 and 3.2 say it
# These say something of the host or the moment and nothing of what was sent; another try may succeed.
_FORBIDDEN = 403
_NOT_NOW = {401, 403, 404, 408, 425, 429}


class DoorUnavailable(Unavailable):
    def __init__(self, door: str, why: str) -> None:
        super().__init__(f"{door} does not answer as it should: {why}")
        self.door, self.why = door, why


class DoorRefused(Refused):
    """The centre read what was sent and will not have it."""

    def __init__(self, door: str, status: int, title: str) -> None:
        super().__init__(f"{door} refused with status {status}: {title}")
        self.door, self.status, self.title = door, status, title


class CertificateUnusable(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"this host's certificate or its CA's cannot be used for TLS: {why}")
        self.why = why


class Source(Protocol):
    """What a request sends, from its beginning to its end, and perhaps once more."""

    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpsDoor:
    """One door of the centre, `https://host:port`."""

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        timeout_s: float = TIMEOUT_S,
        on_answer: Callable[[str, Answer], None] = lambda _path, _answer: None,
    ) -> None:
        """`on_answer` is told of every answer, with the path that was asked."""
        self.name, self._on_answer = f"https://{host}:{port}", on_answer
        self._connection = http.client.HTTPSConnection(
            host.strip("[]"), port, context=context, timeout=timeout_s, blocksize=_BLOCK_BYTES
        )

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self._exchange("GET", path, None, dict(headers or {}))

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        return self._exchange("POST", path, body, {"Content-Type": content_type})

    def put_file(self, path: str, source: Source, size_bytes: int) -> Answer:
        """Send a file in constant memory."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        return self._exchange("PUT", path, source, headers)

    def says_expired(self) -> bool:
        """Return whether the other side turns our certificate away as expired; False where that cannot be heard."""
        return self._turns_away(_EXPIRED)

    def asks_for_a_certificate(self) -> bool:
        """Return whether the other side turns away whoever shows no certificate; False where that cannot be heard."""
        return self._turns_away(_CERTIFICATE_REQUIRED)

    def _turns_away(self, alert: str) -> bool:
        # Nothing is sent after the handshake: who writes when the other side closes hears of a broken connection alone.
        self._connection.close()
        try:
            self._connection.connect()
            self._connection.sock.settimeout(_LISTEN_S)
            self._connection.sock.recv(1)
        except (OSError, http.client.HTTPException) as exc:
            return isinstance(exc, ssl.SSLError) and alert in (exc.reason or "")
        finally:
            self._connection.close()
        return False

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, method: str, path: str, body: bytes | Source | None, headers: dict[str, str]) -> Answer:
        """Return the answer to one request, whatever its status. Raises DoorUnavailable."""
        answer = self._answer(method, path, body, headers)
        if answer.status == _FORBIDDEN:
            # It may be this connection's certificate that is not taken; the next one shows what there is by then.
            self._connection.close()
        self._on_answer(path, answer)
        return answer

    def _answer(self, method: str, path: str, body: bytes | Source | None, headers: dict[str, str]) -> Answer:
        try:
            reused = self._connection.sock is not None
            try:
                return self._once(method, path, body, headers)
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                # A kept connection that the other side closed meanwhile; every request of ours may be repeated.
                if not reused:
                    raise
                self._connection.close()
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
                return self._once(method, path, body, headers)
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            raise DoorUnavailable(self.name, _reason(exc)) from exc
        except Unavailable:
            # What was to be sent cannot be read; the other side waits for the rest of it.
            self._connection.close()
            raise

    def _once(self, method: str, path: str, body: bytes | Source | None, headers: dict[str, str]) -> Answer:
        try:
            self._connection.request(method, path, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # The door may have answered without reading to the end (too large, no space); that answer counts.
            if self._connection.sock is None:
                raise
        response = self._connection.getresponse()
        answer = response.read(_MAX_ANSWER_BYTES + 1)
        if len(answer) > _MAX_ANSWER_BYTES:
            self._connection.close()
            raise DoorUnavailable(self.name, f"its answer is larger than {_MAX_ANSWER_BYTES} bytes")
        return Answer(response.status, answer, {k.lower(): v for k, v in response.getheaders()})


def verified_context(ca_file: Path, identity: Path | None = None, *, ca_pem: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts `ca_file` alone and checks host names, with our certificate and key if any.

    With `ca_pem` it trusts that one alone.

    Raises CertificateUnusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(None if ca_pem else ca_file, cadata=ca_pem)
        if identity is not None:
            context.load_cert_chain(identity)
    except OSError as exc:
        raise CertificateUnusable(_reason(exc)) from exc
    return context


def unverified_door(host: str, port: int, timeout_s: float = TIMEOUT_S) -> HttpsDoor:
    """Return a door to whoever answers. Nothing secret may be sent, and nothing of it believed that is not proved."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HttpsDoor(host, port, context, timeout_s)


def fetch_unverified(host: str, port: int, path: str) -> bytes:
    """Fetch from whoever answers. Nothing is sent, and nothing of it may be believed before it has proved itself.

    Raises DoorUnavailable, DoorRefused.
    """
    door = unverified_door(host, port)
    try:
        return accepted(door.name, door.get(path)).body
    finally:
        door.close()


def accepted(door: str, answer: Answer) -> Answer:
    """Return `answer` if its status is a success. Raises DoorRefused, DoorUnavailable."""
    if 200 <= answer.status < 300:
        return answer
    if 400 <= answer.status < 500 and answer.status not in _NOT_NOW:
        raise DoorRefused(door, answer.status, problem(answer).get("title", "no reason given"))
    title = problem(answer).get("title", "")
    raise DoorUnavailable(door, f"status {answer.status}" + f": {title}" * bool(title))


def problem(answer: Answer) -> dict[str, str]:
    """Return the text members of an RFC 9457 problem document, none if the answer is not one."""
    try:
        members = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(members, dict):
        return {}
    return {k: str(v)[:200] for k, v in members.items() if isinstance(v, str | int)}


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError) and exc.reason in _NO_TLS:
        return "what listens there does not speak TLS; is it this door's port?"
    if isinstance(exc, ssl.SSLError) and _CERTIFICATE_REQUIRED in (exc.reason or ""):
        return "what listens there talks to enrolled hosts alone; is it the hosts' door, and not the enrolment door?"
    return f"{type(exc).__name__}: {exc}" if isinstance(exc, OSError) else type(exc).__name__

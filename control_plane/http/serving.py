"""Serves one door with cheroot, in threads of this process.

cheroot makes the TLS handshake in the thread that accepts, where one silent client keeps everybody out, and gives a
thread to each client before it has said a word. Here a client waits among the idle connections until it speaks, for the
handshake and again until its request has arrived, so that strangers who say nothing, or little at a time, cost a
descriptor and some memory each, and a limited number.
"""

import logging
import os
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import SHUT_RDWR, create_connection, socket
from threading import Thread
from time import monotonic
from typing import Any, cast

from cheroot.connections import ConnectionManager
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from control_plane.http.streams import MAX_HEADER_BYTES, Reader, make_file
from shared.errors import Unavailable

WsgiApp = Callable[..., Iterable[bytes]]

_LOG = logging.getLogger(__name__)
_MAX_CONNECTIONS = 256
# A sender who is refused early should still hear why, so its body is read and dropped, within reason.
_MAX_DROPPED_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
_ASKED, _ASKED_S = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 5.0
_ANSWERED = b"HTTP/1.1"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nthis door speaks HTTPS\n"


class DoorNotOpened(Unavailable):
    def __init__(self, name: str, port: int, why: str) -> None:
        super().__init__(f"the door of {name} cannot be opened on port {port}: {why}")
        self.name, self.port, self.why = name, port, why


class ContextAdapter(BuiltinSSLAdapter):
    """cheroot's TLS adapter around a context that is made already, so that no key file is needed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        # The parent's constructor does nothing but build a context from files.
        self.certificate = self.private_key = self.certificate_chain = self.ciphers = ""
        self.private_key_password = None
        self._server_env: dict[str, str] = {}
        self.context = context

    def wrap(self, sock: socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """Return at once: `_Connection` shakes hands as the client's bytes arrive."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}


class _Request(HTTPRequest):
    """Sends the headers with the beginning of the body: by itself each would wake the client once."""

    def read_request_headers(self) -> bool:
        """Refuse a body that is read without end, as cheroot does for -1, or that a thread waits for a stranger with.

        RFC 9112 section 6.3: what has no length may be answered 411.
        """
        if not super().read_request_headers():  # type: ignore[no-untyped-call]  # its stub says nothing
            return False
        length, reader = self.inheaders.get(b"Content-Length", b"0"), self.conn.rfile
        if reader.is_strangers and self.chunked_read:
            self.simple_response("411 Length Required", "A body needs a Content-Length.")
        elif not length.isdigit() or (reader.is_strangers and len(reader.held) < int(length) <= reader.most_body_bytes):
            self.simple_response("400 Bad Request", "Malformed Content-Length Header.")
        else:
            self.close_connection |= self.server.answers_once
            return True
        return False

    def respond(self) -> None:
        super().respond()
        self.conn.wfile.is_held = False
        self.conn.wfile.flush()

    def write(self, chunk: bytes) -> None:
        self.conn.wfile.is_held = False
        super().write(chunk)

    def send_headers(self) -> None:
        """Drop what the application left of the body; cheroot would read it into memory, however long it is."""
        if self.chunked_read:
            self.close_connection = True
        else:
            most = _MAX_DROPPED_BYTES
            while most > 0 and (dropped := self.rfile.read(min(_PIECE_BYTES, most))):
                most -= len(dropped)
            if self.rfile.remaining:
                self.close_connection = True
        self.conn.wfile.is_held = True
        super().send_headers()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    rfile: Reader
    is_secured = False

    def __init__(self, server: "_Server", near: socket, _make_file: object) -> None:
        super().__init__(server, near, make_file)
        self.rfile.most_body_bytes = server.most_body_ahead_bytes
        self.waits_since = monotonic()  # for its first answer, or since its last
        self._begun: float | None = None  # since when a request has been arriving

    def communicate(self) -> bool:
        """Do the next thing that the client's bytes allow; True keeps the connection until more arrive."""
        if isinstance(self.socket, ssl.SSLSocket) and not self.is_secured:
            return self._shake_hands(self.socket)
        try:
            if self.rfile.is_strangers and not self._has_arrived():
                return self._may_take_longer()
        except OSError:
            return False
        keep: bool = super().communicate()  # type: ignore[no-untyped-call]  # its stub says nothing
        self.waits_since, self._begun = monotonic(), None
        return keep

    def _has_arrived(self) -> bool:
        self.socket.settimeout(0)
        if not self.rfile.read_ahead():
            return False
        self.socket.settimeout(self.server.timeout)
        return True

    def _may_take_longer(self) -> bool:
        """Say what is to be said to whoever has begun a request, as far as it goes out at once. Raises OSError."""
        arriving, now = self.rfile.next, monotonic()
        if self._begun is None and arriving.held:
            self._begun = now
        if self._begun is not None and now - self._begun > self.server.timeout:
            self.socket.send(_TOO_SLOW)
            return False
        if arriving.expects_go_ahead:
            arriving.expects_go_ahead = False
            self.socket.send(_GO_AHEAD)
        return True

    def _shake_hands(self, secured: ssl.SSLSocket) -> bool:
        if monotonic() - self.waits_since > self.server.timeout:
            return False
        secured.settimeout(0)
        try:
            secured.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except ssl.SSLError as exc:
            if exc.reason == "HTTP_REQUEST":
                # Also how `answers` asks, which is no event.
                with suppress(OSError):
                    os.write(secured.fileno(), _NOT_TLS)
                return False
            _LOG.info("handshake refused", extra={"address": self.remote_addr, "reason": exc.reason})
            return False
        except OSError:
            return False
        secured.settimeout(self.server.timeout)
        self.ssl_env = self.server.ssl_adapter.get_environ(secured)
        self.is_secured, self.rfile.is_strangers = True, not secured.getpeercert(binary_form=True)
        return True


class _Server(Server):
    ConnectionClass = _Connection
    name: str
    most_body_ahead_bytes: int
    answers_once: bool
    _connections: ConnectionManager

    def process_conn(self, conn: _Connection) -> None:
        if conn.last_used is None:
            self._make_room()
            self._connections.put(conn)
        else:
            super().process_conn(conn)

    def _make_room(self) -> None:
        """Let go of whoever has waited longest, when there are too many connections: a stranger if there is one."""
        selector = self._connections._selector  # type: ignore[attr-defined]  # its stub leaves it out
        if len(selector) <= _MAX_CONNECTIONS:
            return
        idle = [conn for _, conn in selector.connections if conn is not self]
        longest = min(idle, key=lambda conn: (not conn.rfile.is_strangers, conn.waits_since))
        # Only the socket, beneath TLS: the loop then finds it at its end and takes it away in its own time.
        with suppress(OSError):
            socket.shutdown(longest.socket, SHUT_RDWR)

    def stop(self) -> None:
        """Stop now: the loop looks whether it is to go on at most every half second, or when somebody connects."""
        self._connections._stop_requested = True  # type: ignore[attr-defined]  # its stub leaves it out
        with suppress(OSError), create_connection(cast("tuple[str, int]", self.bind_addr)[:2], timeout=1):
            super().stop()
        # Does nothing where it is stopped.
        super().stop()

    def bind_socket(self, socket_: socket, bind_addr: tuple[str, int]) -> socket:  # type: ignore[override]  # static there
        try:
            socket_.bind(bind_addr)
        except OSError as exc:
            socket_.close()
            raise DoorNotOpened(self.name, bind_addr[1], exc.strerror or str(exc)) from exc
        return socket_

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: ARG002, FBT001 (cheroot's signature)
        # cheroot's messages quote whatever went wrong, which may be what somebody sent.
        _LOG.log(level, "door complains", extra={"door": self.name}, exc_info=traceback)


class Door:
    """One door. Its port is taken when it is made, and `port` is the real one, also when 0 was asked for."""

    def __init__(
        self,
        name: str,
        app: WsgiApp,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        *,
        max_body_bytes: int,
        most_body_ahead_bytes: int = 64 << 10,
        answers_once: bool = False,
        threads: int = 8,
        timeout_s: int = 60,
    ) -> None:
        """`most_body_ahead_bytes`: up to there no thread waits for a stranger's body. `answers_once`: nor does one wait
        until a stranger has read the answers before, for each gets one and is let go.

        Raises DoorNotOpened.
        """
        self.name = name
        self._server = _Server((host, port), app, numthreads=threads, timeout=timeout_s, request_queue_size=64)
        self._server.name, self._server.server_name = name, "leadglass"
        self._server.most_body_ahead_bytes, self._server.answers_once = most_body_ahead_bytes, answers_once
        self._server.max_request_header_size = MAX_HEADER_BYTES
        self._server.max_request_body_size = max_body_bytes
        self._server.keep_alive_conn_limit = _MAX_CONNECTIONS
        if context is not None:
            self._server.ssl_adapter = ContextAdapter(context)
        self._thread = Thread(target=self._server.serve, name=f"door-{name}", daemon=True)
        self._server.prepare()
        bound = cast("tuple[Any, ...]", self._server.bind_addr)
        self.host, self.port = str(bound[0]), int(bound[1])

    def open(self) -> None:
        self._thread.start()

    def answers(self) -> bool:
        """Return whether whoever asks at this door is answered, be it only that it speaks TLS."""
        try:
            with create_connection((self.host, self.port), timeout=_ASKED_S) as connection:
                connection.sendall(_ASKED)
                return connection.recv(len(_ANSWERED)) == _ANSWERED
        except OSError:
            return False

    def close(self) -> None:
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

"""A connection as an association uses it: bytes with a limit of time, acknowledged at once, in few system calls.

A sender with Nagle's algorithm on holds its last bytes back until ours before them are acknowledged, so each read asks
for an immediate acknowledgement. What is known to come is waited for in the kernel: a modality's PDU of 128 KiB is one
read and not three.
"""

import socket
import ssl
import time
from struct import Struct
from typing import Protocol

_TIMEVAL = Struct("@ll")
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only
_WORTH_WAITING_BYTES = 64 << 10
_LEAST_S = 0.000001  # none at all would mean not to wait


class Stream(Protocol):
    """Raises OSError throughout."""

    def read(self, buffer: memoryview, timeout_s: float, expected: int) -> int | None:
        """Return how many bytes came, 0: the peer has closed, None: none came within `timeout_s`.

        `expected` is how many are known to follow, 0 where that is not known.
        """

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`. Raises TimeoutError."""

    def say_last(self) -> None:
        """End our half so that the peer sees a whole end."""


class PlainStream:
    """Blocks in the kernel, with the socket's own limits of time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._limits: dict[int, float] = {}
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, buffer: memoryview, timeout_s: float, expected: int) -> int | None:
        self._limit(socket.SO_RCVTIMEO, timeout_s)
        try:
            if expected >= _WORTH_WAITING_BYTES:
                count = self._socket.recv_into(buffer, min(expected, len(buffer)), socket.MSG_WAITALL)
            else:
                count = self._socket.recv_into(buffer)
        except BlockingIOError:
            return None
        _acknowledge(self._socket)
        return count

    def write(self, data: bytes, timeout_s: float) -> None:
        left, deadline = memoryview(data), time.monotonic() + timeout_s
        while left:
            # The kernel counts anew with each call, and a peer might take a byte at a time.
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._limit(socket.SO_SNDTIMEO, left_s)
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError as exc:
                raise TimeoutError from exc

    def say_last(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def _limit(self, option: int, timeout_s: float) -> None:
        if self._limits.get(option) != timeout_s:
            # Zero is no limit at all; the least there is stands for what is over.
            microseconds = max(int(timeout_s * 1_000_000), 1)
            self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(*divmod(microseconds, 1_000_000)))
            self._limits[option] = timeout_s


class TlsStream:
    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection

    def read(self, buffer: memoryview, timeout_s: float, expected: int) -> int | None:
        # A record at a time is what the library gives, 16 KiB; each that is taken further costs more than it waits.
        wanted = min(expected, len(buffer)) if expected >= _WORTH_WAITING_BYTES else 1
        count, deadline = 0, time.monotonic() + timeout_s
        while count < wanted:
            self._socket.settimeout(max(deadline - time.monotonic(), _LEAST_S))
            try:
                came = self._socket.recv_into(buffer[count:])
            except TimeoutError:
                return count or None
            _acknowledge(self._socket)
            if not came:
                break
            count += came
        return count

    def write(self, data: bytes, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(data)

    def say_last(self) -> None:
        try:
            self._socket.unwrap()
        except ValueError as exc:  # the handshake never came to an end
            raise OSError("the connection was never secured") from exc
        socket.socket.shutdown(self._socket, socket.SHUT_WR)


def stream_of(connection: socket.socket) -> Stream:
    return TlsStream(connection) if isinstance(connection, ssl.SSLSocket) else PlainStream(connection)


def _acknowledge(connection: socket.socket) -> None:
    if _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

"""What a door reads a connection with, and writes to it.

A stranger's request is read ahead as its bytes come, while nobody waits for it: a thread is for those that have
arrived, with their body if that is small. A large one is read by the thread that answers.
"""

import re
import ssl
from io import DEFAULT_BUFFER_SIZE
from socket import socket

from cheroot.makefile import StreamReader, StreamWriter

MAX_HEADER_BYTES = 64 << 10
MOST_BODY_AHEAD_BYTES = 64 << 10
_LARGE_BYTES = 64 << 10
_AHEAD_BYTES = 16 << 10  # a TLS record
# The end of the headers, or of their being any: a line that ends otherwise is refused as soon as it is read.
_HEADERS_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")
_LENGTH = re.compile(rb"^[ \t]*content-length[ \t]*:[ \t]*([0-9]{1,18})", re.IGNORECASE | re.MULTILINE)


def has_arrived(held: bytes) -> bool:
    """Return whether the request that `held` begins with can be read without waiting for whoever sends it.

    True also for one that will be refused, and for one whose body is longer than MOST_BODY_AHEAD_BYTES.
    """
    end = _HEADERS_END.search(held)
    if end is None:
        return len(held) > MAX_HEADER_BYTES
    body = max(map(int, _LENGTH.findall(held, 0, end.start())), default=0)
    return body > MOST_BODY_AHEAD_BYTES or len(held) - end.end() >= body


class Reader(StreamReader):
    """Reads ahead of a stranger, and large pieces straight from the socket: cheroot puts each together from many."""

    is_strangers = True
    _read_buf: bytes  # the parent's, in Python
    _read_pos: int

    @property
    def held(self) -> bytes:
        """What has been read ahead."""
        return self._read_buf[self._read_pos :]

    def read_ahead(self) -> bool:
        """Take what there is of a socket that does not wait; return whether the next request has arrived.

        Raises OSError, also where nothing more will come of it.
        """
        near = self.raw._sock  # type: ignore[attr-defined]  # its stub leaves it out
        while not has_arrived(self.held):
            try:
                piece = near.recv(_AHEAD_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not piece:
                raise ConnectionAbortedError
            self._read_buf, self._read_pos = self.held + piece, 0
        return True

    def has_data(self) -> bool:
        """Whether there is something to do: also where only TLS holds it, which no selector sees."""
        near = self.raw._sock  # type: ignore[attr-defined]  # its stub leaves it out
        has_some = has_arrived(self.held) if self.is_strangers else bool(self.held)
        return has_some or (isinstance(near, ssl.SSLSocket) and near.pending() > 0)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < _LARGE_BYTES:
            return self._read_small(size)
        piece = memoryview(bytearray(size))
        held = self._read_small(len(self.held[:size]))
        piece[: len(held)] = held
        filled = len(held)
        while filled < size and (count := self.raw.readinto(piece[filled:])):
            filled += count
        self.bytes_read += filled - len(held)
        return bytes(piece[:filled])

    def _read_small(self, size: int | None) -> bytes:
        read: bytes = super().read(size)  # type: ignore[no-untyped-call]
        return read


class Writer(StreamWriter):
    """Keeps what is written while it `is_held`, and sends it with what comes after."""

    is_held = False

    def _flush_unlocked(self) -> None:
        if not self.is_held:
            super()._flush_unlocked()  # type: ignore[misc]  # its stub leaves it out


def make_file(near: socket, mode: str = "r", bufsize: int = DEFAULT_BUFFER_SIZE) -> Reader | Writer:
    return Reader(near, mode, bufsize) if "r" in mode else Writer(near, mode, bufsize)

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
_LARGE_BYTES = 64 << 10
_RECORD_BYTES = 16 << 10  # of TLS
_RECORDS_IN_A_TURN = 32  # small ones cost as much as large ones, and others are waiting
_LINE_READ_BYTES = 256  # what cheroot waits for at a time, of a line that does not end
# The end of the headers, or of their being any: a line that ends otherwise is refused as soon as it is read.
_HEADERS_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")
_LENGTH = re.compile(rb"^[ \t]*content-length[ \t]*:[ \t]*([0-9]{1,18})", re.IGNORECASE | re.MULTILINE)
_EXPECTS = re.compile(rb"^expect[ \t]*:[ \t]*100-continue", re.IGNORECASE | re.MULTILINE)


class Arriving:
    """A request as its bytes come, each of which is looked at once.

    It has arrived when it can be read without waiting for whoever sends it. So has one that will be refused, and one
    whose body is longer than `most_body_bytes`.
    """

    def __init__(self, most_body_bytes: int) -> None:
        self._most_body_bytes = most_body_bytes
        self._whole_bytes: int | None = None  # with its body; None: its headers have not ended
        self.held = bytearray()
        self.expects_go_ahead = False

    @property
    def has_arrived(self) -> bool:
        if self._whole_bytes is None:
            return len(self.held) > MAX_HEADER_BYTES + _LINE_READ_BYTES
        return len(self.held) >= self._whole_bytes

    def came(self, piece: bytes) -> None:
        # An end may have begun in what came before.
        start = max(len(self.held) - 3, 0)
        self.held += piece
        if self._whole_bytes is None and (end := _HEADERS_END.search(self.held, start)) is not None:
            body = max(map(int, _LENGTH.findall(self.held, 0, end.start())), default=0)
            is_waited_for = body <= self._most_body_bytes
            self._whole_bytes = end.end() + (body if is_waited_for else 0)
            self.expects_go_ahead = is_waited_for and _EXPECTS.search(self.held, 0, end.start()) is not None


class Reader(StreamReader):
    """Reads ahead of a stranger, and large pieces straight from the socket: cheroot puts each together from many."""

    is_strangers = True
    most_body_bytes = 64 << 10  # that is read ahead
    _read_buf: bytes  # the parent's, in Python
    _read_pos: int
    _next: Arriving | None = None

    @property
    def held(self) -> bytes:
        """What was read and nobody has asked for."""
        return self._read_buf[self._read_pos :]

    @property
    def next(self) -> Arriving:
        """The request that is arriving."""
        if self._next is None:
            self._next = Arriving(self.most_body_bytes)
            self._next.came(self.held)
        return self._next

    def read_ahead(self) -> bool:
        """Take what there is of a socket that does not wait; return whether the next request has arrived.

        Raises OSError, also where nothing more will come of it.
        """
        near, arriving = self.raw._sock, self.next  # type: ignore[attr-defined]  # its stub leaves it out
        for _ in range(_RECORDS_IN_A_TURN):
            if arriving.has_arrived:
                self._read_buf, self._read_pos, self._next = bytes(arriving.held), 0, None
                return True
            try:
                piece = near.recv(_RECORD_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not piece:
                raise ConnectionAbortedError
            arriving.came(piece)
        return False

    def has_data(self) -> bool:
        """Whether there is something to do: also where only TLS holds it, which no selector sees."""
        near = self.raw._sock  # type: ignore[attr-defined]  # its stub leaves it out
        has_some = self.next.has_arrived if self.is_strangers else bool(self.held)
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

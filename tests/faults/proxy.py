"""A bad line: a TCP proxy that stalls, cuts or delays what a client sends through it."""

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import dataclass

_BLOCK_BYTES = 16 << 10


@dataclass(frozen=True)
class Line:
    """How the line behaves to a connection, counted in bytes that the client has sent. None: never."""

    reset_at: int | None = None
    close_at: int | None = None
    stall_at: int | None = None
    delay_s: float = 0.0  # before every block

    def limit(self) -> int | None:
        return min((at for at in (self.reset_at, self.close_at, self.stall_at) if at is not None), default=None)


class Proxy:
    """Forwards loopback connections to `port`. `line` is read when a connection begins."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.line = Line()
        self.broken = 0  # how many connections it has reset, closed or stalled
        self.happened = threading.Condition()
        self._stop = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def wait_for_breaks(self, count: int, timeout_s: float = 60.0) -> None:
        with self.happened:
            assert self.happened.wait_for(lambda: self.broken >= count, timeout_s), "nothing came through to be broken"

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._forward, args=(client, self.line))
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket, line: Line) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as server:
            sent, limit = 0, line.limit()
            with selectors.DefaultSelector() as ready:
                for one in (client, server):
                    ready.register(one, selectors.EVENT_READ)
                while not self._stop.is_set():
                    for key, _ in ready.select(0.1):
                        from_client = key.fileobj is client
                        most = _BLOCK_BYTES if limit is None or not from_client else min(_BLOCK_BYTES, limit - sent)
                        block = (client if from_client else server).recv(most)
                        if not block:
                            return
                        if line.delay_s:
                            self._stop.wait(line.delay_s)
                        (server if from_client else client).sendall(block)
                        sent += len(block) if from_client else 0
                        if limit is not None and sent >= limit:
                            self._break(client, line, limit)
                            return

    def _break(self, client: socket.socket, line: Line, limit: int) -> None:
        with self.happened:
            self.broken += 1
            self.happened.notify_all()
        if limit == line.stall_at:
            # Neither side hears anything again, not even that the other is gone.
            self._stop.wait()
        if limit == line.reset_at:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

"""A digest computed on a thread of its own, for a data set so large that hashing it twice on one thread is felt.

For images of the usual size handing the bytes over costs more than it saves.
"""

import threading
from queue import SimpleQueue

from shared.sealing.seal import Digest

WORTH_IT_BYTES = 4 << 20
_BUFFER_BYTES, _BUFFERS = 256 << 10, 4


class HashedBehind:
    """Goes on with `begun`; `update` copies and returns, and waits while the thread is a mebibyte behind.

    For one thread besides its own. `digest` or `close` ends its thread; nothing is taken after that.
    """

    def __init__(self, begun: Digest) -> None:
        self._digest = begun
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_BUFFER_BYTES)))
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="capture-digest", daemon=True)
        self._thread.start()

    def update(self, data: bytes | memoryview, /) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _BUFFER_BYTES):
            piece = view[start : start + _BUFFER_BYTES]
            buffer = self._free.get()
            buffer[: len(piece)] = piece
            self._full.put((buffer, len(piece)))

    def digest(self) -> bytes:
        """Raises what hashing raised."""
        self.close()
        if self._failed is not None:
            raise self._failed
        return self._digest.digest()

    def close(self) -> None:
        self._full.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (filled := self._full.get()) is not None:
            buffer, size = filled
            try:
                self._digest.update(buffer[:size])
            except BaseException as exc:  # noqa: BLE001  whoever asks for the digest gets it
                self._failed = exc
            self._free.put(buffer)

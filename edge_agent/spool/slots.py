"""Buffers in which small objects are made whole before one write makes them durable.

Each begins at a page, as writing past the page cache wants it. They are few, made when they are first needed, and the
one used last is given out first, so that a host with one association at a time holds one or two.
"""

import mmap
import threading

SLOT_BYTES = 1 << 20
MOST = 24


class Slots:
    def __init__(self, slot_bytes: int = SLOT_BYTES, most: int = MOST) -> None:
        self.slot_bytes, self._left = slot_bytes, most
        self._lock, self._free = threading.Lock(), list[mmap.mmap]()

    def take(self) -> mmap.mmap | None:
        """Return a buffer, None where all are in use."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if not self._left:
                return None
            slot = mmap.mmap(-1, self.slot_bytes)
            self._left -= 1
        return slot

    def give_back(self, slot: mmap.mmap) -> None:
        with self._lock:
            self._free.append(slot)

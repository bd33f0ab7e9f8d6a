"""Which captures have begun and not ended, in a file that outlives the process and costs no system call.

    file = 2,048 places of 16 bytes, each an object id or zeros

The file is mapped into memory, so what stands there survives the end of the process, however it ends; a power cut it
need not survive. An attempt ends with its outcome in the journal; what is found there at a start has none yet.
"""

import mmap
import threading
from collections.abc import Collection
from pathlib import Path

from shared.identity import ObjectId

PLACES = 2048
_PLACE_BYTES = 16
_NOBODY = bytes(_PLACE_BYTES)


def begun(path: Path) -> tuple[ObjectId, ...]:
    """Return which captures have begun and not ended; from any process."""
    try:
        places = path.read_bytes()
    except FileNotFoundError:
        return ()
    if not any(places):
        return ()
    each = (places[at : at + _PLACE_BYTES] for at in range(0, len(places), _PLACE_BYTES))
    return tuple(ObjectId(place) for place in each if place != _NOBODY)


def count(path: Path) -> int:
    """Return how many captures have begun and not ended; from any process."""
    return len(begun(path))


class Attempts:
    """Raises OSError where the file cannot be mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("ab") as file:
            # Written and not only as long: touching a page that has no place on a full disk ends the process.
            file.write(bytes(max(PLACES * _PLACE_BYTES - file.tell(), 0)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), PLACES * _PLACE_BYTES)
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._at: dict[ObjectId, int] = {}

    def left_over(self) -> tuple[ObjectId, ...]:
        """Return what a stopped agent had begun and not ended."""
        places = (self._map[at : at + _PLACE_BYTES] for at in range(0, len(self._map), _PLACE_BYTES))
        return tuple(ObjectId(place) for place in places if place != _NOBODY)

    def forget(self, but: Collection[ObjectId] = ()) -> None:
        """Begin anew, once what was left over is recorded, with those that a later start has to judge.

        Before this nothing is noted.
        """
        self._map[:] = bytes(len(self._map))
        self._free = list(range(0, len(self._map), _PLACE_BYTES))
        for object_id in but:
            self.begin(object_id)

    def begin(self, object_id: ObjectId) -> None:
        # More captures at a time than there are places for are not expected, and do no harm: they are not seen here.
        with self._lock:
            if self._free:
                at = self._at[object_id] = self._free.pop()
                self._map[at : at + _PLACE_BYTES] = object_id.raw

    def end(self, object_id: ObjectId) -> None:
        with self._lock:
            at = self._at.pop(object_id, None)
            if at is not None:
                self._map[at : at + _PLACE_BYTES] = _NOBODY
                self._free.append(at)

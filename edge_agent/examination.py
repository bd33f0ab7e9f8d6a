"""Whether images come in now. Then processor and disk are the examination's, and work that can wait does.

An association that is open and brings nothing takes nothing from anybody, so it counts as one for `quiet_s` only.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

QUIET_S = 3.0  # a scanner that is at it sends more often; between two series it does not


@dataclass(frozen=True)
class Taken:
    """What came in since the agent started, kept or not."""

    images: int
    dataset_bytes: int


class Examination:
    """Told by whatever thread takes something in. `monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, quiet_s: float = QUIET_S) -> None:
        self._monotonic, self._quiet_s = monotonic, quiet_s
        self._lock = threading.Lock()
        self._coming_in, self._images, self._bytes = 0, 0, 0
        self._last_s: float | None = None

    def association(self) -> None:
        with self._lock:
            self._last_s = self._monotonic()

    def image_begins(self) -> None:
        with self._lock:
            self._coming_in += 1
            self._last_s = self._monotonic()

    def image_ends(self, dataset_bytes: int) -> None:
        with self._lock:
            self._coming_in -= 1
            self._images += 1
            self._bytes += dataset_bytes
            self._last_s = self._monotonic()

    def ends_in_s(self) -> float:
        """Return in how many seconds it is over if nothing more comes; 0: none runs."""
        with self._lock:
            if self._coming_in:
                return self._quiet_s
            if self._last_s is None:
                return 0.0
            return max(self._last_s + self._quiet_s - self._monotonic(), 0.0)

    def is_running(self) -> bool:
        return self.ends_in_s() > 0

    def taken(self) -> Taken:
        with self._lock:
            return Taken(self._images, self._bytes)


class SeenFromBeside:
    """The same for another process: what comes in raises a number that it can read."""

    def __init__(
        self,
        last_number: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._last_number, self._monotonic, self._quiet_s = last_number, monotonic, quiet_s
        self._seen, self._rose_s = last_number(), monotonic() - quiet_s

    def ends_in_s(self) -> float:
        number = self._last_number()
        if number != self._seen:
            self._seen, self._rose_s = number, self._monotonic()
        return max(self._rose_s + self._quiet_s - self._monotonic(), 0.0)

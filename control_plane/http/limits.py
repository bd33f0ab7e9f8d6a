"""Slows down whoever guesses: a door that saw too many failures in a minute answers nobody for a while."""

from collections import deque
from datetime import datetime, timedelta
from threading import Lock

from shared.clock import Clock
from shared.errors import Refused

_WINDOW = timedelta(minutes=1)


class TooManyFailures(Refused):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed attempts at this door; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class FailureLimit:
    """At most `most` failures a minute at one door, whoever makes them: secrets are too long for more to help."""

    def __init__(self, clock: Clock, most: int = 10) -> None:
        self._clock, self._most = clock, most
        self._failures: deque[datetime] = deque()
        self._lock = Lock()

    def check(self) -> None:
        """Raises TooManyFailures."""
        with self._lock:
            now = self._clock.now()
            while self._failures and now - self._failures[0] >= _WINDOW:
                self._failures.popleft()
            if len(self._failures) >= self._most:
                raise TooManyFailures(int((_WINDOW - (now - self._failures[0])).total_seconds()) + 1)

    def failed(self) -> None:
        with self._lock:
            self._failures.append(self._clock.now())

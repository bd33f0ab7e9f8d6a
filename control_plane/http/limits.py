"""Bounds what failed attempts cost us, without ever standing in the way of somebody who holds the right secret."""

from collections import deque
from datetime import datetime, timedelta
from threading import Lock

from shared.clock import Clock
from shared.errors import Refused

_WINDOW = timedelta(minutes=1)
_MAX_SOURCES = 1000


class TooManyFailures(Refused):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed attempts from here; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class FailureLimit:
    """At most `most` failures a minute from one source, and one each while there are `most_overall` from all of them.

    Our secrets are too long to be guessed. What is limited is the audit records and signatures that failures cost, so
    nobody's failures may keep others out: at the enrolment door a source is an address; on loopback, where all share
    one, a right secret is let in before its failures are looked at. For the same reason guesses from many addresses
    slow each of these down, and a source that has not failed in this minute is always heard.
    """

    def __init__(self, clock: Clock, most: int = 10, most_overall: int | None = None) -> None:
        self._clock, self._most = clock, most
        self._failures: dict[str, deque[datetime]] = {}
        self._overall = None if most_overall is None else deque[datetime](maxlen=most_overall)
        self._lock = Lock()

    def check(self, source: str) -> None:
        """Raises TooManyFailures."""
        with self._lock:
            now = self._clock.now()
            failures = self._failures.get(source, deque())
            while failures and now - failures[0] >= _WINDOW:
                failures.popleft()
            most = 1 if self._is_crowded(now) else self._most
            if len(failures) >= most:
                raise TooManyFailures(int((_WINDOW - (now - failures[-most])).total_seconds()) + 1)

    def failed(self, source: str) -> None:
        with self._lock:
            # The source that failed last comes last, so what falls out is what has been quiet for longest.
            failures = self._failures.pop(source, deque(maxlen=self._most))
            failures.append(self._clock.now())
            if self._overall is not None:
                self._overall.append(self._clock.now())
            self._failures[source] = failures
            if len(self._failures) > _MAX_SOURCES:
                del self._failures[next(iter(self._failures))]

    def _is_crowded(self, now: datetime) -> bool:
        overall = self._overall
        return overall is not None and len(overall) == overall.maxlen and now - overall[0] < _WINDOW

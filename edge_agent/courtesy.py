"""Lets work that can wait go slowly while an examination runs, and never stops it: what waits is patients' evidence."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")

# Called before each unit of work; returns when it may begin, or once the event is set.
Yields = Callable[[threading.Event], None]


def at_once(_stop: threading.Event) -> None:
    """Yield to nobody."""


@dataclass(frozen=True)
class Pace:
    """While an examination runs: `at_once` units as they come, then one every `every_s` seconds."""

    at_once: int
    every_s: float


# One image in two seconds' worth of a scanner's keeps the spool moving through an examination without an end.
DELIVERY = Pace(at_once=20, every_s=0.5)
RECORDS = Pace(at_once=5, every_s=5.0)
REGISTRATION = Pace(at_once=10, every_s=0.25)
READING = Pace(at_once=1, every_s=1.0)
STOCK = Pace(at_once=1, every_s=1.0)


class Courtesy:
    """Of one worker. `ends_in_s` says how long an examination still runs for all that is known, 0: none does."""

    def __init__(
        self, ends_in_s: Callable[[], float], pace: Pace, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ends_in_s, self._pace, self._monotonic = ends_in_s, pace, monotonic
        self._allowed, self._since_s = float(pace.at_once), monotonic()

    def yield_to_it(self, stop: threading.Event) -> None:
        """Return when the next unit may begin."""
        while not stop.is_set() and (wait_s := self.wait_s()) > 0:
            stop.wait(wait_s)

    def wait_s(self) -> float:
        """Return for how long the next unit has to wait; 0: it may begin, and counts."""
        now_s = self._monotonic()
        earned = (now_s - self._since_s) / self._pace.every_s
        self._allowed, self._since_s = min(self._allowed + earned, float(self._pace.at_once)), now_s
        ends_in_s = self._ends_in_s()
        if ends_in_s <= 0:
            return 0.0
        if self._allowed >= 1:
            self._allowed -= 1
            return 0.0
        return min(ends_in_s, (1 - self._allowed) * self._pace.every_s)


def courteously(items: Iterable[_T], courtesy: Courtesy) -> Iterator[_T]:
    """Yield `items`, each taken only once it may be."""
    never = threading.Event()
    iterator = iter(items)
    while True:
        courtesy.yield_to_it(never)
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item

"""Looks again until there is something to see: what another process or another machine does sends us no event."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

_T = TypeVar("_T")


class Patience:
    def __init__(self, seconds: float = 60.0, look_every_s: float = 0.2) -> None:
        self.seconds, self._look_every_s = seconds, look_every_s

    def until(self, look: Callable[[], _T | None]) -> _T | None:
        """Return what `look` returned when it was not None, None where it never did."""
        began, pause = monotonic(), threading.Event()
        while (found := look()) is None and monotonic() - began < self.seconds:
            pause.wait(self._look_every_s)
        return found

    def until_answered(self, ask: Callable[[], _T], away: type[Exception]) -> _T:
        """Return what `ask` returned, tried again while it raises an `away`; the last of those is raised."""
        last = list[Exception]()

        def answer() -> tuple[_T] | None:
            try:
                return (ask(),)
            except away as exc:
                last[:] = [exc]
                return None

        answered = self.until(answer)
        if answered is None:
            raise last[0]
        return answered[0]

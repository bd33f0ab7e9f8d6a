"""The one thread of the guard: what became readable, then what is due, then sleep. No turn may wait for a device."""

import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge_agent.boundary import contained
from edge_agent.log import Log

Work = Callable[[], object]


@dataclass
class _Due:
    every_s: float
    at: float
    work: Work


class Turns:
    """An error in one piece of work ends that piece and no other, unless it is one of `fatal`, which ends them all.

    `monotonic` is in seconds. Whoever registers with `selector` itself gives a function that takes the mask of what is
    ready.
    """

    def __init__(
        self,
        log: Log,
        selector: selectors.BaseSelector,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        fatal: tuple[type[Exception], ...] = (),
    ) -> None:
        self.selector = selector
        self._log, self._monotonic, self._fatal = log, monotonic, fatal
        self._due: dict[str, _Due] = {}
        self._stopped = False
        self.ended_by: Exception | None = None

    def watch(self, descriptor: int, work: Work) -> None:
        """Have `work` called whenever `descriptor` can be read, until `forget`."""
        self.selector.register(descriptor, selectors.EVENT_READ, lambda _mask: work())

    def forget(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)

    def every(self, name: str, every_s: float, work: Work) -> None:
        """Have `work` called every so often, first after that time. The name replaces what had it before."""
        self._due[name] = _Due(every_s, self._monotonic() + every_s, work)

    def once_within(self, name: str, within_s: float) -> None:
        """Have the work of that name called no later than in `within_s` seconds."""
        due = self._due[name]
        due.at = min(due.at, self._monotonic() + within_s)

    def cancel(self, name: str) -> None:
        self._due.pop(name, None)

    def stop(self) -> None:
        self._stopped = True

    def end(self, error: Exception) -> None:
        """Stop after this turn, and have `run` raise `error`: what another turn would not mend, a new start may."""
        self.ended_by = self.ended_by or error
        self.stop()

    def run(self) -> None:
        """Take turns until stopped. Raises what they were ended with."""
        while not self._stopped:
            self.take()
        if self.ended_by is not None:
            raise self.ended_by

    def take(self) -> None:
        """Take one turn: sleep until something can be read or is due, and do it."""
        sleep_s = max(0.0, min((due.at for due in self._due.values()), default=0.0) - self._monotonic())
        for key, mask in self.selector.select(sleep_s):
            self._contained("guard.input", partial(key.data, mask))
        now = self._monotonic()
        for name, due in list(self._due.items()):
            if due.at <= now:
                due.at = now + due.every_s
                self._contained(f"guard.{name}", due.work)

    def _contained(self, task: str, work: Work) -> None:
        def watched() -> None:
            try:
                work()
            except self._fatal as exc:
                self.end(exc)
                raise

        contained(self._log, task, watched)

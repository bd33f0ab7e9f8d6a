"""The parts of the agent: each runs in a thread of its own until told to stop, and sleeps until something rings."""

import random
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.backoff import delay_s
from edge_agent.boundary import contained
from edge_agent.log import Log


class Bell:
    """Wakes a sleeping part. A ring while the part is busy is kept until its next sleep."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def sleep(self, timeout_s: float | None = None) -> bool:
        """Return whether it rang."""
        has_rung = self._event.wait(timeout_s)
        self._event.clear()
        return has_rung


class Part(Protocol):
    """`run` returns soon after `stop` is set and `bell` rang; if it returns or raises before that it is run again."""

    name: str
    bell: Bell

    def run(self, stop: threading.Event) -> None: ...


class Supervisor:
    """Keeps parts running: one that dies is started again after a pause, with a log line."""

    def __init__(self, log: Log, spread: Callable[[], float] = random.random) -> None:
        self._log, self._spread = log, spread
        self._stop = threading.Event()
        self._threads: list[tuple[Part, threading.Thread]] = []

    def start(self, part: Part) -> None:
        thread = threading.Thread(target=self._keep_running, args=(part,), name=part.name, daemon=True)
        self._threads.append((part, thread))
        thread.start()

    def is_whole(self) -> bool:
        """Return whether every part has its thread still."""
        return all(thread.is_alive() for _, thread in self._threads)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop every part, in the order in which they were started."""
        self._stop.set()
        for part, thread in self._threads:
            part.bell.ring()
            thread.join(timeout_s)
            if thread.is_alive():
                self._log.event("part.stuck", part=part.name)

    def _keep_running(self, part: Part) -> None:
        failures = 0
        while not self._stop.is_set():
            ended_well = contained(self._log, part.name, lambda: part.run(self._stop))
            if self._stop.is_set():
                return
            failures = 1 if ended_well else failures + 1
            self._log.event("part.restarts", part=part.name)
            self._stop.wait(delay_s(failures, self._spread()))

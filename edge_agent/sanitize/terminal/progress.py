"""How far a wipe is, told by the thread that does it and read by the one that shows it."""

import threading
from collections import deque
from collections.abc import Callable

from edge_agent.sanitize.tasks import Task
from edge_agent.sanitize.terminal.screens import Now
from shared.sanitization.technique import Facts

_WINDOW_S = 20.0


class LiveProgress:
    """`monotonic_s` is of any clock that only goes forward."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s, self._began_s = monotonic_s, monotonic_s()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._task: Task | None = None
        self._finished: tuple[Task, ...] = ()
        self._done = self._total = 0
        self._lately: deque[tuple[float, int]] = deque()
        self.health: Facts = {}

    def begins(self, task: Task) -> None:
        with self._lock:
            if self._task is not None:
                self._finished = (*self._finished, self._task)
            self._task, self._done, self._total = task, 0, 0
            self._lately.clear()

    def at(self, done: int, total: int) -> None:
        now_s = self._monotonic_s()
        with self._lock:
            self._done, self._total = done, total
            if not self._lately or now_s - self._lately[-1][0] >= 0.5:
                self._lately.append((now_s, done))
            while now_s - self._lately[0][0] > _WINDOW_S and len(self._lately) > 1:
                self._lately.popleft()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def now(self) -> Now:
        with self._lock:
            now_s = self._monotonic_s()
            since_s, since = self._lately[0] if self._lately else (now_s, self._done)
            passed_s = now_s - since_s
            return Now(
                task=self._task,
                done=self._done,
                total=self._total,
                speed=(self._done - since) / passed_s if passed_s >= 1 else None,
                elapsed_s=now_s - self._began_s,
                health=self.health,
                finished=self._finished,
                is_stopping=self.is_stopped,
            )

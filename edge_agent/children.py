"""Children of the guard, each waited for by the loop and never by the guard."""

import time
from collections.abc import Callable, Sequence

from edge_agent.child import Child, ChildFailed
from edge_agent.turns import Turns


class Children:
    """At most `most` run at once; others wait in the order in which they were asked for."""

    def __init__(self, turns: Turns, *, most: int = 4, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._turns, self._most, self._monotonic_s = turns, most, monotonic_s
        self._running: dict[int, Child] = {}
        self._waiting: list[Callable[[], None]] = []

    def run(
        self,
        name: str,
        command: Sequence[str],
        given: bytes = b"",
        *,
        timeout_s: float,
        most_bytes: int,
        done: Callable[[bytes], None],
        failed: Callable[[ChildFailed], None],
    ) -> None:
        """Have `done` called with what the child wrote, or `failed` with why it did not end well."""

        def start() -> None:
            try:
                deadline_s = self._monotonic_s() + timeout_s
                child = Child(name, command, given, deadline_s=deadline_s, most_bytes=most_bytes)
            except ChildFailed as exc:
                failed(exc)
                return
            self._running[child.fileno()] = child
            self._turns.watch(child.fileno(), step := lambda: self._step(child, done, failed))
            self._turns.every(_timer(child), timeout_s, step)

        if len(self._running) < self._most:
            start()
        else:
            self._waiting.append(start)

    def stop(self) -> None:
        """End all of them; nobody is told."""
        self._waiting.clear()
        for child in list(self._running.values()):
            self._let_go(child)

    def _step(self, child: Child, done: Callable[[bytes], None], failed: Callable[[ChildFailed], None]) -> None:
        try:
            answer = child.step(self._monotonic_s())
        except ChildFailed as exc:
            self._let_go(child)
            failed(exc)
        else:
            if answer is None:
                return
            self._let_go(child)
            done(answer)
        while self._waiting and len(self._running) < self._most:
            self._waiting.pop(0)()

    def _let_go(self, child: Child) -> None:
        del self._running[child.fileno()]
        self._turns.forget(child.fileno())
        self._turns.cancel(_timer(child))
        child.end()


def _timer(child: Child) -> str:
    return f"child-{child.fileno()}"

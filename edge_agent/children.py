"""Children of the guard, each waited for by the loop and never by the guard."""

import time
from collections.abc import Callable, Sequence

from edge_agent.short_lived import ShortLived
from edge_agent.turns import Turns
from shared.errors import Unavailable


class ChildFailed(Unavailable):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the {name} child did not end well: {why}")
        self.name, self.why = name, why


class Children:
    """At most `most` run at once; others wait in the order in which they were asked for."""

    def __init__(self, turns: Turns, *, most: int = 4, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._turns, self._most, self._monotonic_s = turns, most, monotonic_s
        self._running: dict[int, ShortLived] = {}
        self._waiting: list[Callable[[], None]] = []
        self._leaving: list[ShortLived] = []  # killed and not gone yet

    @property
    def running(self) -> int:
        return len(self._running)

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
        """Have `done` called with what the child printed, or `failed` with why it did not end well."""

        def start() -> None:
            try:
                child = ShortLived(
                    command, given=given, most_bytes=most_bytes, timeout_s=timeout_s, now_s=self._monotonic_s()
                )
            except OSError as exc:
                failed(ChildFailed(name, exc.strerror or "it cannot be started"))
                return
            descriptor = child.fileno()
            self._running[descriptor] = child

            def step() -> None:
                answered = child.step(self._monotonic_s())
                if answered is None:
                    return
                self._let_go(descriptor)
                try:
                    if answered.why:
                        failed(ChildFailed(name, answered.why))
                    else:
                        done(answered.output)
                finally:
                    self._start_waiting()

            self._turns.watch(descriptor, step)
            self._turns.every(_timer(descriptor), timeout_s, step)

        self._waiting.append(start)
        self._start_waiting()

    def stop(self) -> None:
        """End all of them; nobody is told."""
        self._waiting.clear()
        for descriptor, child in list(self._running.items()):
            child.end()
            self._let_go(descriptor)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._most:
            start = self._waiting.pop(0)
            try:
                start()
            except BaseException:
                # Of whoever was told that it cannot be started; the others wait for nothing that could still come.
                self._start_waiting()
                raise

    def _let_go(self, descriptor: int) -> None:
        child = self._running.pop(descriptor)
        self._leaving = [each for each in (*self._leaving, child) if not each.is_gone]
        self._turns.forget(descriptor)
        self._turns.cancel(_timer(descriptor))


def _timer(descriptor: int) -> str:
    return f"child-{descriptor}"

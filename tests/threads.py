"""An agent, or one part of it, that runs beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Running(Protocol):
    def run(self, stop: threading.Event) -> None: ...


_R = TypeVar("_R", bound=Running)


@contextmanager
def in_thread(one: _R, wake: Callable[[], None] = lambda: None) -> Iterator[_R]:
    """Run `one` in a thread until the block ends, then hold it to ending soon; `wake` is what rings its bell."""
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        yield one
    finally:
        stop.set()
        wake()
        thread.join(30)
        assert not thread.is_alive()

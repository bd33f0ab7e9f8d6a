"""A request of the demo's modality gets its answer, and the association's own thread does not."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from provisioning.demo.reactor import Checkpoint


@pytest.mark.parametrize("kind, stands", [(Checkpoint, True), (threading.Event, False)])
def test_who_pauses_the_thread_goes_on_once_it_stands(kind: type[threading.Event], stands: bool) -> None:
    """The control is what pynetdicom brings: there the thread, which had just looked, is still under way."""
    checkpoint, at_it, has_looked, goes_on, over = kind(), *(threading.Event() for _ in range(4))
    checkpoint.set()

    def thread() -> None:
        while not over.is_set():
            at_it.set()
            checkpoint.wait()
            at_it.clear()
            has_looked.set()
            goes_on.wait(30)

    def pause() -> bool:
        checkpoint.clear()
        return at_it.is_set()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(thread)
        assert has_looked.wait(30)
        paused = pool.submit(pause)
        if stands:
            goes_on.set()
        try:
            assert paused.result(30) == stands
        finally:
            over.set()
            goes_on.set()
            checkpoint.set()

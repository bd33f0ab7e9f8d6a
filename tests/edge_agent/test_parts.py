"""The supervisor: a part that dies is started again, and a stop reaches all of them."""

import threading

from edge_agent.parts import Bell, Supervisor
from tests.fakes.log import MemoryLog


class Fragile:
    """A part that dies the first time."""

    name = "fragile"

    def __init__(self) -> None:
        self.bell, self.runs, self.second = Bell(), 0, threading.Event()

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ValueError("DOE^JANE")
        self.second.set()
        while not stop.is_set():
            self.bell.sleep()


def test_a_part_that_dies_is_started_again_with_a_log_line_that_quotes_nothing() -> None:
    log, part = MemoryLog(), Fragile()
    supervisor = Supervisor(log, spread=lambda: -0.98)
    supervisor.start(part)
    came_back = part.second.wait(60)
    supervisor.stop()

    assert came_back
    assert log.names() == ["task.failed", "part.restarts"]
    assert log.events[0][1]["why"] == "ValueError"
    assert "DOE" not in str(log.events)


def test_a_ring_while_busy_is_kept_for_the_next_sleep() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    bell.sleep(60)

    woken = threading.Event()

    def sleeper() -> None:
        bell.sleep(60)
        woken.set()

    thread = threading.Thread(target=sleeper)
    thread.start()
    assert not woken.wait(0.05)
    bell.ring()
    assert woken.wait(60)
    thread.join()

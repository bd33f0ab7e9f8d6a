import os
import selectors
from collections.abc import Iterator

import pytest

from edge_agent.turns import Turns
from tests.fakes.log import MemoryLog


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def turns(seconds: Seconds) -> Iterator[Turns]:
    with selectors.DefaultSelector() as selector:
        yield Turns(MemoryLog(), selector, seconds)


def test_what_is_due_is_done_and_due_again(turns: Turns, seconds: Seconds) -> None:
    done: list[float] = []
    turns.every("work", 10.0, lambda: done.append(seconds.now))

    for now in (10.0, 20.0):
        seconds.now = now
        turns.take()

    assert done == [10.0, 20.0]


def test_a_date_can_be_brought_forward_and_never_put_off(turns: Turns, seconds: Seconds) -> None:
    done: list[float] = []
    turns.every("work", 10.0, lambda: done.append(seconds.now))
    turns.once_within("work", 3.0)
    turns.once_within("work", 8.0)

    seconds.now = 3.0
    turns.take()

    assert done == [3.0]


def test_an_error_in_one_piece_of_work_stops_no_other(turns: Turns, seconds: Seconds) -> None:
    reading, writing = os.pipe()
    done: list[str] = []
    turns.watch(reading, lambda: 1 / 0)
    turns.every("broken", 1.0, lambda: 1 / 0)
    turns.every("sound", 1.0, lambda: done.append("sound"))
    os.write(writing, b"x")

    seconds.now = 1.0
    turns.take()

    assert done == ["sound"]
    os.close(reading)
    os.close(writing)


class Hopeless(Exception):
    pass


def hopeless() -> None:
    raise Hopeless


@pytest.mark.parametrize("by_a_reader", [True, False])
def test_an_error_that_no_other_turn_mends_ends_the_turns(seconds: Seconds, by_a_reader: bool) -> None:
    reading, writing = os.pipe()
    done: list[str] = []
    with selectors.DefaultSelector() as selector:
        turns = Turns(MemoryLog(), selector, seconds, fatal=(Hopeless,))
        if by_a_reader:
            turns.watch(reading, hopeless)
            os.write(writing, b"x")
        else:
            turns.every("hopeless", 0.0, hopeless)
        turns.every("sound", 0.0, lambda: done.append("sound"))

        with pytest.raises(Hopeless):
            turns.run()

    assert done == ["sound"]
    os.close(reading)
    os.close(writing)


def test_turns_that_are_ended_with_an_error_raise_it(turns: Turns) -> None:
    turns.every("work", 0.0, lambda: turns.end(Hopeless("first")))
    turns.every("more", 0.0, lambda: turns.end(Hopeless("second")))

    with pytest.raises(Hopeless, match="first"):
        turns.run()

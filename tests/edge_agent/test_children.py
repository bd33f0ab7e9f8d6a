"""Children with real processes: whatever one does, the loop goes on and is told once."""

import selectors
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from edge_agent.children import ChildFailed, Children
from edge_agent.turns import Turns
from tests.fakes.log import MemoryLog

_DEADLINE_S = 60.0


@pytest.fixture
def turns() -> Iterator[Turns]:
    with selectors.DefaultSelector() as selector:
        yield Turns(MemoryLog(), selector)


class Told:
    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.failures: list[str] = []

    def __len__(self) -> int:
        return len(self.answers) + len(self.failures)


def run(turns: Turns, told: Told, children: Children, code: str, given: bytes = b"", timeout_s: float = 60.0) -> None:
    children.run(
        "test",
        [sys.executable, "-c", code],
        given,
        timeout_s=timeout_s,
        most_bytes=1000,
        done=told.answers.append,
        failed=lambda exc: told.failures.append(str(exc)),
    )


def take_until(turns: Turns, done: Callable[[], bool]) -> None:
    turns.every("tick", 0.05, lambda: None)
    deadline = time.monotonic() + _DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        turns.take()


def test_a_child_is_given_its_input_and_its_answer_is_passed_on(turns: Turns) -> None:
    told = Told()

    run(turns, told, Children(turns), "import sys; print(sys.stdin.read()[::-1], end='')", b"abc")
    take_until(turns, lambda: len(told) == 1)

    assert told.answers == [b"cba"]


@pytest.mark.parametrize(
    "code, why",
    [
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9"),
        ("while True: print('x' * 100)", "ended with code 1"),
        ("import time; time.sleep(60)", "did not answer within"),
    ],
)
def test_a_child_that_does_not_end_well_has_failed(turns: Turns, code: str, why: str) -> None:
    told, children, timeout_s = Told(), Children(turns), 1.0 if "sleep" in code else 60.0

    run(turns, told, children, code, timeout_s=timeout_s)
    take_until(turns, lambda: len(told) == 1)

    assert told.answers == []
    assert why in told.failures[0]
    take_until(turns, lambda: all(child.is_gone for child in children._leaving))


def test_a_program_that_is_not_there_is_told_at_once(turns: Turns) -> None:
    failures: list[str] = []

    Children(turns).run(
        "test", ["/nowhere"], timeout_s=1, most_bytes=1, done=print, failed=lambda exc: failures.append(str(exc))
    )

    assert "No such file" in failures[0]


def test_no_more_run_at_once_than_are_allowed_and_all_have_their_turn(turns: Turns) -> None:
    told, children = Told(), Children(turns, most=2)

    for _ in range(7):
        run(turns, told, children, "print('done', end='')")
        assert children.running <= 2
    take_until(turns, lambda: len(told) == 7)

    assert told.answers == [b"done"] * 7


@pytest.mark.parametrize("program", [sys.executable, "/nowhere"])
def test_an_error_of_whoever_is_told_keeps_no_other_child_from_its_turn(turns: Turns, program: str) -> None:
    told, children = Told(), Children(turns, most=1)
    run(turns, told, children, "print('first', end='')")
    for _ in range(2):
        children.run("test", [program, "-c", ""], timeout_s=60, most_bytes=10, done=broken, failed=broken)
    run(turns, told, children, "print('last', end='')")

    take_until(turns, lambda: len(told) == 2)

    assert told.answers == [b"first", b"last"]


def broken(_told: bytes | ChildFailed) -> None:
    raise RuntimeError("a bug of whoever asked")


def test_what_still_runs_at_the_end_is_killed(turns: Turns) -> None:
    told, children = Told(), Children(turns)
    run(turns, told, children, "import time; time.sleep(60)")
    (child,) = children._running.values()

    children.stop()
    deadline = time.monotonic() + _DEADLINE_S
    while not child.is_gone:
        assert time.monotonic() < deadline

    assert len(told) == 0

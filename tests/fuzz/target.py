"""What a fuzz target is, and the one rule for all of them: bytes from outside bring a value or an error of ours."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from shared.errors import IntegrityFailure, Refused, Unavailable

OURS = (Refused, IntegrityFailure, Unavailable)
# Of the process's own time, as a busy machine takes many times as long. No input tried here takes a thousandth of it.
HANG_S = 30


class Hang(Exception):
    """An input that the code does not come back from."""


@dataclass(frozen=True)
class Target:
    """`read` takes any bytes and raises what the parsers under test raise; `seeds` are valid messages to start from.

    It also asserts what has to hold of a value that was read. Anything but an error of ours is a finding.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]

    def try_one(self, data: bytes) -> bool:
        """Return whether `data` was read. Raises whatever is a finding."""
        try:
            self.read(data)
        except OURS:
            return False
        return True


@contextmanager
def coming_back() -> Iterator[None]:
    """Raise Hang in what calculates for HANG_S. For the main thread only."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, on_alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

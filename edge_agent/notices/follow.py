"""Waits for notices that were not shown yet."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from edge_agent.notices.board import read
from edge_agent.notices.notice import MAX_NOTICES, Notice
from shared.errors import Malformed

EVERY_S = 1.0


class Follower:
    """Gives each notice once, those that were there before it began only where `from_start` says so.

    A notice is known by number and time, since the numbers begin anew with the machine.
    """

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self._path = path
        self._shown: dict[tuple[int, datetime], None] = {}
        if not from_start:
            self.new()

    def new(self) -> list[Notice]:
        """Raises NoticesUnavailable."""
        try:
            notices = read(self._path)
        except Malformed:
            return []  # written by another version; what it says next may be for us
        new = [notice for notice in notices if (notice.number, notice.told.time) not in self._shown]
        for notice in new:
            self._shown[notice.number, notice.told.time] = None
        while len(self._shown) > 2 * MAX_NOTICES:
            del self._shown[next(iter(self._shown))]
        return new


def follow(follower: Follower, wait: Callable[[float], object]) -> Iterator[Notice]:
    """Yield notices as they come, without end. Raises NoticesUnavailable."""
    while True:
        yield from follower.new()
        wait(EVERY_S)

"""Segments are written in advance, few on a small disk, one at a time, and not while somebody sends."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge_agent.spool.entry import BLOCK_BYTES
from edge_agent.spool.keeper import MOST_SPARES, SpoolKeeper, make_room, spares_for
from edge_agent.spool.segments import SEGMENT_BYTES, Segments
from edge_agent.spool.spool import RESERVE_BYTES
from tests.fakes.log import MemoryLog
from tests.threads import in_thread

SMALL_BYTES = 4 * BLOCK_BYTES
ROOM_FOR_TWO = RESERVE_BYTES + 2 * 50 * SEGMENT_BYTES


class Looked:
    """Free room on a disk, and how often the keeper asked for it: once for each look that finds nobody sending."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes, self.times, self._changed = free_bytes, 0, threading.Condition()

    def __call__(self) -> int:
        with self._changed:
            self.times += 1
            self._changed.notify_all()
        return self.free_bytes

    def wait_for(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.times >= times, 60)


def spares(folder: Path) -> int:
    return sum(path.name.startswith("spare-") for path in folder.iterdir())


def running(keeper: SpoolKeeper) -> AbstractContextManager[SpoolKeeper]:
    return in_thread(keeper, keeper.bell.ring)


@pytest.mark.parametrize(
    "free_bytes, most",
    [
        (0, 0),
        (RESERVE_BYTES, 0),
        (RESERVE_BYTES + 50 * SEGMENT_BYTES - 1, 0), (RESERVE_BYTES + 50 * SEGMENT_BYTES, 1),
        (ROOM_FOR_TWO, 2), (1 << 50, MOST_SPARES),
    ],
)  # fmt: skip
def test_a_small_disk_gives_little_room_in_advance(free_bytes: int, most: int) -> None:
    assert spares_for(free_bytes) == most


def test_one_is_written_at_a_look_until_there_are_enough(tmp_path: Path) -> None:
    keeper = SpoolKeeper(Segments(tmp_path, segment_bytes=SMALL_BYTES), lambda: ROOM_FOR_TWO, MemoryLog())

    assert (keeper.step(), spares(tmp_path)) == (True, 1)
    assert (keeper.step(), spares(tmp_path)) == (False, 2)
    assert (keeper.step(), spares(tmp_path)) == (False, 2)


def test_none_is_written_at_once_nor_while_somebody_sends(tmp_path: Path) -> None:
    segments, looked = Segments(tmp_path, segment_bytes=SMALL_BYTES), Looked(ROOM_FOR_TWO)
    keeper = SpoolKeeper(segments, looked, MemoryLog())
    is_written_to = iter(range(1, 1000))

    class Busy(Segments):
        @property
        def written(self) -> int:
            return next(is_written_to)

        @written.setter
        def written(self, _count: int) -> None: ...

    busy = SpoolKeeper(Busy(tmp_path, segment_bytes=SMALL_BYTES), looked, MemoryLog())
    with running(busy):
        for _ in range(20):
            busy.bell.ring()
    assert (looked.times, spares(tmp_path)) == (0, 0)

    with running(keeper):
        while looked.times < 2:
            keeper.bell.ring()
    assert spares(tmp_path) == 2


def test_a_disk_that_takes_none_is_named_and_looked_at_again_later(tmp_path: Path) -> None:
    folder, log, looked = tmp_path / "segments", MemoryLog(), Looked(ROOM_FOR_TWO)
    keeper = SpoolKeeper(Segments(folder, segment_bytes=SMALL_BYTES), looked, log)
    folder.rmdir()
    with running(keeper):
        while not log.events:
            keeper.bell.ring()
            looked.wait_for(1)
    assert log.events[0][0] == "spool.no-spare"


def test_on_a_disk_below_the_reserve_they_are_given_up_at_a_look_and_before_a_start(tmp_path: Path) -> None:
    looked = Looked(ROOM_FOR_TWO)
    keeper = SpoolKeeper(Segments(tmp_path / "segments", segment_bytes=SMALL_BYTES), looked, MemoryLog())
    keeper.step()
    make_room(tmp_path, RESERVE_BYTES)
    assert spares(tmp_path / "segments") == 1
    looked.free_bytes = RESERVE_BYTES - 1

    assert keeper.step() is False
    assert spares(tmp_path / "segments") == 0
    looked.free_bytes = ROOM_FOR_TWO
    keeper.step()
    make_room(tmp_path, RESERVE_BYTES - 1)
    assert spares(tmp_path / "segments") == 0

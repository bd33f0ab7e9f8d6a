"""Writes spare segments in advance while nobody sends."""

import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.backoff import delay_s
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.spool.segments import SEGMENT_BYTES, Segments
from edge_agent.spool.spool import RESERVE_BYTES
from shared.errors import Unavailable

MOST_SPARES = 16
_SHARE_OF_FREE = 50  # of what is free, one part in so many is written in advance at the most
_QUIET_S, _LOOK_EVERY_S = 1.0, 30.0


def spares_for(free_bytes: int) -> int:
    """Return how many spare segments a disk with so much room is to have."""
    return max(min(MOST_SPARES, (free_bytes - RESERVE_BYTES) // _SHARE_OF_FREE // SEGMENT_BYTES), 0)


def make_room(spool: Path, free_bytes: int) -> None:
    """Give up what was written in advance where less than the reserve is free, before a database is opened there.

    Raises OSError.
    """
    if free_bytes < RESERVE_BYTES:
        for spare in (spool / "segments").glob("spare-*"):
            spare.unlink()


class SpoolKeeper:
    """A part of the agent. `free_bytes` gives the room on the spool's disk."""

    name = "spool-keeper"

    def __init__(self, segments: Segments, free_bytes: Callable[[], int], log: Log) -> None:
        self._segments, self._free_bytes, self._log = segments, free_bytes, log
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        failures, written = 0, -1
        while not stop.is_set():
            # While somebody sends, disk and processor are theirs; a fresh segment is then made without being written.
            # Otherwise one a second: half a gigabyte at once would be felt by whatever else this host does.
            is_quiet, written = self._segments.written == written, self._segments.written
            try:
                wants_more = self.step() if is_quiet else True
                failures = 0
            except Unavailable as exc:
                failures += 1
                self._log.event("spool.no-spare", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, 1.0))
                continue
            self.bell.sleep(_QUIET_S if wants_more else _LOOK_EVERY_S)

    def step(self) -> bool:
        """Write one spare if one is wanted; return whether more are. Raises SpoolUnavailable.

        Below the reserve they are given up: the journal needs the room, also while no image comes in.
        """
        free_bytes = self._free_bytes()
        self._segments.spares = spares_for(free_bytes)
        if free_bytes < RESERVE_BYTES:
            self._segments.drop_spares()
        if not self._segments.needs_spare():
            return False
        self._segments.prepare()
        return self._segments.needs_spare()

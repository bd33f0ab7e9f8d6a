"""Witnesses are shown one checkpoint for a while, and never an older one after a newer."""

from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.witnesses.rounds import Rounds
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.tlog.checkpoint import claimed_head
from tests.control_plane.vault.bench import Bench


class Log:
    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.rounds = Rounds(self.bench.database, self.bench.clock, 600)

    def size_after(self, seconds: float, more: int) -> int:
        """Return what is shown once time went by and the log grew."""
        self.bench.clock.advance(timedelta(seconds=seconds))
        for _ in range(more):
            self.bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
        return claimed_head(self.rounds.current().note).size


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_the_same_checkpoint_is_shown_for_ten_minutes_and_by_another_worker_too(log: Log) -> None:
    sizes = [log.size_after(*step) for step in ((0, 2), (599, 3), (1, 0), (30, 4), (600, 0))]

    assert sizes == [2, 2, 5, 5, 9]
    other = Rounds(log.bench.database, log.bench.clock, 600)
    assert claimed_head(other.current().note).size == 9


def test_a_clock_that_was_put_back_shows_no_older_head_afterwards(log: Log) -> None:
    sizes = [log.size_after(*step) for step in ((0, 2), (-3600, 3), (300, 1), (3300, 0), (10, 0))]

    assert sizes == sorted(sizes)

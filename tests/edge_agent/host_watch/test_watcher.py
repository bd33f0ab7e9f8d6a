"""The watcher with a child that answers what a test says, in a process of its own."""

import selectors
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.children import Children
from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal
from edge_agent.host_watch import answer
from edge_agent.host_watch.watcher import HostWatcher
from edge_agent.turns import Turns
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.watch import WatchPolicy
from shared.fleet.devices import Finding, FindingState
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.shared.made import NOW

POLICY = WatchPolicy(60, encrypted=("/srv",))
PLAIN = Finding("disk-encryption", FindingState.FOUND, "/srv: plain disk", NOW)
FINE = Finding("disk-encryption", FindingState.FINE, "/srv: encrypted disk", NOW)


class Bench:
    """`said` is what the child prints; it is read anew by each child."""

    def __init__(self, folder: Path, turns: Turns, database: Database) -> None:
        self.said, self.turns = folder / "said", turns
        self.journal = GuardJournal(database, FakeClock())
        self.children = Children(turns)
        program = f"import sys; sys.stdin.read(); sys.stdout.write(open({str(self.said)!r}).read())"
        self.watcher = HostWatcher(
            self.children, turns, self.journal, FakeClock(), MemoryLog(), sidecar=False,
            command=[sys.executable, "-c", program],
        )  # fmt: skip

    def says(self, *findings: Finding) -> None:
        self.said.write_bytes(answer.encode(findings))

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while self.children.running:
            assert time.monotonic() < deadline
            self.turns.take()

    def recorded(self) -> list[tuple[str, str, int]]:
        records = [GuardRecord.parse(line) for line in self.journal.after(0, 100)]
        assert all(record.event is GuardEvent.FINDING for record in records)
        return [(record.subject, record.fields["state"], record.outcome) for record in records]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with selectors.DefaultSelector() as selector, closing(Database(tmp_path / "guard.db")) as database:
        yield Bench(tmp_path, Turns(MemoryLog(), selector), database)


def test_looks_at_once_and_records_what_is_found_once(bench: Bench) -> None:
    bench.says(PLAIN)
    bench.watcher.follow(POLICY)
    bench.wait()
    bench.watcher.look()
    bench.wait()

    assert bench.watcher.findings == (PLAIN,)
    assert bench.recorded() == [("disk-encryption", "found", 8)]


def test_records_that_it_is_fine_again(bench: Bench) -> None:
    for finding in (FINE, PLAIN, FINE, FINE):
        bench.says(finding)
        bench.watcher.follow(POLICY)
        bench.watcher.look()
        bench.wait()

    assert bench.recorded() == [("disk-encryption", "found", 8), ("disk-encryption", "fine", 0)]


def test_a_child_that_ends_badly_leaves_nothing_fine(bench: Bench) -> None:
    bench.says(FINE)
    bench.watcher.follow(POLICY)
    bench.wait()
    bench.said.unlink()
    bench.watcher.look()
    bench.wait()

    assert [(f.check, f.state) for f in bench.watcher.findings] == [("disk-encryption", FindingState.NOT_EVALUATED)]
    assert "it ended with code 1" in bench.watcher.findings[0].detail
    assert bench.recorded() == [("disk-encryption", "not evaluated", 4)]


def test_an_answer_that_is_none_leaves_nothing_fine(bench: Bench) -> None:
    bench.said.write_bytes(b'{"findings":[],"v":2}')
    bench.watcher.follow(POLICY)
    bench.wait()

    assert [finding.state for finding in bench.watcher.findings] == [FindingState.NOT_EVALUATED]


def test_without_a_watch_policy_nothing_is_shown(bench: Bench) -> None:
    bench.says(PLAIN)
    bench.watcher.follow(POLICY)
    bench.wait()
    bench.watcher.follow(None)

    assert bench.watcher.findings == ()

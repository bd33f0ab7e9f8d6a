"""What agent and guard take, as the kernel counts it, ends up in report and status; what is not counted says why."""

import shutil
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.database import Database
from edge_agent.examination import Examination
from edge_agent.health.budget import BudgetWatch
from edge_agent.health.cgroup import SliceFiles
from edge_agent.health.local import read_status
from shared.fleet.budget import BudgetState, NotCounted, Spent, Stalled, Verdict, judge
from tests.edge_agent.health.slices import FakeSlice
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.fakes.log import MemoryLog

_LOOK_S, _IMAGE_BYTES = 5.0, 512 << 10


class Watched:
    """A host on a clock of its own: each image costs `busy_ms` of processor time, and each quiet second `idle_us`."""

    def __init__(self, folder: Path, database: Database, busy_ms: int = 4, idle_us: int = 2_000) -> None:
        folder.mkdir(exist_ok=True)
        self.files, self.now_s = FakeSlice(folder), 1000.0
        self.examination = Examination(lambda: self.now_s)
        self.database, self.log, self.waits = database, MemoryLog(), False
        self._busy_ms, self._idle_us, self._cpu_us = busy_ms, idle_us, 0
        self.watch = BudgetWatch(
            SliceFiles(self.files.root, self.files.own).read,
            self.examination,
            lambda: self.waits,
            database=self.database,
            log=self.log,
            monotonic=lambda: self.now_s,
        )
        self.watch.look()

    def captures(self, seconds: float) -> None:
        for _ in range(int(seconds / _LOOK_S)):
            for _ in range(int(10 * _LOOK_S)):
                self.examination.image_begins()
                self.examination.image_ends(_IMAGE_BYTES)
                self.now_s += 0.1
            self._looks(1000 * int(10 * _LOOK_S) * self._busy_ms)

    def does_nothing(self, seconds: float) -> None:
        for _ in range(int(seconds / _LOOK_S)):
            self.now_s += _LOOK_S
            self._looks(int(_LOOK_S * self._idle_us))

    def _looks(self, cpu_us: int) -> None:
        self._cpu_us += cpu_us
        self.files.takes(cpu_us=self._cpu_us)
        self.watch.look()

    def found(self) -> BudgetState:
        budget = self.watch.budget()
        assert isinstance(budget, BudgetState)
        return budget


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "host", Database(tmp_path / "agent.sqlite"))


def test_an_examination_and_a_quiet_hour_are_told_apart(watched: Watched) -> None:
    watched.captures(60)
    watched.does_nothing(300)

    found = watched.found()
    assert found.capturing is not None
    assert (found.capturing.percent, found.capturing.images_a_second) == pytest.approx((4.0, 10.0), rel=0.05)
    assert found.idle is not None
    assert found.idle.percent == pytest.approx(0.2)
    assert judge(found).verdict is Verdict.WITHIN
    assert (found.memory_bytes, found.most_bytes) == (98 << 20, 98 << 20), "without what is cached"
    assert (found.agent_bytes, found.guard_bytes) == (70 << 20, 28 << 20)
    assert (found.held_back, found.killed, found.limit_bytes) == (3, 0, 150 << 20)
    assert found.stalled == Stalled(1234, 1234, 1234)


def test_what_takes_more_while_capturing_is_exceeded(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "host", Database(tmp_path / "agent.sqlite"), busy_ms=6)
    watched.captures(60)
    watched.does_nothing(300)

    assert judge(watched.found()).verdict is Verdict.EXCEEDED
    assert [fields["verdict"] for name, fields in watched.log.events if name == "budget"] == ["exceeded"]


def test_what_takes_more_while_nothing_happens_is_exceeded(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "host", Database(tmp_path / "agent.sqlite"), idle_us=6_000)
    watched.does_nothing(300)

    assert judge(watched.found()).verdict is Verdict.EXCEEDED


def test_catching_up_is_neither_idle_nor_an_examination(watched: Watched) -> None:
    watched.waits = True
    watched.does_nothing(600)

    assert (watched.found().capturing, watched.found().idle) == (None, None)


def test_the_most_is_remembered_when_it_is_less_again(watched: Watched) -> None:
    watched.files.takes(cpu_us=0, agent_mib=130)
    watched.watch.look()
    watched.files.takes(cpu_us=0)
    watched.watch.look()

    assert (watched.found().memory_bytes, watched.found().most_bytes) == (98 << 20, 158 << 20)
    assert judge(watched.found()).verdict is Verdict.EXCEEDED


def test_what_this_kernel_does_not_count_says_why(watched: Watched, tmp_path: Path) -> None:
    watched.files.remove("memory.pressure")
    watched.files.remove("memory.peak")
    shutil.rmtree(watched.files.guard)
    watched.watch.look()
    assert (watched.found().stalled, watched.found().peak_bytes, watched.found().guard_bytes) == (None, 0, None)

    watched.files.remove("memory.current")
    watched.watch.look()
    assert watched.watch.budget() == NotCounted("memory is not accounted for in leadglass-host.slice")
    watched.files.own.write_text("0::/user.slice/session-1.scope\n")
    watched.watch.look()
    assert watched.watch.budget() == NotCounted("this agent does not run in leadglass-host.slice")
    (watched.files.root / "cgroup.controllers").unlink()
    watched.watch.look()
    assert watched.watch.budget() == NotCounted("no cgroup v2")


def test_status_shows_what_an_agent_found_last(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_agent.__main__ import main

    assert judge(read_status(enrolled).budget).line() == "not evaluated: no agent has looked yet"
    enrolled.database.parent.mkdir(exist_ok=True)
    watched = Watched(tmp_path / "host", Host(enrolled.database.parent, keys=centre.keys).database)
    watched.captures(60)
    watched.does_nothing(300)

    found = read_status(enrolled).budget
    assert isinstance(found, BudgetState)
    assert isinstance(found.capturing, Spent)
    assert main(["status", "--data", str(enrolled.path)]) == 0
    assert "budget               within: 98 of 150 MiB at the most" in capsys.readouterr().out
    assert read_status(enrolled).json()["budget"]["verdict"] == "within"  # type: ignore[call-overload,index]

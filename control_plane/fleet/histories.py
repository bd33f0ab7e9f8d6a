"""Tells from a host's reports whether its machine goes on, or another history of it has begun.

A host names its *run* in each report, which it draws anew at each start of its agent; numbers rise across runs. Reports
may come late, twice, or not at all, and clocks may be wrong by any amount, so only these prove another history:

    restored  a new run begins, and is no old report, at a number that was given before: its disk was put back
    cloned    a run goes on after another one has begun: two machines have one identity. Or one number of one run was
              given to two reports

When a report was made is its own time less what its run's clock is ahead of the centre's: the least that any of its
reports came after its time. A report that a broker held back was made before it, and no run is taken for alive by it.

Not found: a disk that was put back and whose agent gave more numbers to reports that nobody took than it had lost.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.fleet.reports import Report
from shared import clock
from shared.canonical import Json
from shared.fields import Fields
from shared.fleet.state import RUN_PATTERN, HostState

MOST_RUNS = 8
_TOLERANCE, _TOLERANCE_MS = timedelta(minutes=1), 60_000
_MOST_AHEAD_MS = 100 * 365 * 86_400_000


class History(StrEnum):
    GOES_ON = "goes on"
    REPEATED = "repeated"  # nothing new: the broker may have held it back, or given it twice
    RESTORED = "restored"
    CLONED = "cloned"


@dataclass(frozen=True)
class Run:
    """`began` is when its first report came, `last` the highest number of its reports.

    `ahead_ms` is how far its clock is ahead of the centre's, by the report that came soonest.
    """

    name: str
    began: datetime
    last: int
    ahead_ms: int

    def after(self, state: HostState, received: datetime) -> "Run":
        return replace(self, last=state.number, ahead_ms=max(self.ahead_ms, _ahead_ms(state, received)))

    def json(self) -> dict[str, Json]:
        return {"name": self.name, "began": clock.text(self.began), "last": self.last, "ahead_ms": self.ahead_ms}

    @classmethod
    def parse(cls, value: Json) -> "Run":
        """Raises Malformed."""
        fields = Fields(value, "run of a host")
        run = cls(
            fields.text("name", RUN_PATTERN),
            fields.instant("began"),
            fields.integer("last", least=1),
            fields.integer("ahead_ms", least=-_MOST_AHEAD_MS, most=_MOST_AHEAD_MS),
        )
        fields.done()
        return run


@dataclass(frozen=True)
class Known:
    """What is known of a host's reports: the one that came last, and its runs in their order."""

    last: Report | None = None
    runs: tuple[Run, ...] = ()

    @property
    def number(self) -> int:
        return self.last.outline.number if self.last is not None else 0


def follow(known: Known, report: Report, received: datetime) -> tuple[History, tuple[Run, ...]]:
    """Return what `report`, which came at `received`, says beside what is known; and the runs known from now on."""
    runs, state = known.runs, report.outline
    if not state.run:  # an agent of an earlier version
        return (History.GOES_ON if state.number > known.number else History.REPEATED), runs
    place = next((place for place, run in enumerate(runs) if run.name == state.run), None)
    if place is None:
        return _begun(known, state, received)
    run, later = runs[place], runs[place + 1 :]
    if state.number <= run.last:
        return (History.CLONED if _is_another(known.last, report) else History.REPEATED), runs
    made = state.time - timedelta(milliseconds=run.ahead_ms)
    if later and made <= later[0].began + _TOLERANCE:
        return History.REPEATED, runs  # it was made before the next run began, and was only held back
    noted = (*runs[:place], run.after(state, received), *later)
    return (History.CLONED if later else History.GOES_ON), noted


def _begun(known: Known, state: HostState, received: datetime) -> tuple[History, tuple[Run, ...]]:
    run = Run(state.run, received, state.number, _ahead_ms(state, received))
    runs = (*known.runs, run)[-MOST_RUNS:]
    if state.number > known.number:
        return History.GOES_ON, runs
    # By its machine's clock as it was known last, or by a right one; else it is of a run that is forgotten by now.
    clocks = [known.runs[-1].ahead_ms] if known.runs else []
    if not any(abs(run.ahead_ms - ahead_ms) <= _TOLERANCE_MS for ahead_ms in (*clocks, 0)):
        return History.REPEATED, known.runs
    return History.RESTORED, runs


def _is_another(known: Report | None, report: Report) -> bool:
    """Return whether two reports have one number of one run, and do not say the same."""
    if known is None or known.sha256 == report.sha256:
        return False
    return (known.outline.run, known.outline.number) == (report.outline.run, report.outline.number)


def _ahead_ms(state: HostState, received: datetime) -> int:
    ahead_ms = round((state.time - received) / timedelta(milliseconds=1))
    return min(max(ahead_ms, -_MOST_AHEAD_MS), _MOST_AHEAD_MS)

"""Tells from a host's reports whether its machine goes on, or another history of it has begun.

A host names its *run* in each report, which it draws anew at each start of its agent; numbers rise across runs. Reports
may come late, twice, or not at all, so only these prove another history:

    restored  a new run begins, later by its own clock, at a number that was given before: its disk was put back
    cloned    a run goes on, later by its own clock, after another one has begun: two machines have one identity
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from shared import clock
from shared.canonical import Json
from shared.fields import Fields
from shared.fleet.state import RUN_PATTERN, HostState

MOST_RUNS = 8


class History(StrEnum):
    GOES_ON = "goes on"
    REPEATED = "repeated"  # nothing new: the broker may have held it back, or given it twice
    RESTORED = "restored"
    CLONED = "cloned"


@dataclass(frozen=True)
class Run:
    """`began` is the time in its first report, by the host's own clock, `last` the highest number of its reports."""

    name: str
    began: datetime
    last: int

    def json(self) -> dict[str, Json]:
        return {"name": self.name, "began": clock.text(self.began), "last": self.last}

    @classmethod
    def parse(cls, value: Json) -> "Run":
        """Raises Malformed."""
        fields = Fields(value, "run of a host")
        run = cls(fields.text("name", RUN_PATTERN), fields.instant("began"), fields.integer("last", least=1))
        fields.done()
        return run


@dataclass(frozen=True)
class Known:
    """What is known of a host's reports: the number and time of the one that came last, and its runs in their order."""

    number: int = 0
    time: datetime | None = None
    runs: tuple[Run, ...] = ()


def follow(known: Known, state: HostState) -> tuple[History, tuple[Run, ...]]:
    """Return what `state` says beside what is known, and the runs that are known from now on."""
    runs = known.runs
    if not state.run:  # an agent of an earlier version
        return (History.GOES_ON if state.number > known.number else History.REPEATED), runs
    place = _place(runs, state.run)
    if place is None:
        return _begun(known, state)
    if state.number <= runs[place].last:
        return History.REPEATED, runs
    later = runs[place + 1 :]
    if later and state.time <= later[0].began:
        return History.REPEATED, runs  # it was made before the next run began, and was only held back
    noted = (*runs[:place], replace(runs[place], last=state.number), *later)
    return (History.CLONED if later else History.GOES_ON), noted


def _begun(known: Known, state: HostState) -> tuple[History, tuple[Run, ...]]:
    runs = (*known.runs, Run(state.run, state.time, state.number))[-MOST_RUNS:]
    if state.number > known.number:
        return History.GOES_ON, runs
    if known.time is None or state.time <= known.time:
        return History.REPEATED, known.runs
    return History.RESTORED, runs


def _place(runs: Sequence[Run], name: str) -> int | None:
    return next((place for place, run in enumerate(runs) if run.name == name), None)

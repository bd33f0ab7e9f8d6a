"""Watches what agent and guard take of the host, while an examination runs and while nothing happens."""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.database import Database
from edge_agent.examination import Examination, Taken
from edge_agent.health.cgroup import NotCountedHere, Reading
from edge_agent.log import Log
from edge_agent.parts import Bell
from shared import canonical
from shared.errors import Malformed
from shared.fields import Fields
from shared.fleet.budget import (
    CAPTURING_MS,
    IDLE_MS,
    Budget,
    BudgetState,
    NotCounted,
    Spent,
    Verdict,
    judge,
    parse_budget,
)

_SCHEMA = "CREATE TABLE IF NOT EXISTS budget (one INTEGER PRIMARY KEY CHECK (one = 1), said BLOB NOT NULL) STRICT;"
_LOOK_EVERY_S = 5.0
_KEEP_EVERY_MS = 60_000
# A stretch so long is told of and another begins, so that what is said is of now and not of this morning.
_CAPTURING_MOST_MS, _IDLE_MOST_MS = 60_000, 600_000
NEVER_LOOKED = NotCounted("no agent has looked yet")


@dataclass(frozen=True)
class Moment:
    at_ms: int
    cpu_us: int
    taken: Taken


class Stretch:
    """Time over which something held at every look. `told` is the last one of at least `least_ms`."""

    def __init__(self, least_ms: int, most_ms: int) -> None:
        self._least_ms, self._most_ms = least_ms, most_ms
        self._since: Moment | None = None
        self.told: Spent | None = None

    def add(self, now: Moment, *, holds: bool) -> None:
        if not holds or self._since is None:
            self._since = now if holds else None
            return
        spent = _between(self._since, now)
        if spent.over_ms >= self._least_ms:
            self.told = spent
        if spent.over_ms >= self._most_ms:
            self._since = now


def _between(since: Moment, now: Moment) -> Spent:
    return Spent(
        (now.cpu_us - since.cpu_us) // 1000,
        now.at_ms - since.at_ms,
        now.taken.images - since.taken.images,
        now.taken.dataset_bytes - since.taken.dataset_bytes,
    )


class BudgetWatch:
    """A part of the agent. `read` is what the kernel counts; `is_waiting` says whether something is to be caught up."""

    name = "budget"

    def __init__(
        self,
        read: Callable[[], Reading],
        examination: Examination,
        is_waiting: Callable[[], bool],
        *,
        database: Database,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._examination, self._is_waiting = read, examination, is_waiting
        self._database, self._log, self._monotonic = database, log, monotonic
        self._capturing = Stretch(CAPTURING_MS, _CAPTURING_MOST_MS)
        self._idle = Stretch(IDLE_MS, _IDLE_MOST_MS)
        self._most_bytes, self._kept_ms = 0, -_KEEP_EVERY_MS
        self._verdict = Verdict.NOT_EVALUATED
        self._budget: Budget = NEVER_LOOKED
        self.bell = Bell()
        database.create(_SCHEMA)

    def budget(self) -> Budget:
        """Return what the last look found."""
        return self._budget

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look()
            self.bell.sleep(_LOOK_EVERY_S)

    def look(self) -> None:
        """Raises DatabaseUnavailable."""
        at_ms = int(1000 * self._monotonic())
        try:
            self._budget = self._seen(self._read(), at_ms)
        except NotCountedHere as exc:
            self._budget = NotCounted(exc.why)
        verdict = judge(self._budget).verdict
        if verdict is not self._verdict:
            self._log.event("budget", verdict=verdict.value)
        if verdict is not self._verdict or at_ms - self._kept_ms >= _KEEP_EVERY_MS:
            self._verdict, self._kept_ms = verdict, at_ms
            self._keep()

    def _seen(self, reading: Reading, at_ms: int) -> BudgetState:
        now = Moment(at_ms, reading.cpu_us, self._examination.taken())
        is_capturing = self._examination.is_running()
        self._capturing.add(now, holds=is_capturing)
        self._idle.add(now, holds=not is_capturing and not self._is_waiting())
        self._most_bytes = max(self._most_bytes, reading.memory_bytes)
        return BudgetState(
            memory_bytes=reading.memory_bytes,
            most_bytes=self._most_bytes,
            peak_bytes=reading.peak_bytes,
            limit_bytes=reading.limit_bytes,
            agent_bytes=reading.agent_bytes,
            guard_bytes=reading.guard_bytes,
            held_back=reading.held_back,
            killed=reading.killed,
            capturing=self._capturing.told,
            idle=self._idle.told,
            stalled=reading.stalled,
        )

    def _keep(self) -> None:
        said = canonical.encode(self._budget.json())
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO budget VALUES (1, ?) ON CONFLICT DO UPDATE SET said = excluded.said", (said,)
            )


def read_budget(connection: sqlite3.Connection) -> Budget:
    """Return what an agent found here last."""
    row = connection.execute("SELECT said FROM budget").fetchone()
    if row is None:
        return NEVER_LOOKED
    try:
        return parse_budget(Fields(canonical.parse(row[0], "budget"), "budget"))
    except Malformed:
        return NotCounted("what was kept of it is of another version")

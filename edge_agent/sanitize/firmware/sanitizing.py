"""A sanitize that a drive does by itself, whatever its protocol: started, watched, believed by the drive's word alone.

It cannot be stopped, goes on after the power was cut, and its commands return at once. So what counts is the drive's
status: it was seen at work, or its own log names this very run. An idle drive that answers "success" did nothing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, TypeAlias

from edge_agent.sanitize.drive import Watch
from shared.clock import Clock
from shared.errors import Malformed, Refused, Unavailable
from shared.sanitization.report import Step, StepOutcome

Held: TypeAlias = AbstractContextManager[object]

WHOLE = 1 << 16  # a drive counts its progress in 65536ths
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _SLOWER = 0.05, 10.0, 1.5
_UNHEARD = 10  # a drive may leave its status unanswered for a while when it is at work
_LEAST_LIMIT_S = 3600.0
_SLOWEST_BYTES_PER_S = 20_000_000


class State(Enum):
    IDLE = "idle"
    RUNNING = "running"
    FAILED = "failed"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Status:
    """What the drive says now. `record` is its log of the last sanitize that ended well, empty where it has none."""

    state: State
    progress: int = 0
    record: str = ""


class Sanitizer(Protocol):
    """One kind of sanitize on one drive."""

    def status(self) -> Status:
        """Raises Unavailable, Malformed."""

    def start(self) -> str:
        """Give the command; return why it was not taken, or nothing. Raises Unavailable."""

    def estimate_s(self) -> int | None:
        """Return how long it takes by the drive's own word. Raises Unavailable, Malformed."""

    def names(self, record: str) -> bool:
        """Return whether such a record is of this kind of sanitize."""

    def settle(self) -> None:
        """Have the kernel look at the drive again, now that it is done."""

    @property
    def keeps_log(self) -> bool:
        """Whether the drive keeps a record of what ended well; else only what was seen at work is known."""


def limit_s(estimate_s: int | None, size_bytes: int) -> float:
    """Three times what the drive says; where it says nothing, what a slow disk takes to be written."""
    if estimate_s is not None:
        return max(_LEAST_LIMIT_S, 3.0 * estimate_s)
    return _LEAST_LIMIT_S + size_bytes / _SLOWEST_BYTES_PER_S


class Sanitizing:
    """`alone` holds the drive for us alone while the command is given: nothing mounts it in between."""

    def __init__(
        self, sanitizer: Sanitizer, clock: Clock, pause: Callable[[float], None], alone: Callable[[], Held]
    ) -> None:
        self._sanitizer, self._clock, self._pause, self._alone = sanitizer, clock, pause, alone

    def begin(self, noted: Step) -> Step:
        """Return `noted` with what the drive said before. Raises Unavailable, Malformed."""
        before, estimate = self._sanitizer.status(), self._sanitizer.estimate_s()
        facts = {**noted.facts, "state_before": before.state.value, "record_before": before.record}
        return replace(noted, facts=facts if estimate is None else {**facts, "estimate_s": estimate})

    def run(self, noted: Step, size_bytes: int, watch: Watch) -> Step:
        now = self._heard()
        if now is None:
            return self._ended(noted, StepOutcome.REFUSED, "the drive does not say how it is; nothing was started")
        if now.state is State.RUNNING:
            return self._ended(noted, StepOutcome.REFUSED, "the drive is at another sanitize already; wait for its end")
        if now.state is State.FROZEN:
            return self._ended(
                noted, StepOutcome.REFUSED, "the drive is frozen against sanitize until its power is cut"
            )
        return self._start(noted, size_bytes, watch)

    def resume(self, noted: Step, size_bytes: int, watch: Watch) -> Step:
        """Go on with what was begun: follow it, take its end from the drive's log, or start it if the drive is idle."""
        noted = replace(noted, resumed=noted.resumed + 1)
        now = self._heard()
        if now is None:
            return self._ended(noted, StepOutcome.UNKNOWN, "the drive does not say what became of it")
        if now.state is State.RUNNING:
            return self._follow(noted, size_bytes, watch, now)
        if now.state is State.FAILED or self._is_this_run(noted, now):
            return self._judged(noted, now, seen=False)
        if now.state is State.IDLE and noted.progress_seen and not self._sanitizer.keeps_log:
            # It was at work when it was last looked at, and one that had failed would say so for good.
            return self._judged(noted, now, seen=True)
        return self.run(noted, size_bytes, watch)

    def _start(self, noted: Step, size_bytes: int, watch: Watch) -> Step:
        is_given = False
        try:
            with self._alone():
                is_given = True
                why_not = self._sanitizer.start()
        except (Refused, Unavailable) as exc:
            why_not = str(exc)
        now = self._heard()
        if why_not and now is None and is_given:
            why = f"whether the drive took the command is not known, and it says nothing more: {why_not}"
            return self._ended(noted, StepOutcome.UNKNOWN, why)
        if why_not and (now is None or (now.state is State.IDLE and not self._is_this_run(noted, now))):
            return self._ended(noted, StepOutcome.REFUSED, f"the drive did not take the command: {why_not}")
        return self._follow(noted, size_bytes, watch, now)

    def _follow(self, noted: Step, size_bytes: int, watch: Watch, now: Status | None) -> Step:
        estimate = noted.facts.get("estimate_s")
        limit = limit_s(estimate if isinstance(estimate, int) else None, size_bytes)
        seen, unheard, waited_s, pause_s = False, 0, 0.0, _FIRST_PAUSE_S
        while True:
            if now is not None and now.state is not State.RUNNING:
                return self._judged(noted, now, seen=seen)
            if now is None:
                unheard += 1
            else:
                seen, unheard = True, 0
                watch.at(now.progress, WHOLE)
            if unheard > _UNHEARD or waited_s > limit:
                why = "the drive says nothing more" if unheard else f"it is at work still after {waited_s:.0f} s"
                return self._ended(noted, StepOutcome.UNKNOWN, f"{why}; it goes on by itself: ask again", seen=seen)
            if watch.is_stopped:
                why = "it cannot be stopped: the drive goes on, also after its power was cut; go on here to see its end"
                return self._ended(noted, StepOutcome.INTERRUPTED, why, seen=seen)
            self._pause(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(pause_s * _SLOWER, _LONGEST_PAUSE_S)
            now = self._heard()

    def _judged(self, noted: Step, now: Status, *, seen: bool) -> Step:
        named = self._is_this_run(noted, now)
        noted = replace(noted, facts={**noted.facts, "log_names_run": named, "record_after": now.record})
        if now.state is State.FAILED:
            return self._ended(noted, StepOutcome.FAILED, "the drive says that it failed", seen=seen)
        self._sanitizer.settle()
        if now.state is State.FROZEN or not (seen or named):
            why = "the command was answered with success, and the drive was never seen at work nor names this run"
            return self._ended(noted, StepOutcome.UNKNOWN, why)
        if self._sanitizer.keeps_log and not self._sanitizer.names(now.record):
            why = "it was at work, and its log does not say that it ended well"
            return self._ended(noted, StepOutcome.UNKNOWN, why, seen=seen)
        return replace(
            self._ended(noted, StepOutcome.DONE, "the drive says that it ended well", seen=seen), completed=True
        )

    def _is_this_run(self, noted: Step, now: Status) -> bool:
        return self._sanitizer.names(now.record) and now.record != noted.facts.get("record_before")

    def _ended(self, noted: Step, outcome: StepOutcome, detail: str, *, seen: bool = False) -> Step:
        accepted = seen or noted.facts.get("log_names_run") is True
        return replace(
            noted, outcome=outcome, accepted=accepted, progress_seen=seen, ended=self._clock.now(), detail=detail[:300]
        )

    def _heard(self) -> Status | None:
        try:
            return self._sanitizer.status()
        except (Unavailable, Malformed):
            return None

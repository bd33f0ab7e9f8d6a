"""The record of one visit: what each step said and when.  docs/formats/visit-record.md

{"v": 1, "site": site, "began": time, "steps": [{"step", "state", "tries", "began", "ended", "findings"}, ...]}

A step that is *begun* was cut off: it said nothing. Steps are in the order in which they were first begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from provisioning.finding import Finding
from provisioning.site import Site
from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

MAX_BYTES = 1 << 20
_STEP = r"[a-z]+(-[a-z]+)*"
_MOST_STEPS, _MOST_FINDINGS = 16, 500


class State(StrEnum):
    BEGUN = "begun"
    DONE = "done"
    BROKEN = "broken"


@dataclass(frozen=True)
class StepRecord:
    step: str
    state: State
    tries: int
    began: datetime
    ended: datetime | None = None
    findings: tuple[Finding, ...] = ()

    def json(self) -> Json:
        return {
            "step": self.step, "state": self.state.value, "tries": self.tries, "began": clock.text(self.began),
            "ended": None if self.ended is None else clock.text(self.ended),
            "findings": [one.json() for one in self.findings],
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "StepRecord":
        read = Fields(value, "visit step")
        step = cls(
            read.text("step", _STEP, max_chars=32),
            State(read.choice("state", list(State))),
            read.integer("tries", least=1),
            read.instant("began"),
            None if read.is_null("ended") else read.instant("ended"),
            tuple(map(Finding.parse, read.items("findings", most=_MOST_FINDINGS))),
        )
        read.done()
        if (step.state is State.BEGUN) != (step.ended is None):
            raise Malformed("visit step", "it is begun and has ended, or has not ended and is not begun")
        return step


@dataclass(frozen=True)
class VisitRecord:
    site: Site
    began: datetime
    steps: tuple[StepRecord, ...] = field(default=())

    def state(self, step: str) -> State | None:
        """Return how a step stands; None: it was never begun."""
        return next((one.state for one in self.steps if one.step == step), None)

    def findings(self, step: str) -> tuple[Finding, ...]:
        return next((one.findings for one in self.steps if one.step == step), ())

    def begun(self, step: str, now: datetime) -> "VisitRecord":
        """Return the record after a step was begun, or begun again: what it said before counts no longer."""
        before = next((one for one in self.steps if one.step == step), None)
        return self._with(StepRecord(step, State.BEGUN, before.tries + 1 if before else 1, now))

    def ended(self, step: str, findings: Sequence[Finding], now: datetime, *, is_broken: bool) -> "VisitRecord":
        (begun,) = (one for one in self.steps if one.step == step)
        state = State.BROKEN if is_broken else State.DONE
        return self._with(replace(begun, state=state, ended=now, findings=tuple(findings)))

    def encode(self) -> bytes:
        return canonical.encode({
            "v": 1, "site": self.site.json(), "began": clock.text(self.began),
            "steps": [one.json() for one in self.steps],
        })  # fmt: skip

    @classmethod
    def parse(cls, data: bytes) -> "VisitRecord":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("visit record", f"larger than {MAX_BYTES} bytes")
        read = Fields(canonical.parse(data, "visit record"), "visit record")
        read.version()
        record = cls(
            Site.parse(read.mapping("site", most=64)),
            read.instant("began"),
            tuple(map(StepRecord.parse, read.items("steps", most=_MOST_STEPS))),
        )
        read.done()
        if len({one.step for one in record.steps}) != len(record.steps):
            raise Malformed("visit record", "a step is recorded twice")
        return record

    def _with(self, step: StepRecord) -> "VisitRecord":
        if self.state(step.step) is None:
            return replace(self, steps=(*self.steps, step))
        return replace(self, steps=tuple(step if one.step == step.step else one for one in self.steps))

"""What a verification says: each check by itself, and what all of them together have and have not proven."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json


class State(StrEnum):
    PASSED = "passed"
    FAILED = "FAILED"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    detail: str

    @property
    def holds(self) -> bool:
        return self.state is State.PASSED

    def json(self) -> Json:
        return {"check": self.name, "state": self.state.value, "detail": self.detail}


def judged(name: str, holds: bool, detail: str) -> Check:  # noqa: FBT001 - the outcome of a comparison, at each call
    return Check(name, State.PASSED if holds else State.FAILED, detail)


def not_evaluated(name: str, why: str) -> Check:
    return Check(name, State.NOT_EVALUATED, why)


def failures(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.state is State.FAILED]


def lines(checks: Sequence[Check]) -> list[str]:
    """Return the checks as a person reads them, one a line."""
    wide = max((len(check.name) for check in checks), default=0)
    return [f"{check.state.value:13}  {check.name:{wide}}  {check.detail}".rstrip() for check in checks]

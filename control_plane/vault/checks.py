"""What a complete verification of an object looks at, in its order, and how it says what it found."""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.errors import IntegrityFailure, Refused


class CheckState(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_EVALUATED = "not evaluated"
    CONFLICT = "conflict"  # it holds, and so does another that claims to be the same


class Name(StrEnum):
    HOST_SIGNATURE = "host signature"
    BINDING = "binding"
    DATA_KEY = "data key"
    CHUNKS = "every chunk"
    SEALED_BODY = "sealed size and digest"
    DATASET = "dataset size and digest"
    LOG_ENTRY = "log entry"
    INSTANCE = "SOP instance"


@dataclass(frozen=True)
class Check:
    check: Name
    state: CheckState
    detail: str

    def json(self) -> Json:
        return {"check": self.check.value, "state": self.state.value, "detail": self.detail}


class Report:
    """The checks of one object: each passes, or is the one that failed, or comes after it and is not evaluated."""

    def __init__(self) -> None:
        self._done: list[Check] = []

    def passed(self, name: Name, detail: str) -> None:
        self._done.append(Check(name, CheckState.PASSED, detail))

    def not_evaluated(self, name: Name, detail: str) -> None:
        self._done.append(Check(name, CheckState.NOT_EVALUATED, detail))

    def conflict(self, name: Name, detail: str) -> None:
        self._done.append(Check(name, CheckState.CONFLICT, detail))

    def checks(self, failure: Refused | IntegrityFailure | None = None) -> tuple[Check, ...]:
        """Return one state for every name, `failure` being that of the first one not reported yet."""
        left = list(Name)[len(self._done) :]
        found = list(self._done)
        if failure is not None and left:
            found.append(Check(left.pop(0), CheckState.FAILED, f"{type(failure).__name__}: {failure}"))
        return (*found, *(Check(name, CheckState.NOT_EVALUATED, "an earlier check failed") for name in left))

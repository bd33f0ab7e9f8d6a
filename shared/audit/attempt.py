"""One attempt, one outcome: what is tried is recorded as done only when it says so itself."""

from dataclasses import replace
from types import TracebackType
from typing import Protocol

from shared.audit.events import Event, Happening, Outcome, Subject
from shared.errors import IntegrityFailure, Refused, Unavailable


class Journal(Protocol):
    def record(self, happening: Happening) -> object:
        """Keep the happening so that, once this returns, it survives a power cut."""


class Attempt:
    """A block in which `happening` is tried; one that ends without `succeeded()` is recorded as `failed`."""

    def __init__(self, journal: Journal, happening: Happening, failed: Event) -> None:
        self._journal, self._happening, self._failed = journal, happening, failed
        self._recorded = False

    def succeeded(self, *what: Subject) -> None:
        """Record the success, durably, with what came out of it. The last thing in the block."""
        self._journal.record(replace(self._happening, what=self._happening.what + what))
        self._recorded = True

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._recorded:
            self._journal.record(failure(self._happening, self._failed, exc))


def failure(happening: Happening, event: Event, exc: BaseException | None) -> Happening:
    """Return `happening` as an `event` that failed with `exc`, which it names; an unexpected one by its class only."""
    outcome = Outcome.MINOR_FAILURE if isinstance(exc, Refused | Unavailable) else Outcome.SERIOUS_FAILURE
    if exc is None:
        reason = "ended without success"
    elif isinstance(exc, Refused | IntegrityFailure | Unavailable):
        reason = f"{type(exc).__name__}: {exc}"
    else:
        # What others write into their messages may name a patient.
        reason = type(exc).__name__
    return replace(happening, event=event, outcome=outcome, reason=reason)

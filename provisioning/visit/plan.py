"""Decides which steps are to be done now."""

from collections.abc import Sequence

from provisioning.visit.record import State, VisitRecord
from shared.errors import Refused


class StepUnknown(Refused):
    def __init__(self, step: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no step {step!r} in this visit; its steps are {', '.join(known)}")
        self.step = step


class StepTooEarly(Refused):
    """A later step rests on what an earlier one made."""

    def __init__(self, step: str, missing: str) -> None:
        super().__init__(f"{step} comes after {missing}, which is not done; `leadglass-provision visit` goes on there")
        self.step, self.missing = step, missing


def plan(
    names: Sequence[str], record: VisitRecord, *, first: str | None = None, only: str | None = None
) -> tuple[str, ...]:
    """Return what is to be done in its order: from the first step that is not done, or as `first` or `only` say.

    Raises StepUnknown, StepTooEarly.
    """
    asked = only if only is not None else first
    if asked is None:
        broken = next((number for number, name in enumerate(names) if not _is_done(record, name)), len(names))
        return tuple(names[broken:])
    if asked not in names:
        raise StepUnknown(asked, names)
    before = names[: names.index(asked)]
    missing = next((name for name in before if not _is_done(record, name)), None)
    if missing is not None and only is None:
        raise StepTooEarly(asked, missing)
    return (asked,) if only is not None else tuple(names[names.index(asked) :])


def _is_done(record: VisitRecord, name: str) -> bool:
    return record.state(name) is State.DONE

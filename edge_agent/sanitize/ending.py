"""How an attempt ended, by what the host knows. What that comes to is the judge's to say."""

from shared.sanitization.report import Ending, Step, StepOutcome, WipeReport
from shared.sanitization.technique import Technique

_OF_STEP = {
    StepOutcome.FAILED: Ending.FAILED,
    StepOutcome.REFUSED: Ending.FAILED,
    StepOutcome.INTERRUPTED: Ending.ABORTED,
    StepOutcome.UNKNOWN: Ending.UNKNOWN,
}


def ending(draft: WipeReport) -> tuple[Ending, str]:
    """Return the ending and why, of an attempt at which nobody goes on."""
    # A technique that the drive would not take was followed by another, or by nothing.
    last = draft.steps[-1] if draft.steps else None
    if last is None:
        return Ending.FAILED, "nothing was done to the drive"
    if (found := _OF_STEP.get(last.outcome)) is not None:
        return found, f"{_named(last)}: {last.detail or last.outcome.value}"
    for step in draft.steps:
        if step.outcome is StepOutcome.FAILED:
            return Ending.FAILED, f"{_named(step)}: {step.detail}"
    if any(checked.ended is None for checked in draft.checks):
        return Ending.ABORTED, "the read back was not brought to its end"
    if not draft.checks and last.technique is not Technique.LUKS_ERASE:
        return Ending.FAILED, "the drive was not read back"
    return Ending.COMPLETED, ""


def _named(step: Step) -> str:
    return f"{step.technique.value} {step.part}".strip()

"""How a step ends: what was noted when it began, with what came of it."""

from dataclasses import replace

from shared.clock import Clock
from shared.sanitization.report import Step, StepOutcome

_MOST_CHARS = 300  # of a text in a report


def ended(noted: Step, clock: Clock, outcome: StepOutcome, detail: str) -> Step:
    """Return the step with an end that claims nothing of the drive."""
    return replace(noted, outcome=outcome, ended=clock.now(), detail=detail[:_MOST_CHARS])


def done(noted: Step, clock: Clock, detail: str) -> Step:
    """Return the step as the drive's own answer has it: taken and ended well. Whether it was at work is not in that."""
    return replace(ended(noted, clock, StepOutcome.DONE, detail), accepted=True, completed=True)

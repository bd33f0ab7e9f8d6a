"""What of a self-test has to pass."""

from collections.abc import Sequence

from provisioning.finding import Finding, Verdict


def advised(*, has_guard: bool) -> tuple[str, ...]:
    """Return what does not have to: that something keeps the clock, and what a guard decides where there is none."""
    return ("clock",) if has_guard else ("clock", "device-decided")


def unproved(found: Sequence[Finding], *, has_guard: bool) -> list[Finding]:
    """Return what has to pass and did not; what was not evaluated did not."""
    may = advised(has_guard=has_guard)
    return [one for one in found if one.verdict is not Verdict.PASS and one.check not in may]

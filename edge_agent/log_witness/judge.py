"""Decides whether the centre's log still is the one that this host saw."""

from dataclasses import dataclass

from shared.audit.checkpoint import Checkpoint, Loss


@dataclass(frozen=True)
class Judgement:
    """`said` is what is wrong, empty where nothing is. `keeps`: the answer takes the place of what is held.

    `lost` is why it does although the log does not go on from there.
    """

    said: str
    keeps: bool
    lost: Loss | None = None


def judge(held: Checkpoint | None, present: Checkpoint, at_held: Checkpoint | None, lost: Loss | None) -> Judgement:
    """Return what the centre's log is to this host, which saw `held` of it; the arguments are verified."""
    if held is None or at_held == held or present == held:
        if held is None or present.seq >= held.seq:
            return Judgement("", keeps=held != present)
    elif lost is not None and lost.first <= held.seq <= lost.last and held.seq < lost.seq <= present.seq:
        return Judgement("", keeps=True, lost=lost)
    if present.seq < held.seq:
        return Judgement(f"shrank from {held.seq} to {present.seq}", keeps=False)
    return Judgement(f"forked: it is at {present.seq}, and number {held.seq} is not what it was", keeps=False)

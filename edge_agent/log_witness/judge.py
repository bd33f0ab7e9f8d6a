"""Decides whether the centre's log still is the one that this host saw."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.audit.checkpoint import Checkpoint, Loss
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.proofs import ProofWrong, verify_consistency


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


def judge_head(
    held: TreeHead | None, present: TreeHead, proof: Sequence[bytes] | None, lost: Loss | None, at: Checkpoint | None
) -> Judgement:
    """Return what the Merkle log is to this host, which saw `held` of it when it saw the centre's own log at `at`.

    `present` and `lost` are verified, `proof` is not. A loss counts only if its record is of after everything that this
    host saw: what was said of an earlier loss says nothing of this one.
    """
    if held is None:
        return Judgement("", keeps=True)
    if held.origin != present.origin:
        return Judgement(f"forked: it is {present.origin}, and was {held.origin}", keeps=False)
    if _goes_on(held, present, proof):
        return Judgement("", keeps=held != present)
    if lost is not None and held.size <= lost.tree and at is not None and at.seq < lost.seq:
        return Judgement("", keeps=True, lost=lost)
    roots = f"root {held.root.hex()}"
    if present.size < held.size:
        return Judgement(f"shrank from {held.size} entries, {roots}, to {present.size}", keeps=False)
    return Judgement(f"forked: its {present.size} entries do not begin with the {held.size} of {roots}", keeps=False)


def _goes_on(held: TreeHead, present: TreeHead, proof: Sequence[bytes] | None) -> bool:
    if present.size < held.size:
        return False
    if held.size == 0:
        return True
    try:
        verify_consistency(held.size, present.size, proof or (), held.root, present.root)
    except ProofWrong:
        return False
    return True

"""Decides whether the log still is what somebody saw of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.audit.batch import ChainHead
from shared.audit.checkpoint import Checkpoint


class Kind(StrEnum):
    SHRANK = "shrank"  # it ends before the number that was seen
    FORKED = "forked"  # it goes on beyond, with another record there or none


@dataclass(frozen=True)
class Finding:
    """`first` is the lowest number that is certainly lost."""

    kind: Kind
    seen: Checkpoint
    first: int


def judge(seen: Checkpoint, head: ChainHead, leaf_there: bytes | None, known: Iterable[int]) -> Finding | None:
    """Return what is wrong with a log that ends at `head` and has `leaf_there` at the number that was seen, else None.

    `known` are the numbers up to which a loss was found before. Whoever was before that saw records of the part that
    is lost, and says nothing new. A log put back once more has none of the later findings in it, so it hides nothing.
    """
    if leaf_there == seen.leaf or any(number >= seen.seq for number in known):
        return None
    if seen.seq > head.seq:
        return Finding(Kind.SHRANK, seen, head.seq + 1)
    return Finding(Kind.FORKED, seen, seen.seq)

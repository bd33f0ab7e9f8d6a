"""Pieces of the log, by which records are found: runs of entries that one source sent at once.

    piece = at most 256 consecutive entries of one batch, whose times are at most an hour apart
    found by each name that any record of it says, by its events, and by outcomes that are no success

What leads to a piece leads to its records, and each is held against the question. A row of the index for each record
and name costs more than the record itself; a batch of a thousand has four pieces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.audit.events import Outcome
from shared.audit.question import names_of
from shared.audit.record import ReadRecord

WIDEST = 256
LONGEST_US = 3_600_000_000
EVENT, OUTCOME = "event", "outcome"
"""Kinds of names that are in the index beside those of `names_of`."""


@dataclass(frozen=True)
class Piece:
    """Entries `first` to `last`; each happened at `since`, in microseconds of 1970, or within an hour after it."""

    first: int
    last: int
    since: int
    names: frozenset[tuple[str, str]]


def cut(records: Sequence[ReadRecord], happened: Sequence[int], entry: int) -> Iterator[Piece]:
    """Yield the pieces of what one source sent at once; `entry` is that of the first, and `happened` when each did."""
    begin = 0
    while begin < len(records):
        end = _end(happened, begin)
        yield Piece(entry + begin, entry + end - 1, min(happened[begin:end]), found_by(records[begin:end]))
        begin = end


def _end(happened: Sequence[int], begin: int) -> int:
    run = happened[begin : begin + WIDEST]
    if max(run) - min(run) <= LONGEST_US:
        return begin + len(run)
    least = most = run[0]
    for at, when in enumerate(run, begin):
        least, most = min(least, when), max(most, when)
        if most - least > LONGEST_US:
            return at
    raise AssertionError("unreachable")


def found_by(records: Sequence[ReadRecord]) -> frozenset[tuple[str, str]]:
    """Return by what a piece of `records` is found."""
    events = {(EVENT, event.value) for event in {record.event for record in records}}
    failures = {(OUTCOME, str(int(one))) for one in {record.outcome for record in records} - {Outcome.SUCCESS}}
    return names_of(*records) | events | failures

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


def cut(records: Sequence[ReadRecord], entry: int) -> Iterator[Piece]:
    """Yield the pieces of what one source sent at once, and what the first of its entries is."""
    begin = 0
    happened = [record.happened for record in records]
    while begin < len(records):
        end, least, most = begin, happened[begin], happened[begin]
        for at in range(begin, min(begin + WIDEST, len(records))):
            least, most = min(least, happened[at]), max(most, happened[at])
            if most - least > LONGEST_US:
                break
            end = at + 1
        since = min(happened[begin:end])
        yield Piece(entry + begin, entry + end - 1, since, found_by(records[begin:end]))
        begin = end


def found_by(records: Sequence[ReadRecord]) -> frozenset[tuple[str, str]]:
    """Return by what a piece of `records` is found."""
    events = {(EVENT, event.value) for event in {record.event for record in records}}
    failures = {(OUTCOME, str(int(one))) for one in {record.outcome for record in records} - {Outcome.SUCCESS}}
    return names_of(*records) | events | failures

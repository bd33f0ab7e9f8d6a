"""Proves one source's stored records again, from the first byte, and names the first that does not hold.

A record holds when its public part has the leaf hash noted on arrival, stands in its place, names the leaf before it,
still has its sealed part, and is covered by a statement that its source signed. What is in a sealed part is not
evaluated: that takes a key, and outlives it. A tail cut off together with every statement about it is not seen here;
whoever holds a later copy of the chain sees it. Numbers that the source left open, by a record of its own, because a
person accepted that what had them is lost, are passed over; the chain goes on from the leaf that it had signed there.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from control_plane.audit_log.quick_reader import record_reader
from shared.audit.batch import MAX_RECORDS, AuditAltered, Statement, linked
from shared.audit.record import GENESIS, StoredRecord, leaf_hash
from shared.errors import IntegrityFailure, Malformed
from shared.signing import EvidencePublicKey, Label, verify_statement


class HeldRecord(NamedTuple):
    """A stored row: where it says it belongs, and the leaf hash noted on arrival. A tuple, as `StoredRecord` is."""

    seq: int
    stored: StoredRecord
    leaf: bytes


@dataclass(frozen=True)
class HeldStatement:
    """A stored row: which records it says it is about, and the signed bytes."""

    first: int
    last: int
    signed: bytes


KeyOf = Callable[[bytes], EvidencePublicKey]
"""Returns the source's key for a signed statement; raises IntegrityFailure or Malformed where there is none."""


@dataclass(frozen=True)
class Gap:
    """Numbers that a source left open, by record `by` of it, which follows the last of them."""

    first: int
    last: int
    by: int


def verify_chain(
    source: str,
    records: Iterable[HeldRecord],
    statements: Iterable[HeldStatement],
    key_of: KeyOf,
    gaps: Collection[Gap] = (),
) -> int:
    """Return up to which number the records of `source` were proved, all of them; memory stays constant.

    `records` come by number, `statements` by their last record. `gaps` are those of which the source signed a record.
    Raises AuditAltered, naming the first record that does not hold and why.
    """
    walk = _Walk(source, iter(records), gaps)
    for held in statements:
        statement = _verified(source, held, key_of, walk.proved + 1)
        if walk.passes_over(statement):
            continue
        if statement.first > walk.proved + 1:
            raise AuditAltered(source, walk.proved + 1, "no signed statement covers it")
        walk.advance(statement)
    walk.end()
    return walk.proved


class _Walk:
    def __init__(self, source: str, records: Iterator[HeldRecord], gaps: Collection[Gap]) -> None:
        self._source, self._records, self._read = source, records, record_reader()
        self._gaps = {(gap.first, gap.last): gap for gap in gaps}
        self._seq, self.proved = 0, 0
        # Enough to reach back to the parent of any statement, which covers at most MAX_RECORDS.
        self._leaves = deque([GENESIS], MAX_RECORDS + 1)

    def passes_over(self, statement: Statement) -> bool:
        """Go on from the last number of a gap, if that is what the statement is about and it begins right here."""
        gap = self._gaps.get((self._seq + 1, statement.last))
        if gap is None or self._seq != self.proved or gap.by != gap.last + 1:
            return False
        self._seq = statement.last
        self._leaves = deque([statement.head], MAX_RECORDS + 1)
        self.proved = statement.last
        return True

    def advance(self, statement: Statement) -> None:
        """Read on to the statement's last record and hold the chain against what it signs."""
        while self._seq < statement.last:
            self._follow(next(self._records, None), statement.last)
        if self._leaf(statement.last) != statement.head:
            raise AuditAltered(
                self._source, statement.last, f"it is not the one that was signed; none after {self.proved} is proved"
            )
        if self._leaf(statement.first - 1) != statement.prev:
            raise AuditAltered(self._source, statement.first, "the statement about it names another parent")
        self.proved = statement.last

    def end(self) -> None:
        extra = next(self._records, None)
        if extra is not None:
            raise AuditAltered(self._source, self.proved + 1, "no signed statement covers it")

    def _follow(self, held: HeldRecord | None, signed_up_to: int) -> None:
        expected = self._seq + 1
        if held is None or held.seq != expected:
            # A row under a lower number, or under none, would be read in its turn all the same, and found by nothing.
            raise AuditAltered(self._source, expected, f"it is missing; its source signed up to {signed_up_to}")
        if leaf_hash(held.stored.public) != held.leaf:
            raise AuditAltered(self._source, expected, "its public part is not the one that arrived")
        try:
            linked(self._read, expected, self._leaves[-1], self._source, held.stored)
        except AuditAltered as exc:
            raise self._blamed(exc, held) from exc
        self._seq = expected
        self._leaves.append(held.leaf)

    def _blamed(self, found: AuditAltered, held: HeldRecord) -> AuditAltered:
        """Return `found`, or the fault of the record before where this one names another parent.

        Between two signed heads a record may have been changed together with the hash noted on arrival; the one that
        its successor does not know is named. What a signed head covers stands. Whoever rewrote several in a row left
        one such place, at the last of them.
        """
        if self._seq == self.proved or not self._is_next_with_another_parent(held.stored):
            return found
        return AuditAltered(self._source, self._seq, f"record {held.seq} names another one before it")

    def _is_next_with_another_parent(self, stored: StoredRecord) -> bool:
        try:
            record = self._read(stored.public)
        except Malformed:
            return False
        return (record.source, record.seq) == (self._source, self._seq + 1) and record.prev != self._leaves[-1]

    def _leaf(self, seq: int) -> bytes | None:
        back = self._seq - seq
        return self._leaves[-1 - back] if 0 <= back < len(self._leaves) else None


def _verified(source: str, held: HeldStatement, key_of: KeyOf, next_seq: int) -> Statement:
    about = f"the statement about records {held.first} to {held.last}"
    first = max(held.first, next_seq)
    try:
        signed = verify_statement(held.signed, Label.AUDIT_BATCH, key_of(held.signed))
        statement = Statement.parse(signed)
    except (Malformed, IntegrityFailure) as exc:
        raise AuditAltered(source, first, f"{about} does not hold: {exc}") from exc
    if (statement.source, statement.first, statement.last) != (source, held.first, held.last):
        raise AuditAltered(source, first, f"{about} is about others")
    if not 0 <= statement.last - statement.first < MAX_RECORDS:
        raise AuditAltered(source, first, f"{about} covers too many or none")
    return statement

"""Holds what records are found by against the records themselves: whoever took a row out of the index hid a record.

Records and pieces are each read once, in the order in which they were written, side by side. What a private part is
about is not looked at: that takes opening it. Rows that lead nowhere hide nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.audit_log.objects import MAX_ENTRY, numbers
from control_plane.audit_log.pieces import LONGEST_US, WIDEST, found_by
from control_plane.audit_log.quick_reader import record_reader
from control_plane.db import driver
from control_plane.db.models import AuditPiece, AuditRow
from shared.audit.record import ReadRecord
from shared.errors import Malformed

_AT_ONCE, _KEYS_AT_ONCE = 500, 1000
_HELD, _PIECE = AuditRow.__table__.c, AuditPiece.__table__.c
_RECORDS = select(_HELD.entry, _HELD.public, _HELD.happened, _HELD.event, _HELD.action, _HELD.outcome)
_PIECES = select(_PIECE.first, _PIECE.last, _PIECE.since).order_by(_PIECE.first)
_NAME, _OBJECT = ("kind", "name", "happened", "entry"), ("number",)


class IndexVerdict(NamedTuple):
    """`first_bad` is the entry of the first record that is not found by all that it says; None where all are."""

    records: int
    first_bad: int | None


class _Piece(NamedTuple):
    first: int
    last: int
    since: int


class _Found(NamedTuple):
    """A record, what its row says of it, and the piece that leads to it. A tuple, because each record makes one."""

    entry: int
    record: ReadRecord
    said: tuple[int | None, str | None, str | None, int | None]
    piece: _Piece | None

    @property
    def is_said(self) -> bool:
        """Whether record, row and piece say the same."""
        record, happened = self.record, self.record.happened
        if self.entry >= MAX_ENTRY or self.piece is None or not 0 <= happened - self.piece.since <= LONGEST_US:
            return False
        return self.said == (happened, record.event.value, record.action.value, int(record.outcome))


def verify_index(session: Session) -> IndexVerdict:
    """Compare every record with its rows of the index, in constant memory; one that reads no more is passed over."""
    records = _RECORDS.where(_HELD.entry >= 0).order_by(_HELD.entry)
    few, count, read = {"yield_per": _AT_ONCE}, 0, record_reader()
    with (
        session.execute(records, execution_options=few) as held,
        session.execute(_PIECES, execution_options=few) as cut,
    ):
        pieces = _Pieces(_numbers(cut))
        for rows in held.partitions():
            count += len(rows)
            found = list(_found(rows, pieces, read))
            if not _leads_to(session, found):
                return IndexVerdict(count, next(one.entry for one in found if not _leads_to(session, [one])))
    return IndexVerdict(count, None)


def _found(rows: Iterable[Sequence[Any]], pieces: "_Pieces", read: Callable[[bytes], ReadRecord]) -> Iterator[_Found]:
    for entry, public, happened, event, action, outcome in rows:
        if not isinstance(entry, int):
            continue  # the Merkle log misses it
        try:
            yield _Found(entry, read(public), (happened, event, action, outcome), pieces.of(entry))
        except Malformed:
            continue


def _numbers(pieces: Iterable[Sequence[Any]]) -> Iterator[_Piece]:
    """Pass over pieces that SQLite keeps as somebody wrote them: what is no number leads to nothing."""
    return (_Piece(*row) for row in pieces if all(isinstance(number, int) for number in row))


class _Pieces:
    """Reads pieces as far as they are asked for, by entries that only grow."""

    def __init__(self, pieces: Iterator[_Piece]) -> None:
        self._pieces = pieces
        self._begun: _Piece | None = None
        self._next = next(pieces, None)

    def of(self, entry: int) -> _Piece | None:
        # The last that begins before it: where records were cut off and came again, an older one may reach as far.
        while self._next is not None and self._next.first <= entry:
            self._begun, self._next = self._next, next(self._pieces, None)
        piece = self._begun
        return piece if piece is not None and entry <= min(piece.last, piece.first + WIDEST - 1) else None


def _leads_to(session: Session, found: Sequence[_Found]) -> bool:
    """Whether every row of the index is there that leads to these records."""
    if not all(one.is_said for one in found):
        return False
    names = {
        (kind, name, piece.since, piece.first)
        for piece, together in groupby(found, lambda one: one.piece)
        if piece is not None
        for kind, name in found_by([one.record for one in together])
    }
    objects = {(number,) for one in found for number in numbers([one.record], one.entry)}
    return all_there(session, "audit_names", _NAME, names) and all_there(
        session, "audit_objects", _OBJECT, sorted(objects)
    )


def all_there(session: Session, table: str, columns: Sequence[str], keys: Collection[driver.Values]) -> bool:
    """Whether there is a row for each of `keys`. Asked in pieces: a statement has at most 32,766 parameters."""
    left, held = list(keys), 0
    same = " AND ".join(f"{column} = asked.column{number}" for number, column in enumerate(columns, 1))
    place = f"({', '.join('?' * len(columns))})"
    while left:
        some, left = left[:_KEYS_AT_ONCE], left[_KEYS_AT_ONCE:]
        asked = f"(VALUES {', '.join([place] * len(some))}) AS asked"
        # Each is counted once, also in a table that was made again without its key and has another one twice.
        there = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 (ours)
        values = tuple(value for one in some for value in one)
        held += driver.row(session, f"SELECT count(*) FROM {asked} WHERE {there}", values)[0]  # noqa: S608 (ours)
    return held == len(keys)

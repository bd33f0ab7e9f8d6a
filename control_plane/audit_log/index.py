"""Holds what records are found by against the records themselves: whoever took a row out of the index hid a record.

What a private part is about is not looked at: that takes opening it. Rows that lead nowhere hide nothing.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from control_plane.audit_log.pieces import LONGEST_US, WIDEST, found_by
from control_plane.db.models import AuditName, AuditPiece, AuditRow, AuditSubject
from shared.audit.record import AuditRecord
from shared.errors import Malformed

_AT_ONCE, _KEYS_AT_ONCE = 500, 2000
_NAME = tuple_(AuditName.kind, AuditName.name, AuditName.happened, AuditName.entry)
_SUBJECT = tuple_(AuditSubject.kind, AuditSubject.name, AuditSubject.event, AuditSubject.source, AuditSubject.seq)


@dataclass(frozen=True)
class IndexVerdict:
    """`first_bad` is the entry of the first record that is not found by all that it says; None where all are."""

    records: int
    first_bad: int | None


@dataclass(frozen=True)
class _Found:
    """A record, and the piece that leads to it."""

    row: AuditRow
    record: AuditRecord
    piece: AuditPiece | None

    @property
    def is_said(self) -> bool:
        """Whether record, row and piece say the same."""
        row, record = self.row, self.record
        said = row.happened, row.event, row.action, row.outcome
        if self.piece is None or not 0 <= record.happened - self.piece.since <= LONGEST_US:
            return False
        return said == (record.happened, record.event.value, record.action.value, int(record.outcome))


def verify_index(session: Session) -> IndexVerdict:
    """Compare every record with its rows of the index, in constant memory; one that reads no more is passed over."""
    count = 0
    for rows in _rows(session):
        count += len(rows)
        read = _read(session, rows)
        if not all(one.is_said for one in read) or not _are_there(session, read):
            alone = (one.row.entry for one in read if not one.is_said or not _are_there(session, [one]))
            return IndexVerdict(count, next(alone))
    return IndexVerdict(count, None)


def _rows(session: Session) -> Iterator[Sequence[AuditRow]]:
    at = 0
    while True:
        rows = select(AuditRow).where(AuditRow.entry >= at).order_by(AuditRow.entry).limit(_AT_ONCE)
        found = session.scalars(rows).all()
        if not found:
            return
        yield found
        at = (found[-1].entry or 0) + 1
        session.expunge_all()


def _read(session: Session, rows: Sequence[AuditRow]) -> list[_Found]:
    first, last = rows[0].entry or 0, rows[-1].entry or 0
    near = select(AuditPiece).where(AuditPiece.first.between(first - WIDEST, last)).order_by(AuditPiece.first)
    pieces = session.scalars(near).all()
    begins = [piece.first for piece in pieces]
    found = list[_Found]()
    for row in rows:
        record, entry = _record(row), row.entry or 0
        # The last that begins before it: where records were cut off and came again, an older one may reach as far.
        at = bisect_right(begins, entry) - 1
        piece = pieces[at] if at >= 0 and pieces[at].last >= entry else None
        if record is not None:
            found.append(_Found(row, record, piece))
    return found


def _are_there(session: Session, read: Sequence[_Found]) -> bool:
    names = {
        (kind, name, one.piece.since, one.piece.first)
        for one in read
        if one.piece is not None
        for kind, name in found_by([one.record])
    }
    subjects = {
        (what.kind, what.name, one.record.event.value, one.record.source, one.record.seq)
        for one in read
        for what in one.record.what
        if what.kind == "object"
    }
    held_names = _count(session, AuditName, _NAME, names)
    return (held_names, _count(session, AuditSubject, _SUBJECT, subjects)) == (len(names), len(subjects))


def _count(
    session: Session,
    table: type[AuditName | AuditSubject],
    key: ColumnElement[Any],
    keys: Collection[tuple[object, ...]],
) -> int:
    """Return how many of `keys` are there, asked in pieces: no statement may have more than 65,535 parameters."""
    left, held = list(keys), 0
    while left:
        some, left = left[:_KEYS_AT_ONCE], left[_KEYS_AT_ONCE:]
        held += session.scalar(select(func.count()).select_from(table).where(key.in_(some))) or 0
    return held


def _record(row: AuditRow) -> AuditRecord | None:
    try:
        return AuditRecord.parse(row.public)
    except Malformed:
        return None

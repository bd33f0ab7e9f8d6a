"""Holds what records are found by against the records themselves: whoever took a row out of the index hid a record.

What a private part is about is not looked at: that takes opening it. Rows that lead nowhere hide nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from control_plane.db.models import AuditName, AuditRow, AuditSubject
from shared.audit.question import names_of
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


def verify_index(session: Session) -> IndexVerdict:
    """Compare every record with its rows of the index, in constant memory; one that reads no more is passed over."""
    count = 0
    for rows in _rows(session):
        count += len(rows)
        read = [(row, record) for row in rows if (record := _record(row)) is not None]
        said = [row.entry for row, record in read if _said(row) != _says(record)]
        if said or not _are_there(session, read):
            alone = (row.entry for row, record in read if row.entry in said or not _are_there(session, [(row, record)]))
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


def _are_there(session: Session, read: Sequence[tuple[AuditRow, AuditRecord]]) -> bool:
    names = {(kind, name, record.happened, row.entry) for row, record in read for kind, name in names_of(record)}
    subjects = {
        (what.kind, what.name, record.event.value, record.source, record.seq)
        for _, record in read
        for what in record.what
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


def _said(row: AuditRow) -> tuple[object, ...]:
    return row.happened, row.event, row.action, row.outcome


def _says(record: AuditRecord) -> tuple[object, ...]:
    return record.happened, record.event.value, record.action.value, int(record.outcome)

"""Records as rows: the end of a chain, and one more record or statement after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import NamedTuple, TypeAlias

from sqlalchemy.orm import Session

from control_plane.audit_log import objects
from control_plane.audit_log.objects import OBJECT
from control_plane.audit_log.pieces import Piece, cut
from control_plane.db import driver
from control_plane.db.models import as_stored
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.index_service import Token
from shared.audit.batch import ChainHead
from shared.audit.events import Action, EventName, Outcome
from shared.audit.record import ReadRecord, StoredRecord

# What is said of a thing and is none, and the hash of what was sealed; objects have an index of their own.
_NEVER_SOUGHT = {"fact", "time", "record", OBJECT}
_COLUMNS = "source, seq, public, leaf, received, entry, happened, event, action, outcome"
_LAST = "SELECT seq, leaf FROM audit_records WHERE source = ? ORDER BY seq DESC LIMIT 1"
_LAST_STATEMENT = "SELECT last, statement FROM audit_statements WHERE source = ? ORDER BY last DESC, first LIMIT 1"


About: TypeAlias = tuple[int, int, bytes]
"""The first and the last record that a statement is about, and the statement."""


class New(NamedTuple):
    """Records that are to be kept, one after the other: as they read, as they came, and their leaves.

    Columns, because it takes time to make a tuple of each record that nobody keeps.
    """

    records: Sequence[ReadRecord]
    stored: Sequence[StoredRecord]
    leaves: Sequence[bytes]


@dataclass(frozen=True)
class Arrival:
    """Records of one source, one after the other, and what it signed of them.

    `about` is what their private parts are about, of each record or of none.
    """

    source: str
    statements: Sequence[About]
    new: New
    received: datetime
    about: Sequence[Sequence[Token]] = ()


def head(session: Session, source: str) -> ChainHead:
    """Return the last record held of `source`."""
    row = driver.row(session, _LAST, (source,))
    return ChainHead(row[0], driver.blob(row[1])) if row is not None else ChainHead()


class Signed(NamedTuple):
    """What a source signed about its records up to `last`."""

    last: int
    statement: bytes


def last_statement(session: Session, source: str) -> Signed | None:
    row = driver.row(session, _LAST_STATEMENT, (source,))
    return Signed(row[0], driver.blob(row[1])) if row is not None else None


def keep(session: Session, arrival: Arrival, sequencer: Sequencer) -> None:
    """Keep records and enter them in the Merkle log, within a transaction of `in_one_commit`.

    Raises LogAltered, LogFull.
    """
    source, (records, stored, leaves) = arrival.source, arrival.new
    entry, stamp = sequencer.enter(session, leaves), as_stored(session, arrival.received)
    numbers, happened = [record.seq for record in records], [record.happened for record in records]
    events, size = _values([record.event for record in records]), len(records)
    actions, outcomes = _values([record.action for record in records]), _values([record.outcome for record in records])
    publics, sealed = zip(*stored, strict=True)
    # For each `bytes` Python's SQLite looks whether somebody adapts them, which takes longer than to copy a record.
    columns: list[Iterable[object]] = [
        repeat(source, size), numbers, map(bytearray, publics), map(bytearray, leaves), repeat(stamp, size),
        range(entry, entry + size), happened, events, actions, outcomes,
    ]  # fmt: skip
    names = _COLUMNS
    if sealed.count(None) < size:
        names, columns = f"{names}, sealed", [*columns, sealed]
    driver.insert(session, f"audit_records ({names})", zip(*columns, strict=True))
    subjects = [
        (what.kind, what.name, event, source, seq)
        for record, event, seq in zip(records, events, numbers, strict=True)
        for what in record.what
        if what.kind not in _NEVER_SOUGHT
    ]
    # Where records were cut off and come again, what was said of them may still be there.
    _insert_new(session, "audit_subjects (kind, name, event, source, seq)", subjects)
    _insert_new(session, "audit_objects (number)", [(number,) for number in objects.numbers(records, entry)])
    for at, about in enumerate(arrival.about, entry):
        keep_tokens(session, at, about)
    keep_statements(session, source, arrival.statements)
    _index(session, list(cut(records, happened, entry)))


def _values(said: Sequence[EventName | Action | Outcome]) -> list[str | int]:
    """Return the value of each. There are few, and to ask an enumeration for one takes longer than to look it up."""
    values = {one: one.value for one in set(said)}
    return [values[one] for one in said]


def keep_statements(session: Session, source: str, signed: Sequence[About]) -> None:
    """Keep what `source` signed, unless it has signed about just these records before: the first word stays."""
    _insert_new(session, "audit_statements (source, first, last, statement)", [(source, *one) for one in signed])


def keep_tokens(session: Session, entry: int, about: Sequence[Token]) -> None:
    """Have a record found by what its private part is about."""
    tokens = [(token.attribute.value, token.value, entry) for token in about]
    _insert_new(session, "audit_tokens (attribute, token, entry)", tokens)


def _index(session: Session, pieces: Sequence[Piece]) -> None:
    names = [(kind, name, piece.since, piece.first) for piece in pieces for kind, name in piece.names]
    there = "ON CONFLICT (first) DO UPDATE SET last = excluded.last, since = excluded.since"
    rows = [(piece.first, piece.last, piece.since) for piece in pieces]
    driver.insert(session, "audit_pieces (first, last, since)", rows, there)
    _insert_new(session, "audit_names (kind, name, happened, entry)", names)


def _insert_new(session: Session, into: str, rows: Sequence[driver.Values]) -> None:
    driver.insert(session, into, rows, "ON CONFLICT DO NOTHING")

"""Records as rows: the end of a chain, and what comes after it.

Within a group of commits what its members keep is written once for all of them, at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from control_plane.audit_log.pieces import cut
from control_plane.db import driver
from control_plane.db.models import AuditRow, AuditStatement
from control_plane.tlog import rows as log
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.index_service import Token
from shared.audit.batch import ChainHead
from shared.audit.record import AuditRecord, StoredRecord

# What is said of a thing and is none.
_NEVER_SOUGHT = {"fact", "time"}
_GATHERED = "gathered records"
_RECEIVED = AuditRow.__table__.c.received
_LAST = "SELECT seq, leaf FROM audit_records WHERE source = ? ORDER BY seq DESC LIMIT 1"
_LAST_STATEMENT = (
    select(AuditStatement)
    .where(AuditStatement.source == bindparam("of"))
    .order_by(AuditStatement.last.desc(), AuditStatement.first)
    .limit(1)
)


class New(NamedTuple):
    """A record that is to be kept, as it came and as it reads, with its leaf and what its private part is about.

    A tuple, because each record makes one.
    """

    record: AuditRecord
    stored: StoredRecord
    leaf: bytes
    about: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Arrival:
    """Records of one source, one after the other, and what it signed about `first` to `last`."""

    source: str
    first: int
    last: int
    statement: bytes
    new: Sequence[New]
    received: datetime


def head(session: Session, source: str) -> ChainHead:
    """Return the last record held of `source`."""
    settle(session, source)
    row = driver.run(session, _LAST, (source,)).fetchone()
    return ChainHead(*row) if row else ChainHead()


def last_statement(session: Session, source: str) -> AuditStatement | None:
    settle(session, source)
    return session.scalars(_LAST_STATEMENT, {"of": source}).first()


def settle(session: Session, source: str) -> None:
    """Have what this transaction keeps of `source` be there for whoever reads its rows."""
    gathered: Gathered | None = session.info.get(_GATHERED)
    if gathered is not None:
        gathered.settle(source)


def keep(session: Session, arrival: Arrival, sequencer: Sequencer) -> None:
    """Keep records and enter them in the Merkle log, in a transaction of `in_one_commit`. Raises LogAltered."""
    gathered: Gathered | None = session.info.get(_GATHERED)
    if gathered is not None:
        gathered.add(arrival)
    else:
        _write(session, [(sequencer.enter(session, [one.leaf for one in arrival.new]), arrival)])


class Gathered:
    """What the members of a group keep: one checkpoint over all of it, and one statement for each table.

    Entries are numbered as they are added. What of a source is not written yet is written before that source is read.
    """

    def __init__(self, session: Session, sequencer: Sequencer) -> None:
        self._session, self._sequencer = session, sequencer
        self._arrivals, self._leaves = list[tuple[int, Arrival]](), list[bytes]()
        self._first, self._written = -1, 0
        session.info[_GATHERED] = self

    def add(self, arrival: Arrival) -> None:
        if self._first < 0:
            self._first = log.head(self._session)[0]
        self._arrivals.append((self._first + len(self._leaves), arrival))
        self._leaves += [one.leaf for one in arrival.new]

    def settle(self, source: str) -> None:
        if any(arrival.source == source for _, arrival in self._arrivals[self._written :]):
            self._write()

    def mark(self) -> tuple[int, int, int]:
        """Return where a member begins, for `back_to`."""
        return len(self._arrivals), len(self._leaves), self._written

    def back_to(self, mark: tuple[int, int, int]) -> None:
        """Forget what was added since, and that anything was written since: the database has forgotten it too."""
        arrivals, leaves, self._written = mark
        del self._arrivals[arrivals:], self._leaves[leaves:]

    def finish(self) -> None:
        """Write and enter it all. Raises LogAltered."""
        del self._session.info[_GATHERED]
        self._write()
        if self._leaves:
            self._sequencer.enter(self._session, self._leaves)

    def _write(self) -> None:
        _write(self._session, self._arrivals[self._written :])
        self._written = len(self._arrivals)


def keep_statement(session: Session, source: str, first: int, last: int, signed: bytes) -> None:
    """Keep what `source` signed, unless it has signed about just these records before: the first word stays."""
    _insert_new(session, "audit_statements (source, first, last, statement)", [(source, first, last, signed)])


def keep_tokens(session: Session, entry: int, about: Sequence[Token]) -> None:
    """Have a record found by what its private part is about."""
    tokens = [(token.attribute.value, token.value, entry) for token in about]
    _insert_new(session, "audit_tokens (attribute, token, entry)", tokens)


def _write(session: Session, arrivals: Sequence[tuple[int, Arrival]]) -> None:
    records, subjects, statements = list[driver.Values](), list[driver.Values](), list[driver.Values]()
    for entry, arrival in arrivals:
        source, stamp = arrival.source, _as_stored(session, arrival.received)
        for at, new in enumerate(arrival.new, entry):
            record, event = new.record, new.record.event.value
            records.append(
                (source, record.seq, new.stored.public, new.stored.sealed, new.leaf, stamp, at,
                 record.happened, event, record.action.value, int(record.outcome))
            )  # fmt: skip
            for what in record.what:
                if what.kind not in _NEVER_SOUGHT:
                    subjects.append((what.kind, what.name, event, source, record.seq))
            if new.about:
                keep_tokens(session, at, new.about)
        statements.append((source, arrival.first, arrival.last, arrival.statement))
    columns = "source, seq, public, sealed, leaf, received, entry, happened, event, action, outcome"
    driver.insert(session, f"audit_records ({columns})", records)
    # Where records were cut off and come again, what was said of them may still be there.
    _insert_new(session, "audit_subjects (kind, name, event, source, seq)", subjects)
    _insert_new(session, "audit_statements (source, first, last, statement)", statements)
    _index(session, arrivals)


def _index(session: Session, arrivals: Sequence[tuple[int, Arrival]]) -> None:
    pieces = [piece for entry, arrival in arrivals for piece in cut([one.record for one in arrival.new], entry)]
    names = [(kind, name, piece.since, piece.first) for piece in pieces for kind, name in piece.names]
    there = "ON CONFLICT (first) DO UPDATE SET last = excluded.last, since = excluded.since"
    rows = [(piece.first, piece.last, piece.since) for piece in pieces]
    driver.insert(session, "audit_pieces (first, last, since)", rows, there)
    _insert_new(session, "audit_names (kind, name, happened, entry)", names)


def _insert_new(session: Session, into: str, rows: Sequence[driver.Values]) -> None:
    driver.insert(session, into, rows, "ON CONFLICT DO NOTHING")


def _as_stored(session: Session, instant: datetime) -> object:
    """Return an instant as the driver takes it, in the one form that the column has."""
    dialect = session.get_bind().dialect
    written = _RECEIVED.type.dialect_impl(dialect).bind_processor(dialect)
    return instant if written is None else written(instant)

"""Records as rows: the end of a chain, and one more record or statement after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditStatement
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.index_service import Token
from shared.audit.batch import ChainHead
from shared.audit.question import names_of
from shared.audit.record import ReadRecord, StoredRecord

# What is said of a thing and is none.
_NEVER_SOUGHT = {"fact", "time"}
_RECEIVED = AuditRow.__table__.c.received
# Made once: each record runs them, and making one takes longer than running it.
_LAST = select(AuditRow.seq, AuditRow.leaf).where(AuditRow.source == bindparam("of")).order_by(AuditRow.seq.desc())
_LAST = _LAST.limit(1)
_LAST_STATEMENT = (
    select(AuditStatement)
    .where(AuditStatement.source == bindparam("of"))
    .order_by(AuditStatement.last.desc(), AuditStatement.first)
    .limit(1)
)


def head(session: Session, source: str) -> ChainHead:
    """Return the last record held of `source`."""
    row = session.execute(_LAST, {"of": source}).first()
    return ChainHead(row.seq, row.leaf) if row else ChainHead()


def last_statement(session: Session, source: str) -> AuditStatement | None:
    return session.scalars(_LAST_STATEMENT, {"of": source}).first()


def keep_statement(session: Session, source: str, first: int, last: int, signed: bytes) -> None:
    """Keep what `source` signed, unless it has signed about just these records before: the first word stays."""
    _insert(
        session, "audit_statements (source, first, last, statement)", [(source, first, last, signed)], where_new=True
    )


@dataclass(frozen=True)
class New:
    """A record that is to be kept, as it came and as it reads, with its leaf and what its private part is about."""

    record: ReadRecord
    stored: StoredRecord
    leaf: bytes
    about: tuple[Token, ...] = ()


def insert(session: Session, new: Sequence[New], received: datetime, sequencer: Sequencer) -> None:
    """Keep records and enter them in the Merkle log, in a transaction of `in_one_commit`. Raises LogAltered."""
    entry = sequencer.enter(session, [one.leaf for one in new])
    stamp = _as_stored(session, received)
    entered = [(at, one, one.record.happened) for at, one in enumerate(new, entry)]
    records = [
        (one.record.source, one.record.seq, one.stored.public, one.stored.sealed, one.leaf, stamp, at,
         happened, one.record.event.value, one.record.action.value, int(one.record.outcome))
        for at, one, happened in entered
    ]  # fmt: skip
    columns = "source, seq, public, sealed, leaf, received, entry, happened, event, action, outcome"
    _insert(session, f"audit_records ({columns})", records)
    named = [(kind, name, happened, at) for at, one, happened in entered for kind, name in names_of(one.record)]
    _insert(session, "audit_names (kind, name, happened, entry)", named, where_new=True)
    for at, one, _ in entered:
        if one.about:
            keep_tokens(session, at, one.about)
    subjects = [
        (kind, name, one.record.event.value, one.record.source, one.record.seq)
        for one in new
        for kind, name in {(what.kind, what.name) for what in one.record.what if what.kind not in _NEVER_SOUGHT}
    ]
    # Where records were cut off and come again, their entries may still be there.
    _insert(session, "audit_subjects (kind, name, event, source, seq)", subjects, where_new=True)


def keep_tokens(session: Session, entry: int, about: Sequence[Token]) -> None:
    """Have a record found by what its private part is about."""
    tokens = [(token.attribute.value, token.value, entry) for token in about]
    _insert(session, "audit_tokens (attribute, token, entry)", tokens, where_new=True)


def _insert(session: Session, into: str, rows: Sequence[tuple[object, ...]], *, where_new: bool = False) -> None:
    """Insert rows as the driver itself takes them: this is the path that every record takes."""
    if rows:
        place = "?" if session.get_bind().dialect.name == "sqlite" else "%s"
        places = ", ".join([place] * len(rows[0]))
        statement = f"INSERT INTO {into} VALUES ({places})"  # noqa: S608 (every part is ours)
        statement += " ON CONFLICT DO NOTHING" * where_new
        session.connection().exec_driver_sql(statement, list(rows))


def _as_stored(session: Session, instant: datetime) -> object:
    written = _RECEIVED.type.bind_processor(session.get_bind().dialect)
    return instant if written is None else written(instant)

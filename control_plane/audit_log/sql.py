"""Reads stored records and statements of one source, row by row and in order."""

from collections.abc import Generator

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session

from control_plane.audit_log.verify import HeldRecord, HeldStatement
from control_plane.db.models import AuditRow, AuditStatement
from shared.audit.record import StoredRecord

_AT_ONCE = 200


def sources(session: Session) -> tuple[str, ...]:
    """Return every source of which a record or a statement is held."""
    named = union(select(AuditRow.source), select(AuditStatement.source))
    # Text, also where SQLite keeps something else that somebody wrote: it is nobody's, and its own source misses it.
    return tuple(sorted(str(source) for source in session.scalars(named)))


def count(session: Session, source: str) -> int:
    return session.scalar(select(func.count()).select_from(AuditRow).where(AuditRow.source == source)) or 0


def records(
    session: Session, source: str, *, first: int = 0, last: int | None = None
) -> Generator[HeldRecord, None, None]:
    """Whoever does not read to the end closes it."""
    # Of the table and not of its class, for which more is done with each row.
    held = AuditRow.__table__.c
    rows = select(held.seq, held.public, held.sealed, held.leaf)
    rows = rows.where(held.source == source, held.seq >= first).order_by(held.seq)
    if last is not None:
        rows = rows.where(held.seq <= last)
    with session.execute(rows.execution_options(yield_per=_AT_ONCE)) as found:
        for seq, public, sealed, leaf in found:
            yield HeldRecord(seq, StoredRecord(public, sealed), leaf)


def statements(session: Session, source: str) -> Generator[HeldStatement, None, None]:
    """Whoever does not read to the end closes it."""
    held = AuditStatement.__table__.c
    rows = select(held.first, held.last, held.statement).where(held.source == source).order_by(held.last, held.first)
    with session.execute(rows.execution_options(yield_per=_AT_ONCE)) as found:
        for first, last, signed in found:
            yield HeldStatement(_number(first), _number(last), signed)


def statement_about(session: Session, source: str, seq: int) -> HeldStatement | None:
    """Return one statement that says it covers record `seq`."""
    rows = select(AuditStatement.first, AuditStatement.last, AuditStatement.statement)
    covers = (AuditStatement.source == source, AuditStatement.first <= seq, AuditStatement.last >= seq)
    row = session.execute(rows.where(*covers).order_by(AuditStatement.last).limit(1)).first()
    return HeldStatement(*row) if row else None


def _number(value: object) -> int:
    """Return a number, 0 for what else SQLite keeps where somebody wrote it: no statement is about record 0."""
    return value if isinstance(value, int) else 0

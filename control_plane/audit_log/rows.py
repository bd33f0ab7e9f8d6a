"""Records as rows: the end of a chain, and one more record or statement after it."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditStatement, AuditSubject
from shared.audit.batch import ChainHead
from shared.audit.record import AuditRecord, StoredRecord


def head(session: Session, source: str) -> ChainHead:
    """Return the last record held of `source`."""
    last = select(AuditRow.seq, AuditRow.leaf).where(AuditRow.source == source).order_by(AuditRow.seq.desc())
    row = session.execute(last.limit(1)).first()
    return ChainHead(row.seq, row.leaf) if row else ChainHead()


def last_statement(session: Session, source: str) -> AuditStatement | None:
    theirs = select(AuditStatement).where(AuditStatement.source == source)
    return session.scalars(theirs.order_by(AuditStatement.last.desc(), AuditStatement.first).limit(1)).first()


def keep_statement(session: Session, source: str, first: int, last: int, signed: bytes) -> None:
    """Keep what `source` signed, unless it has signed about just these records before: the first word stays."""
    if session.get(AuditStatement, (source, first, last)) is None:
        session.add(AuditStatement(source=source, first=first, last=last, statement=signed))


def insert(session: Session, record: AuditRecord, stored: StoredRecord, received: datetime) -> None:
    session.add(
        AuditRow(
            source=record.source,
            seq=record.seq,
            public=stored.public,
            sealed=stored.sealed,
            leaf=stored.leaf,
            received=received,
        )
    )
    for subject in set(record.what):
        # Where records were cut off and come again, their entries may still be there.
        session.merge(
            AuditSubject(
                kind=subject.kind,
                name=subject.name,
                event=record.event.value,
                source=record.source,
                seq=record.seq,
            )
        )

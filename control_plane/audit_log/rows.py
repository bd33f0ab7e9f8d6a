"""Records as rows: the head of a chain, and one more record at its end."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditSubject
from shared.audit.batch import ChainHead
from shared.audit.record import AuditRecord, StoredRecord


def head(session: Session, source: str) -> ChainHead:
    """Return the last record held of `source`."""
    last = select(AuditRow.seq, AuditRow.leaf).where(AuditRow.source == source).order_by(AuditRow.seq.desc())
    row = session.execute(last.limit(1)).first()
    return ChainHead(row.seq, row.leaf) if row else ChainHead()


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
        session.add(
            AuditSubject(
                kind=subject.kind,
                name=subject.name,
                event=record.event.value,
                source=record.source,
                seq=record.seq,
            )
        )

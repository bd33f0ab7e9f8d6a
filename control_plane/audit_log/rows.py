"""Records as rows: the end of a chain, and one more record or statement after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, select, text
from sqlalchemy import insert as sql_insert
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditStatement
from control_plane.tlog.sequencer import Sequencer
from shared.audit.batch import ChainHead
from shared.audit.record import AuditRecord, StoredRecord

_RECORDS = cast(Table, AuditRow.__table__)
# Where records were cut off and come again, their entries may still be there.
_KEEP_SUBJECT = text(
    "INSERT INTO audit_subjects (kind, name, event, source, seq) VALUES (:kind, :name, :event, :source, :seq) "
    "ON CONFLICT DO NOTHING"
)


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


@dataclass(frozen=True)
class New:
    """A record that is to be kept, as it came and as it reads, with its leaf."""

    record: AuditRecord
    stored: StoredRecord
    leaf: bytes


def insert(session: Session, new: Sequence[New], received: datetime, sequencer: Sequencer) -> None:
    """Keep records and enter them in the Merkle log, in a transaction of `in_one_commit`. Raises LogAltered."""
    entry = sequencer.enter(session, [one.leaf for one in new])
    session.execute(
        sql_insert(_RECORDS),
        [
            {
                "source": one.record.source,
                "seq": one.record.seq,
                "public": one.stored.public,
                "sealed": one.stored.sealed,
                "leaf": one.leaf,
                "received": received,
                "entry": at,
            }
            for at, one in enumerate(new, entry)
        ],
    )
    subjects = [
        {
            "kind": subject.kind,
            "name": subject.name,
            "event": one.record.event.value,
            "source": one.record.source,
            "seq": one.record.seq,
        }
        for one in new
        for subject in set(one.record.what)
    ]
    if subjects:
        session.execute(_KEEP_SUBJECT, subjects)

"""Finds what the log says about a thing, each record proved by the statement of its source that covers it."""

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import sql
from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import AuditSubject
from control_plane.db.transactions import snapshot
from shared.audit.batch import AuditAltered, Batch, verify_batch
from shared.audit.record import AuditRecord, Event, Subject
from shared.errors import Malformed

_MOST = 100


class AuditProof:
    def __init__(self, database: sessionmaker[Session], keys: EvidenceKeys) -> None:
        self._database, self._keys = database, keys

    def about(self, subject: Subject, event: Event, source: str) -> tuple[AuditRecord, ...]:
        """Return up to 100 records of `source` that say `event` of `subject`, oldest first.

        None may mean that they have not arrived yet.
        Raises AuditAltered, WrongSigner, SignatureInvalid, NotCertified: such a record is held and does not hold.
        """
        named = select(AuditSubject.seq).where(
            AuditSubject.kind == subject.kind,
            AuditSubject.name == subject.name,
            AuditSubject.event == event.value,
            AuditSubject.source == source,
        )
        with snapshot(self._database) as session:
            found = [self._proved(session, source, seq) for seq in session.scalars(named.limit(_MOST)).all()]
        return tuple(record for record in found if record.event is event and subject in record.what)

    def _proved(self, session: Session, source: str, seq: int) -> AuditRecord:
        statement = sql.statement_about(session, source, seq)
        if statement is None:
            raise AuditAltered(source, seq, "no signed statement covers it")
        rows = sql.records(session, source, first=statement.first, last=statement.last)
        batch = Batch(tuple(row.stored for row in rows), statement.signed)
        try:
            records = verify_batch(batch, source, self._keys.for_statement(source, statement.signed))
        except Malformed as exc:
            raise AuditAltered(source, seq, str(exc)) from exc
        return records[seq - statement.first]

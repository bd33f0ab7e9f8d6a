"""Finds what the log says about a thing, each record proved by the statement of its source that covers it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import objects, sql
from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.objects import OBJECT
from control_plane.audit_log.reading import MERKLE_LOG
from control_plane.db.models import AuditSubject
from control_plane.db.transactions import snapshot
from shared.audit.batch import MAX_RECORDS, AuditAltered, Batch, verify_batch
from shared.audit.events import Event, Subject
from shared.audit.record import AuditRecord
from shared.errors import Malformed

_MOST = 10


class AuditProof:
    def __init__(self, database: sessionmaker[Session], keys: EvidenceKeys) -> None:
        self._database, self._keys = database, keys

    def about(self, subject: Subject, event: Event, source: str) -> tuple[AuditRecord, ...]:
        """Return up to 10 records of `source` that say `event` of `subject`, oldest first.

        None may mean that they have not arrived yet.
        Raises AuditAltered, WrongSigner, SignatureInvalid, NotCertified: such a record is held and does not hold.
        """
        numbers = _of_object if subject.kind == OBJECT else _of_thing
        with snapshot(self._database) as session:
            read = [_read(session, source, seq) for seq in numbers(session, subject, event, source)]
        # Proved once the session is given back: looking up a key takes one of its own.
        found = [self._proved(source, *one) for one in read]
        return tuple(record for record in found if record.event is event and subject in record.what)

    def _proved(self, source: str, seq: int, first: int, batch: Batch) -> AuditRecord:
        try:
            records = verify_batch(batch, source, self._keys.for_statement(source, batch.statement))
        except Malformed as exc:
            raise AuditAltered(source, seq, str(exc)) from exc
        return records[seq - first]


def _of_thing(session: Session, subject: Subject, event: Event, source: str) -> Sequence[int]:
    named = select(AuditSubject.seq).where(
        AuditSubject.kind == subject.kind,
        AuditSubject.name == subject.name,
        AuditSubject.event == event.value,
        AuditSubject.source == source,
    )
    return session.scalars(named.order_by(AuditSubject.seq).limit(_MOST)).all()


def _of_object(session: Session, subject: Subject, event: Event, source: str) -> Sequence[int]:
    """Raises AuditAltered: a record that is meant, or may be, is gone or stands where it does not belong."""
    led_to = list(objects.led_to(session, [subject.name], event, source))
    meant = [one.seq for one in led_to if subject.name in (one.names or ())]
    # One that was altered may say something else now, which is for its proof to find; so may one of another object.
    others = [one.seq for one in led_to if subject.name not in (one.names or ())]
    if not meant and (entry := objects.hidden(session, subject.name, event, source)) is not None:
        raise AuditAltered(MERKLE_LOG, entry, "it is missing, or its row says another source, event or number")
    return [*meant[:_MOST], *others]


def _read(session: Session, source: str, seq: int) -> tuple[int, int, Batch]:
    """Return `seq`, the first record of a batch that should hold it, and that batch as it stands."""
    statement = sql.statement_about(session, source, seq)
    if statement is None or statement.last - statement.first >= MAX_RECORDS:
        raise AuditAltered(source, seq, "no signed statement covers it")
    rows = sql.records(session, source, first=statement.first, last=statement.last)
    return seq, statement.first, Batch(tuple(row.stored for row in rows), statement.signed)

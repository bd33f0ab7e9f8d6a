"""Takes in what hosts recorded: verified on arrival, continued or refused, never replaced."""

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import rows
from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import AuditRow
from control_plane.db.transactions import in_one_commit
from shared.audit.attempt import failure
from shared.audit.batch import AuditForked, Batch, judge_arrival, verify_batch
from shared.audit.record import Action, AuditRecord, Event, Happening, Outcome, Participant
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId


class AuditIntake:
    def __init__(
        self, database: sessionmaker[Session], keys: EvidenceKeys, journal: CentreJournal, clock: Clock
    ) -> None:
        self._database, self._keys, self._journal, self._clock = database, keys, journal, clock

    def take(self, host_id: HostId, data: bytes) -> int:
        """Return the number of the last record of `host_id` that is durable here, once those in `data` are.

        Any batch may arrive again, also one that overlaps what is held. A refused one leaves a record of the centre.

        Raises HostUnknown, NotCertified, Malformed, WrongSigner, SignatureInvalid, AuditAltered, AuditGap, AuditForked,
        DatabaseUnavailable.
        """
        try:
            batch = Batch.parse(data)
            records = verify_batch(batch, str(host_id), self._keys.of_active_host(host_id))
            return in_one_commit(self._database, lambda session: self._keep(session, batch, records))
        except (Refused, IntegrityFailure) as exc:
            who = (Participant("host", str(host_id), True),)
            self._journal.record(
                failure(Happening(Event.AUDIT_REFUSED, Action.CREATE, Outcome.SUCCESS, who), Event.AUDIT_REFUSED, exc)
            )
            raise

    def _keep(self, session: Session, batch: Batch, records: tuple[AuditRecord, ...]) -> int:
        source, first, last = records[0].source, records[0].seq, records[-1].seq
        held = rows.head(session, source)
        new = judge_arrival(batch, records, held)
        _verify_overlap(session, batch, source, first)
        if not new:
            return held.seq
        now = self._clock.now()
        for record, stored in zip(records[-len(new) :], new, strict=True):
            rows.insert(session, record, stored, now)
        rows.keep_statement(session, source, first, last, batch.statement)
        return last


def _verify_overlap(session: Session, batch: Batch, source: str, first: int) -> None:
    """Raises AuditForked: a record that is held already is another one in this batch."""
    last = first + len(batch.records) - 1
    held = select(AuditRow.seq, AuditRow.leaf).where(AuditRow.source == source, AuditRow.seq.between(first, last))
    for seq, leaf in session.execute(held.order_by(AuditRow.seq)):
        if batch.records[seq - first].leaf != leaf:
            raise AuditForked(source, seq)

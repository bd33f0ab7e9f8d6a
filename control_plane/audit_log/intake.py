"""Takes in what hosts recorded: verified on arrival, continued or refused, never replaced.

A host brings its own records, or those of one for which it may deliver now; the key that judges them is always that of
the host that signed them.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from control_plane.audit_log import rows
from control_plane.audit_log.evidence_keys import EvidenceKeys, HeldKey
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.quick_reader import read_batch, record_reader
from control_plane.audit_log.quick_verification import Verified, verify_quickly
from control_plane.audit_log.refusals import Refusals
from control_plane.db import driver
from control_plane.erasure.subject_box import is_subject_box
from control_plane.moving.move import Move, Moves
from shared.audit.attempt import failure
from shared.audit.batch import AuditForked, Batch, judge_arrival
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId

_HELD = "SELECT seq, leaf FROM audit_records WHERE source = ? AND seq BETWEEN ? AND ? ORDER BY seq"


class BatchOfAnotherHost(Refused):
    """Nobody allowed the sender to deliver it, or not any more."""

    def __init__(self, *, sender: HostId, named: HostId) -> None:
        super().__init__(f"{sender} sent audit records of {named}, and no open move allows that")
        self.sender, self.named = sender, named


class AuditIntake:
    def __init__(
        self,
        keys: EvidenceKeys,
        journal: CentreJournal,
        clock: Clock,
        moves: Moves,
    ) -> None:
        self._keys, self._clock = keys, clock
        self._sequencer, self._commits = journal.sequencer, journal.commits
        self._moves, self._refusals = moves, Refusals(journal)

    def take(self, host_id: HostId, data: bytes, held: Sequence[HeldKey] | None = None) -> int:
        """Return the number of the last record that is durable here of the host whose records are in `data`.

        Any batch may arrive again, also one that overlaps what is held. A refused one leaves a record of the centre,
        unless it is refused again for what the one before it was. `held` is what was just read of the sender's key,
        None where nobody has asked.

        Raises HostUnknown, NotCertified, Malformed, BatchOfAnotherHost, MoveOver, WrongSigner, SignatureInvalid,
        AuditAltered, AuditGap, AuditForked, LogFull, DatabaseUnavailable.
        """
        source = host_id
        try:
            batch = read_batch(data)
            key = self._keys.of_active_host(host_id) if held is None else self._keys.among(host_id, held)
            move = None
            source = _claimed_source(batch) or host_id
            if source != host_id:
                move = self._moves.permitting(source, host_id)
                if move is None:
                    raise BatchOfAnotherHost(sender=host_id, named=source)
                key = self._keys.for_statement(str(source), batch.statement)
            verified = verify_quickly(batch, str(source), key)
            _verify_sealed_by_a_host(batch)
            last = self._commits.run(lambda session: self._keep(session, batch, verified, move))
        except (Refused, IntegrityFailure) as exc:
            who = (Participant("host", str(host_id), True),)
            refused = failure(
                Happening(Event.AUDIT_REFUSED, Action.CREATE, Outcome.SUCCESS, who), Event.AUDIT_REFUSED, exc
            )
            self._refusals.record(refused, host_id, source, refused.reason)
            raise
        self._refusals.over(host_id, source)
        return last

    def _keep(self, session: Session, batch: Batch, verified: Verified, move: Move | None) -> int:
        records, leaves = verified
        source, first, last = records[0].source, records[0].seq, records[-1].seq
        held = rows.head(session, source)
        new = judge_arrival(batch, records, held)
        if first <= held.seq:
            _verify_overlap(session, batch, source, first)
        if not new:
            return held.seq
        if move is not None:
            self._moves.count(session, move, records=len(new))
        now = self._clock.now()
        kept = rows.New(records[-len(new) :], new, leaves[-len(new) :])
        rows.keep(session, rows.Arrival(source, [(first, last, batch.statement)], kept, now), self._sequencer)
        return last


def _claimed_source(batch: Batch) -> HostId | None:
    """Return whose records a batch says it holds, None where that is no host; nothing of it is believed yet."""
    try:
        return HostId.parse(record_reader()(batch.records[0].public).source)
    except (Malformed, IndexError):
        return None


def _verify_sealed_by_a_host(batch: Batch) -> None:
    """Raises Malformed: a box names keys of subjects, which the centre alone has and would be asked for."""
    if any(stored.sealed is not None and is_subject_box(stored.sealed) for stored in batch.records):
        raise Malformed("audit batch", "a private part is sealed to its subjects, which the centre alone does")


def _verify_overlap(session: Session, batch: Batch, source: str, first: int) -> None:
    """Raises AuditForked: a record that is held already is another one in this batch."""
    last = first + len(batch.records) - 1
    for seq, leaf in driver.rows(session, _HELD, (source, first, last)):
        if batch.records[seq - first].leaf != driver.blob(leaf):
            raise AuditForked(source, seq)

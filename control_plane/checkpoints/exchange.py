"""Answers hosts that hold the centre's log against what they saw of it, and learns from them what it lost."""

import logging
from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.refusals import Refusals
from control_plane.checkpoints import rows, trees
from control_plane.checkpoints.guard import LogGuard
from control_plane.db.transactions import DatabaseUnavailable, snapshot
from control_plane.witnesses.rounds import Rounds
from shared.audit.attempt import Journal
from shared.audit.checkpoint import CheckpointAnswer, CheckpointQuestion, claimed_checkpoint
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.log_key import LogKeyOffer
from shared.audit.tlog.witnessing import HeadAnswer, HeadQuestion, asked_version
from shared.errors import IntegrityFailure
from shared.identity import HostId

_LOG = logging.getLogger(__name__)


class CheckpointExchange:
    """`offer` returns by which key checkpoints are signed, with the certificate of the key that signs the log."""

    def __init__(
        self,
        database: sessionmaker[Session],
        guard: LogGuard,
        journal: Journal,
        offer: Callable[[], LogKeyOffer],
        rounds: Rounds,
    ) -> None:
        self._database, self._guard, self._offer, self._rounds = database, guard, offer, rounds
        self._refusals = Refusals(journal)

    def answer(self, host_id: HostId, question: bytes) -> bytes:
        """Answer a question of either version in its own. Raises Malformed: it is none; DatabaseUnavailable."""
        if asked_version(question) == 1:
            asked = CheckpointQuestion.parse(question)
            self._take(host_id, asked.seen, None)
            return self._numbers(asked).encode()
        return self._answer(host_id, HeadQuestion.parse(question)).encode()

    def _answer(self, host_id: HostId, question: HeadQuestion) -> HeadAnswer:
        seen = None if question.head is None else claimed_head(question.head)
        self._take(host_id, question.numbers.seen, question.head)
        note = self._rounds.current().note
        # After the head, so that it has at least the numbers that are in it.
        numbers, present = self._numbers(question.numbers), claimed_head(note)
        with snapshot(self._database) as session:
            proof = None if seen is None else trees.consistency(session, seen, present)
            lost = None if seen is None else rows.accepted_tree_loss(session, seen.size)
        return HeadAnswer(numbers, self._offer().statement, note, proof, lost)

    def _numbers(self, question: CheckpointQuestion) -> CheckpointAnswer:
        at = None if question.seen is None else claimed_checkpoint(question.seen).seq
        with snapshot(self._database) as session:
            present = rows.newest_statement(session)
            if present is None:
                raise DatabaseUnavailable("the centre's log holds no statement")
            at_seen = None if at is None else rows.statement_of(session, at)
            accepted = None if at is None else rows.accepted_loss(session, at)
        return CheckpointAnswer(present, at_seen, accepted, self._offer().certificate)

    def _take(self, host_id: HostId, seen: bytes | None, head: str | None) -> None:
        """Raises Malformed: what was seen is no statement at all."""
        if seen is None:
            return
        claimed_checkpoint(seen)
        try:
            self._guard.seen(str(host_id), seen, head)
        except IntegrityFailure as exc:
            # Whoever lies about the log must not stop the centre; it is answered as everybody is.
            _LOG.warning("log.checkpoint-refused", extra={"host": str(host_id), "why": str(exc)})
            who = (Participant("host", str(host_id), True),)
            reason = f"{type(exc).__name__}: {exc}"
            happening = Happening(Event.CHECKPOINT_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, reason=reason)
            self._refusals.record(happening, host_id, host_id, reason)

"""Answers hosts that hold the centre's log against what they saw of it, and learns from them what it lost."""

import logging
from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.refusals import Refusals
from control_plane.checkpoints import rows
from control_plane.checkpoints.guard import LogGuard
from control_plane.db.transactions import DatabaseUnavailable, snapshot
from shared.audit.attempt import Journal
from shared.audit.checkpoint import CheckpointAnswer, CheckpointQuestion, claimed_checkpoint
from shared.audit.record import Action, Event, Happening, Outcome, Participant
from shared.errors import IntegrityFailure
from shared.identity import HostId

_LOG = logging.getLogger(__name__)


class CheckpointExchange:
    """`certificate` returns, in PEM, that of the key which signs the log, with all that leads to a root."""

    def __init__(
        self,
        database: sessionmaker[Session],
        guard: LogGuard,
        journal: Journal,
        certificate: Callable[[], bytes],
    ) -> None:
        self._database, self._guard, self._certificate = database, guard, certificate
        self._refusals = Refusals(journal)

    def answer(self, host_id: HostId, question: CheckpointQuestion) -> CheckpointAnswer:
        """Raises Malformed: what was seen is no statement at all; DatabaseUnavailable."""
        at = None
        if question.seen is not None:
            at = claimed_checkpoint(question.seen).seq
            self._take(host_id, question.seen)
        with snapshot(self._database) as session:
            present = rows.newest_statement(session)
            if present is None:
                raise DatabaseUnavailable("the centre's log holds no statement")
            at_seen = None if at is None else rows.statement_of(session, at)
            accepted = None if at is None else rows.accepted_loss(session, at)
        return CheckpointAnswer(present, at_seen, accepted, self._certificate().decode())

    def _take(self, host_id: HostId, seen: bytes) -> None:
        try:
            self._guard.seen(str(host_id), seen)
        except IntegrityFailure as exc:
            # Whoever lies about the log must not stop the centre; it is answered as everybody is.
            _LOG.warning("log.checkpoint-refused", extra={"host": str(host_id), "why": str(exc)})
            who = (Participant("host", str(host_id), True),)
            reason = f"{type(exc).__name__}: {exc}"
            happening = Happening(Event.CHECKPOINT_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, reason=reason)
            self._refusals.record(happening, host_id, host_id, reason)

"""Holds the centre's log against the highest checkpoint that this host ever saw of it, at its start and ever after."""

import random
import threading
from collections.abc import Callable

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.database import Database
from edge_agent.https import HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.log_witness.judge import judge
from edge_agent.log_witness.store import CheckpointStore, Held
from edge_agent.parts import Bell
from shared.audit.centre_key import verify_centre_key
from shared.audit.checkpoint import (
    PATH,
    Checkpoint,
    CheckpointAnswer,
    CheckpointQuestion,
    Loss,
    loss_subject,
    verify_checkpoint,
    verify_loss,
)
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject, readable
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.state import MAX_SAID_CHARS
from shared.identity import CONTROL_PLANE, HostId

_EVERY_S = 600.0


class LogWitness:
    """A part of the agent. What it holds is never replaced by less, but for what a named person accepted as lost."""

    name = "log-witness"

    def __init__(
        self,
        door: HttpsDoor,
        *,
        host_id: HostId,
        trust: Callable[[], Trust],
        database: Database,
        store: CheckpointStore,
        journal: Journal,
        log: Log,
        on_change: Callable[[], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._host_id, self._trust = door, host_id, trust
        self._database, self._store, self._journal = database, store, journal
        self._log, self._on_change, self._spread = log, on_change, spread
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.ask()
                failures = 0
                self.bell.sleep(_EVERY_S)
            except (Unavailable, Refused) as exc:
                failures += 1
                self._log.event("log.witness-waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread(), longest_s=_EVERY_S))
        self._door.close()

    def ask(self) -> None:
        """Show the centre what this host saw of its log, and keep what it answers if it goes on from there.

        Raises DoorUnavailable, DoorRefused, DatabaseUnavailable; what is held then stays.
        """
        held = self._store.held()
        question = CheckpointQuestion(held.signed)
        answer = accepted(self._door.name, self._door.post(PATH, question.encode(), "application/json"))
        try:
            self._take(held, CheckpointAnswer.parse(answer.body))
        except (Malformed, IntegrityFailure) as exc:
            self._say(held, readable(f"not proved: {why(exc)}", MAX_SAID_CHARS))

    def _take(self, held: Held, answer: CheckpointAnswer) -> None:
        """Raises Malformed, NotTheCentresKey, WrongSigner, SignatureInvalid, NotOfThisLog: nothing is kept."""
        key = verify_centre_key(answer.certificate, self._trust())
        present = verify_checkpoint(answer.present, key)
        at_held = None if answer.at_seen is None else verify_checkpoint(answer.at_seen, key)
        lost = None if answer.accepted is None else verify_loss(answer.accepted, key)
        judged = judge(held.checkpoint, present, at_held, lost)
        with self._database.transaction():
            if judged.lost is not None and held.checkpoint is not None and answer.accepted is not None:
                self._store.lose(answer.accepted.record)
                self._journal.record(self._followed(held.checkpoint, judged.lost))
            if judged.keeps:
                self._store.keep(present, answer.present)
            self._say(held, judged.said)

    def _say(self, held: Held, said: str) -> None:
        if said == held.said:
            return
        with self._database.transaction():
            self._store.say(said)
            # The number to which it shrank changes with every record; that it shrank is recorded once.
            if said and said.split(maxsplit=1)[0] != held.said.partition(" ")[0]:
                self._journal.record(self._not_continued(held.checkpoint, said))
        self._log.event("log.not-continued" if said else "log.continued", said=said)
        self._on_change()

    def _not_continued(self, held: Checkpoint | None, said: str) -> Happening:
        what = () if held is None else _subjects(held)
        return Happening(
            Event.LOG_NOT_CONTINUED, Action.EXECUTE, Outcome.MAJOR_FAILURE, self._who(), what, f"centre's log: {said}"
        )

    def _followed(self, held: Checkpoint, lost: Loss) -> Happening:
        what = (loss_subject(lost.first, lost.last), *_subjects(held))
        who = (*self._who(), Participant("person", lost.person, False))
        return Happening(Event.LOG_LOSS_FOLLOWED, Action.EXECUTE, Outcome.SUCCESS, who, what)

    def _who(self) -> tuple[Participant, ...]:
        return (Participant("host", str(self._host_id), True),)


def _subjects(held: Checkpoint) -> tuple[Subject, ...]:
    return Subject("record", f"{CONTROL_PLANE} {held.seq}"), Subject("digest", held.leaf.hex())

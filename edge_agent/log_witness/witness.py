"""Holds the centre's log against the highest checkpoint that this host ever saw of it, at its start and ever after."""

import random
import threading
from collections.abc import Callable

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.database import Database
from edge_agent.https import DoorRefused, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.log_witness.cosigner import Cosigner
from edge_agent.log_witness.judge import Judgement, judge, judge_head
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
    tree_subject,
    verify_checkpoint,
    verify_loss,
)
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import readable
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.checkpoint import verify_checkpoint as verify_head
from shared.audit.tlog.log_key import verify_log_key
from shared.audit.tlog.witnessing import COSIGNATURE_PATH, HeadAnswer, HeadQuestion
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.state import MAX_SAID_CHARS
from shared.identity import CONTROL_PLANE, HostId
from shared.signing import EvidencePublicKey

_EVERY_S = 600.0
_JSON = "application/json"
_NOT_UNDERSTOOD = 422


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
        cosigner: Cosigner,
        log: Log,
        on_change: Callable[[], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._host_id, self._trust = door, host_id, trust
        self._database, self._store, self._journal, self._cosigner = database, store, journal, cosigner
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
        """Show the centre what this host saw of its log; keep what it answers if it goes on from there, and cosign it.

        Raises DoorUnavailable, DoorRefused, DatabaseUnavailable; what is held then stays.
        """
        held = self._store.held()
        numbers = CheckpointQuestion(held.signed)
        try:
            answer = self._post(PATH, HeadQuestion(numbers, held.note).encode())
        except DoorRefused as exc:
            # A centre of the version before. Once it showed a head, none that shows less is taken for the same.
            if exc.status != _NOT_UNDERSTOOD or held.note is not None:
                raise
            self._judged(held, lambda: self._take_numbers(held, self._post(PATH, numbers.encode())))
            return
        if self._judged(held, lambda: self._take(held, HeadAnswer.parse(answer))):
            self._cosign()

    def _post(self, path: str, body: bytes) -> bytes:
        return accepted(self._door.name, self._door.post(path, body, _JSON)).body

    def _judged(self, held: Held, take: Callable[[], bool]) -> bool:
        """Return whether the log goes on from what is held, by an answer that is proved."""
        try:
            return take()
        except (Malformed, IntegrityFailure) as exc:
            self._say(held, readable(f"not proved: {why(exc)}", MAX_SAID_CHARS))
            return False

    def _take(self, held: Held, answer: HeadAnswer) -> bool:
        """Raises Malformed, NotTheCentresKey, WrongSigner, SignatureInvalid, NotOfThisLog, NoteUnverified."""
        key = verify_centre_key(answer.numbers.certificate, self._trust())
        present = verify_head(answer.head, [verify_log_key(answer.key, key)])
        lost = None if answer.lost is None else verify_loss(answer.lost, key)
        head = judge_head(held.head, present, answer.proof, lost, held.checkpoint)
        numbers = self._judge_numbers(held, answer.numbers, key)
        if head.said or numbers.said:
            self._say(held, readable(numbers.said or head.said, MAX_SAID_CHARS))
            return False
        with self._database.transaction():
            if head.lost is not None and held.head is not None and answer.lost is not None:
                self._store.lose_head(answer.lost.record)
                self._journal.record(self._followed(_head_subjects(held.head), head.lost))
            if head.keeps:
                self._store.keep_head(answer.head)
            self._keep_numbers(held, numbers, answer.numbers, key)
            self._say(held, "")
        return True

    def _take_numbers(self, held: Held, body: bytes) -> bool:
        """Raises Malformed, NotTheCentresKey, WrongSigner, SignatureInvalid, NotOfThisLog: nothing is kept."""
        answer = CheckpointAnswer.parse(body)
        key = verify_centre_key(answer.certificate, self._trust())
        judged = self._judge_numbers(held, answer, key)
        with self._database.transaction():
            self._keep_numbers(held, judged, answer, key)
            self._say(held, judged.said)
        return not judged.said

    def _judge_numbers(self, held: Held, answer: CheckpointAnswer, key: EvidencePublicKey) -> Judgement:
        at_held = None if answer.at_seen is None else verify_checkpoint(answer.at_seen, key)
        lost = None if answer.accepted is None else verify_loss(answer.accepted, key)
        return judge(held.checkpoint, verify_checkpoint(answer.present, key), at_held, lost)

    def _keep_numbers(self, held: Held, judged: Judgement, answer: CheckpointAnswer, key: EvidencePublicKey) -> None:
        if judged.lost is not None and held.checkpoint is not None and answer.accepted is not None:
            self._store.lose(answer.accepted.record)
            self._journal.record(self._followed(_subjects(held.checkpoint), judged.lost))
        if judged.keeps:
            self._store.keep(verify_checkpoint(answer.present, key), answer.present)

    def _cosign(self) -> None:
        """Cosign what is durable, so that no crash leaves a signature over more than this host remembers.

        What is held does not rest on it: where it fails, the centre misses this witness and says so.
        """
        note = self._store.held().note
        if note is None:
            return
        try:
            cosigned = self._cosigner.cosign(note)
            self._store.note_cosigner(self._cosigner.vkey())
            self._post(COSIGNATURE_PATH, cosigned.encode())
        except (Unavailable, Refused) as exc:
            self._log.event("log.not-cosigned", why=why(exc))

    def _say(self, held: Held, said: str) -> None:
        if said == held.said:
            return
        with self._database.transaction():
            self._store.say(said)
            # The number to which it shrank changes with every record; that it shrank is recorded once.
            if said and said.split(maxsplit=1)[0] != held.said.partition(" ")[0]:
                self._journal.record(self._not_continued(held, said))
        self._log.event("log.not-continued" if said else "log.continued", said=said)
        self._on_change()

    def _not_continued(self, held: Held, said: str) -> Happening:
        what = () if held.checkpoint is None else _subjects(held.checkpoint)
        what += () if held.head is None else _head_subjects(held.head)
        return Happening(
            Event.LOG_NOT_CONTINUED, Action.EXECUTE, Outcome.MAJOR_FAILURE, self._who(), what, f"centre's log: {said}"
        )

    def _followed(self, held: tuple[Subject, ...], lost: Loss) -> Happening:
        who = (*self._who(), Participant("person", lost.person, False))
        what = (loss_subject(lost.first, lost.last), *held)
        return Happening(Event.LOG_LOSS_FOLLOWED, Action.EXECUTE, Outcome.SUCCESS, who, what)

    def _who(self) -> tuple[Participant, ...]:
        return (Participant("host", str(self._host_id), True),)


def _subjects(held: Checkpoint) -> tuple[Subject, ...]:
    return Subject("record", f"{CONTROL_PLANE} {held.seq}"), Subject("digest", held.leaf.hex())


def _head_subjects(held: TreeHead) -> tuple[Subject, ...]:
    return tree_subject(held.size), Subject("digest", held.root.hex())

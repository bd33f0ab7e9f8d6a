"""Sends the journal to the centre in signed batches, at least once, in order."""

import json
import random
import threading
from collections.abc import Callable

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.courtesy import Yields, at_once
from edge_agent.https import Answer, DoorRefused, DoorUnavailable, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.audit.batch import Batch, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.packed import MEMBER, pack
from shared.errors import Refused, Unavailable
from shared.identity import HostId
from shared.signing import EvidenceSigner

PATH = "/api/v1/audit/batches"
_MOST_RECORDS = 500
_MOST_BYTES = 4 << 20
_LOOK_AGAIN_S = 60.0  # for what a person's command recorded in another process
_LOOKS_BETWEEN_CONFIRMING = 15  # that found nothing to send: about a quarter of an hour
_GATHER_S = 0.2  # one image makes two records; let them travel together
_CONFLICT = 409


class RecordsLetGo(Refused):
    """The centre asks for records that it had confirmed and that are no longer kept: it is one of an old backup."""

    def __init__(self, held: int, oldest: int) -> None:
        super().__init__(
            f"the centre lost records {held + 1} to {oldest - 1}, which it had confirmed and are let go here"
        )
        self.held, self.oldest = held, oldest


class AuditUploader:
    """A part of the agent: sends whenever a record is added that the centre does not hold."""

    name = "audit-upload"

    def __init__(
        self,
        door: HttpsDoor,
        *,
        host_id: HostId,
        journal: Journal,
        signer: EvidenceSigner,
        log: Log,
        bell: Bell,
        on_loss: Callable[[int], None] = lambda _held: None,
        reads: Callable[[str], bool] = lambda _member: False,
        yields: Yields = at_once,
        spread: Callable[[], float] = random.random,
        look_again_s: float = _LOOK_AGAIN_S,
    ) -> None:
        """`on_loss` is told up to which record the centre holds what it had confirmed further: it was put back to an
        older state, and may have lost anything that came since. `reads` says whether the centre named something among
        what it reads.
        """
        self._door, self._host_id, self._journal, self._signer = door, host_id, journal, signer
        self._log, self._spread, self._look_again_s = log, spread, look_again_s
        self._on_loss, self._yields, self._reads = on_loss, yields, reads
        self._refused = ""  # why the centre refused last, so that it is recorded once
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = idle = 0
        while not stop.is_set():
            try:
                self._yields(stop)
                if self.send_next():
                    idle = 0
                elif self._journal.make_up() or (idle % _LOOKS_BETWEEN_CONFIRMING == 0 and self.is_behind()):
                    continue
                else:
                    idle += 1
                    self.bell.sleep(self._look_again_s)
                    stop.wait(_GATHER_S)
                failures = 0
            except (Unavailable, DoorRefused, RecordsLetGo) as exc:
                failures, idle = failures + 1, 0
                self._log.event("audit.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
        self._door.close()

    def send_next(self) -> bool:
        """Send the oldest records that the centre has not confirmed; return whether there were any.

        Raises DoorUnavailable, DatabaseUnavailable: try again. Raises DoorRefused, RecordsLetGo: the centre will not
        have this journal's continuation, which a person has to look into; the journal goes on and everything is kept.
        """
        unsent = self._journal.unsent(most=_MOST_RECORDS, most_bytes=_MOST_BYTES)
        if unsent is None:
            return False
        batch = sign_batch(str(self._host_id), unsent.prev, unsent.records, self._signer)
        answer = self._post(batch)
        held = held_by(answer)
        if answer.status == _CONFLICT and held is not None and held != unsent.acknowledged:
            self._go_back_to(held)
            return True
        try:
            accepted(self._door.name, answer)
        except DoorRefused as exc:
            self._note(why(exc))
            raise
        if held is None or held < unsent.acknowledged + len(unsent.records):
            raise DoorUnavailable(self._door.name, "it does not confirm the audit records that it took")
        self._journal.acknowledge(held)
        return True

    def is_behind(self) -> bool:
        """Send the last confirmed record again; return whether the centre turns out to hold less than it confirmed.

        It was restored from a backup then. What it lost is sent once more, which is how it learns what else it lost.
        Raises DoorUnavailable, DatabaseUnavailable, RecordsLetGo.
        """
        acknowledged = self._journal.acknowledged()
        last = self._journal.after(acknowledged - 1, most=1, most_bytes=_MOST_BYTES) if acknowledged else None
        if last is None:
            return False
        batch = sign_batch(str(self._host_id), last.prev, last.records, self._signer)
        answer = self._post(batch)
        held = held_by(answer)
        if answer.status != _CONFLICT or held is None or held >= acknowledged:
            return False
        self._go_back_to(held)
        return True

    def _go_back_to(self, held: int) -> None:
        """Raises RecordsLetGo, once with a record of it."""
        oldest = self._journal.oldest()
        if held + 1 < oldest:
            lost = RecordsLetGo(held, oldest)
            if str(lost) != self._refused:
                self._on_loss(held)  # first: a stop between the two, or a failure, finds the loss again
            self._note(str(lost))
            raise lost
        self._log.event("audit.gap", held=held)
        self._on_loss(held)  # first, as above
        self._journal.acknowledge(held)

    def _post(self, batch: Batch) -> Answer:
        if self._reads(MEMBER):
            return self._door.post(PATH, pack(batch), "application/octet-stream")
        return self._door.post(PATH, batch.encode(), "application/json")

    def _note(self, reason: str) -> None:
        if reason == self._refused:
            return
        self._refused = reason
        who = (Participant("host", str(self._host_id), True),)
        self._journal.record(
            Happening(Event.AUDIT_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, reason=reason)
        )


def held_by(answer: Answer) -> int | None:
    """Return up to which record the centre says it has confirmed, None where it does not say."""
    try:
        members = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    held = members.get("held") if isinstance(members, dict) else None
    return held if isinstance(held, int) and not isinstance(held, bool) and held >= 0 else None

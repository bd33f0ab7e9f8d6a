"""Sends the records that other hosts signed and that were brought here, each host's in order, until the centre has all.

The centre takes them only while somebody's word allows it, so being refused for now is no failure: they are kept, what
holds them up is noted for the status, and they are tried again.
"""

import random
import threading
from collections.abc import Callable

from edge_agent.audit.journal import Journal
from edge_agent.audit.uploader import PATH, held_by
from edge_agent.backoff import ask_again_s, delay_s
from edge_agent.courtesy import Yields, at_once
from edge_agent.deliver.uploader import FORBIDDEN, NOT_ALLOWED
from edge_agent.https import DoorRefused, DoorUnavailable, HttpsDoor, accepted, problem
from edge_agent.log import Log, why
from edge_agent.moving.store import MovedBatch, MovedStore
from edge_agent.parts import Bell
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Unavailable
from shared.identity import HostId


class MovedAuditUploader:
    """A part of the agent. With nothing left to send it sleeps for good: imports happen while no agent runs."""

    name = "moved-audit-upload"

    def __init__(
        self,
        door: HttpsDoor,
        *,
        host_id: HostId,
        moved: MovedStore,
        journal: Journal,
        log: Log,
        yields: Yields = at_once,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._host_id, self._moved, self._journal = door, host_id, moved, journal
        self._log, self._spread, self._yields = log, spread, yields
        self._stop = threading.Event()
        self._refused: dict[HostId, str] = {}  # why the centre refused last, so that it is recorded once
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        self._stop = stop
        failures = refusals = 0
        while not stop.is_set():
            try:
                refusals = 0 if self.send_all() else refusals + 1
                failures = 0
            except Unavailable as exc:
                failures += 1
                self._log.event("moved-audit.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
                continue
            self.bell.sleep(ask_again_s(refusals, self._spread()) if refusals else None)
        self._door.close()

    def send_all(self) -> bool:
        """Send what the centre takes now; return whether nothing is left. One host never waits for another.

        Raises DoorUnavailable, once every host was tried, and DatabaseUnavailable: try again.
        """
        unavailable: DoorUnavailable | None = None
        for host in self._moved.hosts_with_batches():
            try:
                self._send(host)
            except DoorUnavailable as exc:
                unavailable = exc
        if unavailable is not None:
            raise unavailable
        return not self._moved.hosts_with_batches()

    def _send(self, host: HostId) -> None:
        while (batch := self._moved.next_batch(host)) is not None:
            self._yields(self._stop)
            try:
                held = self._deliver(batch)
            except DoorRefused as exc:
                self._note(host, why(exc))
                return
            if held is None:
                self._moved.note(host, NOT_ALLOWED)
                return
            self._moved.acknowledge(host, held)
            self._moved.note(host, "")

    def _deliver(self, batch: MovedBatch) -> int | None:
        """Return up to which record of its host the centre has confirmed, None where it takes nothing of it now.

        Raises DoorRefused: it will not have this continuation of the host's journal, and a person has to look into it.
        """
        answer = self._door.post(PATH, batch.batch, "application/json")
        if answer.status == FORBIDDEN:
            self._log.event("moved-audit.not-allowed", host=str(batch.host), why=problem(answer).get("title", ""))
            return None
        accepted(self._door.name, answer)
        held = held_by(answer)
        if held is None or held < batch.last:
            raise DoorUnavailable(self._door.name, "it does not confirm the audit records that it took")
        return held

    def _note(self, host: HostId, reason: str) -> None:
        self._moved.note(host, reason)
        if self._refused.get(host) == reason:
            return
        self._refused[host] = reason
        who, what = (Participant("host", str(self._host_id), True),), (Subject("host", str(host)),)
        self._journal.record(Happening(Event.AUDIT_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, what, reason))

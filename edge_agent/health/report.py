"""The state report: signed, numbered, sent every so often and whenever something changed."""

import random
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent import SOFTWARE
from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.database import Database
from edge_agent.https import HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.spool.spool import Spool
from shared.audit.events import Event
from shared.clock import Clock
from shared.errors import Refused, Unavailable
from shared.fleet.budget import Budget
from shared.fleet.devices import GuardReport
from shared.fleet.keys import KeyProtection
from shared.fleet.state import CaptureState, FailedLayer, HostState, LayerState, sign_state
from shared.identity import HostId
from shared.signing import EvidenceSigner

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state_number (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO state_number VALUES (1, 0);
"""
_WITHOUT_POLICY_S = 15.0
REFUSALS = (Event.ASSOCIATION_REFUSED, Event.IMAGE_REFUSED, Event.DELIVERY_REFUSED)


class StatePublisher(Protocol):
    def publish_state(self, signed: bytes, /) -> bool:
        """Return whether the report is certain to have gone out."""


class NoBroker:
    """Where the centre has no broker: every report goes over HTTPS."""

    def publish_state(self, _signed: bytes, /) -> bool:
        return False


class StateReporter:
    """A part of the agent. Rung, it reports at once. `run_name` is drawn by whoever starts the agent."""

    name = "state-report"

    def __init__(
        self,
        door: HttpsDoor,
        broker: StatePublisher,
        *,
        host_id: HostId,
        signer: EvidenceSigner,
        database: Database,
        store: PolicyStore,
        spool: Spool,
        journal: Journal,
        clock: Clock,
        log: Log,
        listening: Callable[[], bool],
        policy_error: Callable[[], str],
        capture: Callable[[], CaptureState] = CaptureState,
        guard: Callable[[], GuardReport | None] = lambda: None,
        brought_records: Callable[[], int] = lambda: 0,
        isolated: Callable[[], bool] = lambda: False,
        centre_log: Callable[[], str] = lambda: "",
        renewal_error: Callable[[], str] = lambda: "",
        keys: KeyProtection = KeyProtection.FILE,
        budget: Callable[[], Budget | None] = lambda: None,
        bell: Bell,
        run_name: str = "",
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._broker, self._host_id, self._signer = door, broker, host_id, signer
        self._database, self._store, self._spool, self._journal = database, store, spool, journal
        self._clock, self._log, self._spread = clock, log, spread
        self._listening, self._policy_error, self._capture = listening, policy_error, capture
        self._guard, self._brought_records, self._isolated = guard, brought_records, isolated
        self._centre_log, self._renewal_error = centre_log, renewal_error
        self._keys, self._budget = keys, budget
        self.bell, self._run_name = bell, run_name
        database.create(_SCHEMA)

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.report()
                failures = 0
            except (Unavailable, Refused) as exc:
                failures += 1
                self._log.event("state.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
                continue
            policy = self._store.in_force()
            self.bell.sleep(policy.state_every_s if policy is not None else _WITHOUT_POLICY_S)
        self._door.close()

    def report(self) -> None:
        """Send one report, by the broker if it is there, else over HTTPS. Raises DoorUnavailable, DoorRefused."""
        signed = sign_state(self.state().fitted(), self._signer)
        if not self._broker.publish_state(signed):
            accepted(self._door.name, self._door.post("/api/v1/state", signed, "application/octet-stream"))

    def state(self) -> HostState:
        """Return the present state under the next number. Raises DatabaseUnavailable."""
        held, in_force = self._store.held(), self._store.in_force_versions()
        organisation, *parts = (
            LayerState(layer, held[layer].version if layer in held else 0, in_force.get(layer, 0))
            for layer in self._store.layers
        )
        return HostState(
            host_id=self._host_id,
            number=self._next_number(),
            time=self._clock.now(),
            software=SOFTWARE,
            policy_accepted=organisation.accepted,
            policy_in_force=organisation.in_force,
            policy_error=self._policy_error(),
            listening=self._listening(),
            waiting=self._spool.waiting(),
            captured=self._journal.count(Event.IMAGE_CAPTURED),
            delivered=self._journal.count(Event.IMAGE_DELIVERED),
            refused=self._journal.count(*REFUSALS),
            audit_waiting=self._journal.waiting() + self._brought_records(),
            capture=self._capture(),
            guard=self._guard(),
            run=self._run_name,
            isolated=self._isolated(),
            layers=tuple(parts),
            failed=tuple(FailedLayer(layer, version) for layer, version in self._store.failed_here().items()),
            centre_log=self._centre_log(),
            renewal_error=self._renewal_error(),
            keys=self._keys,
            budget=self._budget(),
        )

    def _next_number(self) -> int:
        with self._database.transaction() as connection:
            row = connection.execute("UPDATE state_number SET n = n + 1 RETURNING n").fetchone()
        return int(row[0])

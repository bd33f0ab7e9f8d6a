"""Fetches commands over HTTPS and brings their results there: at start, when the broker hints, and every so often."""

import random
import threading
from collections.abc import Callable

from edge_agent.backoff import delay_s
from edge_agent.commands.executor import CommandExecutor
from edge_agent.commands.store import CommandStore
from edge_agent.https import DoorRefused, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.policy_sync.pull import PolicyNotCurrent
from shared.errors import Refused, Unavailable
from shared.fleet.command import parse_commands
from shared.policy.document import PolicyDocument

_NOT_FOUND = 404
_WITHOUT_POLICY_S = 15.0
_SPREAD = 0.25  # by which share an interval may be shorter, so that hosts that started together do not ask together
_LEAST_S = 1.0  # however often it is rung


class CommandPart:
    """A part of the agent. Rung, it asks at once."""

    name = "commands"

    def __init__(
        self,
        door: HttpsDoor,
        executor: CommandExecutor,
        store: CommandStore,
        *,
        policy: Callable[[], PolicyDocument | None],
        log: Log,
        bell: Bell,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._executor, self._store = door, executor, store
        self._policy, self._log, self._spread = policy, log, spread
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.exchange(stop)
                failures = 0
            except (Unavailable, Refused) as exc:
                failures += 1
                self._log.event("command.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
                continue
            policy = self._policy()
            stop.wait(_LEAST_S)
            every_s = policy.pull_every_s if policy is not None else _WITHOUT_POLICY_S
            self.bell.sleep(every_s * (1 - _SPREAD * self._spread()))
        self._door.close()

    def exchange(self, stop: threading.Event) -> None:
        """Tell what is done, do what is asked, and tell that.

        Raises DoorUnavailable, DoorRefused, DatabaseUnavailable, TrustCacheUnavailable, PolicyNotCurrent: everything
        that was not told yet is told next time.
        """
        # Whatever is begun and has no end now was cut short, by the end of an agent or by a disk that took no more.
        self._executor.recover()
        self._tell()
        answer = self._door.get("/api/v1/commands")
        if answer.status == _NOT_FOUND:  # a centre of an earlier version
            return
        waits: PolicyNotCurrent | None = None
        for offered in parse_commands(accepted(self._door.name, answer).body):
            if stop.is_set():
                return
            try:
                self._executor.take(offered, stop)
            except PolicyNotCurrent as exc:  # which keeps no other command waiting
                waits = exc
            self._tell()
        if waits is not None:
            raise waits

    def _tell(self) -> None:
        for waiting in self._store.waiting():
            path = f"/api/v1/commands/{waiting.command_id}/result"
            try:
                accepted(self._door.name, self._door.post(path, waiting.signed, "application/octet-stream"))
            except DoorRefused as exc:
                # It will not be taken however often it is sent; the audit journal has what happened.
                self._log.event("command.result-refused", command=str(waiting.command_id), why=why(exc))
            self._store.confirm(waiting)

"""Pulls the policy over HTTPS: at start, after a reconnect, every so often, and when a head came without its layers.

This is what a host relies on. A broker only makes it faster; one that is away or says nothing makes it more frequent.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edge_agent.backoff import delay_s
from edge_agent.https import HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.policy_sync.hints import TURN_WITHIN_S, Hints, pull_after_s
from edge_agent.policy_sync.updater import PolicyUpdater
from shared.errors import Refused, Unavailable
from shared.policy.document import PolicyDocument

_NOT_MODIFIED, _NOT_FOUND = 304, 404
_WITHOUT_POLICY_S = 15.0
_LEAST_S = 1.0  # however often it is rung


class PolicyNotCurrent(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the policy that the centre has published is not taken here yet: {why}")
        self.why = why


class _News(NamedTuple):
    path: str
    etag: str
    body: bytes


class PolicyPull:
    """Brings to `updater` what the centre has published. For one thread."""

    def __init__(
        self, door: HttpsDoor, layers: Sequence[str], updater: PolicyUpdater, hints: Hints | None = None
    ) -> None:
        self._door, self._layers, self._updater = door, tuple(layers), updater
        self._hints = hints or Hints(has_broker=False)
        self._etags: dict[str, str] = {}

    def pull(self) -> None:
        """Offer what the centre has published: every layer is asked for before the head that names it.

        Raises DoorUnavailable, DoorRefused, DatabaseUnavailable, TrustCacheUnavailable.
        """
        # While an offer stands refused, or waits, what was right before may have been taken for something else.
        known = self._etags if self._updater.is_settled else {}
        layers = [self._get(f"/api/v1/policy/layers/{layer}", known) for layer in self._layers]
        head = self._get("/api/v1/policy/head", known)
        self._updater.offer(head.body if head else None, [layer.body for layer in layers if layer])
        self._etags.update({news.path: news.etag for news in (*layers, head) if news})

    def refresh(self) -> None:
        """Have the policy metadata be what the centre has published now. Raises PolicyNotCurrent."""
        try:
            self.pull()
        except (Unavailable, Refused) as exc:
            raise PolicyNotCurrent(why(exc)) from exc
        if refused := self._updater.refused:
            raise PolicyNotCurrent(refused)

    def _get(self, path: str, known: Mapping[str, str]) -> _News | None:
        """Return what the centre has there, None: nothing, or what it had before."""
        answer = self._door.get(path, {"If-None-Match": known[path]} if known.get(path) else {})
        if answer.status == _NOT_MODIFIED:
            return None
        if answer.status == _NOT_FOUND:
            self._etags[path] = ""  # it says nothing yet; so that its first policy is known for news
            return None
        body, etag = accepted(self._door.name, answer).body, answer.headers.get("etag", "")
        if self._etags.get(path, etag) != etag:
            self._hints.pulled(body)
        return _News(path, etag, body)


class PolicyPuller:
    """A part of the agent. Rung, it pulls at once."""

    name = "policy-pull"

    def __init__(
        self,
        door: HttpsDoor,
        layers: Sequence[str],
        updater: PolicyUpdater,
        *,
        policy: Callable[[], PolicyDocument | None],
        log: Log,
        bell: Bell,
        hints: Hints | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._hints = door, hints or Hints(has_broker=False)
        self._policy, self._log, self._spread = policy, log, spread
        self._pull = PolicyPull(door, layers, updater, self._hints)
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.pull()
                failures = 0
            except (Unavailable, Refused) as exc:
                failures += 1
                self._log.event("policy.pull-waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
                continue
            policy = self._policy()
            stop.wait(_LEAST_S)
            every_s = policy.pull_every_s if policy is not None else _WITHOUT_POLICY_S
            self.bell.sleep(pull_after_s(every_s, self._hints.state, self._spread()))
            if self._hints.take_turn():
                stop.wait(TURN_WITHIN_S * self._spread())
        self._door.close()

    def pull(self) -> None:
        """Raises DoorUnavailable, DoorRefused, DatabaseUnavailable, TrustCacheUnavailable."""
        self._pull.pull()

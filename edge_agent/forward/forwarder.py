"""Runs this host's routes: a thread for each that is owed something, and the part that knows which routes there are."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from edge_agent.boundary import contained
from edge_agent.forward.queue import ForwardQueue
from edge_agent.log import Log
from edge_agent.parts import Bell
from shared.audit.events import Participant
from shared.clock import Clock
from shared.dicom.requestor import Patience
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.routes import Peer, Route
from shared.routes.peer import PeerStream
from shared.routes.sender import Images, RouteSender, Services

# A person's `forward retry` and `drop` are other processes: what they did is seen by looking this often.
_LOOK_EVERY_S = 60.0
_PATIENCE = Patience()
_JOIN_S = 12.0  # longer than it takes to give up a connection that is being made


class Forwarder:
    """A part of the agent. There are no more threads than a policy has routes. Rung, it looks for what is new."""

    name = "forwarder"

    def __init__(
        self,
        queue: ForwardQueue,
        images: Images,
        connect: Callable[[Peer], AbstractContextManager[PeerStream]],
        *,
        host_id: HostId,
        policy: Callable[[], PolicyDocument | None],
        clock: Clock,
        log: Log,
        bell: Bell,
        patience: Patience = _PATIENCE,
        spread: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._policy, self._clock, self._log = queue, policy, clock, log
        sender = Participant("host", str(host_id), True)
        self._services = Services(sender, queue, images, connect, clock, spread, patience)
        self._workers: dict[str, _Worker] = {}
        self._followed = 0  # the version of the policy that the queue knows
        self._monotonic, self._tidied = monotonic, monotonic()
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        for route in self._queue.owed_routes():
            self._queue.recover(route)
        try:
            while not stop.is_set():
                self._look()
                self.bell.sleep(_LOOK_EVERY_S)
        finally:
            self._end_workers()

    def _look(self) -> None:
        policy = self._policy()
        if policy is None:
            return
        known = [route.name for route in policy.routes]
        if policy.version != self._followed:
            self._queue.resume()
            self._queue.settle(known)
            self._followed = policy.version
        for name in self._queue.owed_routes():
            if name in known:
                self._wake(name)
        if self._monotonic() - self._tidied >= _LOOK_EVERY_S:
            self._tidied = self._monotonic()
            self._queue.settle(known)
            self._queue.tidy()
            self._queue.announce()

    def _wake(self, name: str) -> None:
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = _Worker(name, RouteSender(self._services), self._send)
            worker.thread.start()
        worker.changed.set()

    def _end_workers(self) -> None:
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.thread.join(_JOIN_S)
            if worker.thread.is_alive():
                self._log.event("part.stuck", part=worker.thread.name)

    # ---- one thread for each route

    def _send(self, worker: "_Worker") -> None:
        while not worker.ended.is_set():
            worker.changed.clear()
            worker.again = None
            contained(self._log, worker.thread.name, lambda: self._send_due(worker))
            worker.changed.wait(self._seconds_until(worker.again))

    def _send_due(self, worker: "_Worker") -> None:
        route = self._route(worker.name)
        if route is None:
            return
        try:
            worker.again = worker.sender.work(route)
        finally:
            # Nothing, unless an error of a kind that we do not know of cut an attempt off.
            self._queue.recover(worker.name)
        if self._route(worker.name) != route:
            # What failed by the policy before says nothing of this one, which had perhaps been taken up by then.
            self._queue.resume(worker.name)
            worker.changed.set()

    def _route(self, name: str) -> Route | None:
        policy = self._policy()
        return next((route for route in policy.routes if route.name == name), None) if policy else None

    def _seconds_until(self, again: datetime | None) -> float:
        if again is None:
            return _LOOK_EVERY_S
        return min(max((again - self._clock.now()).total_seconds(), 0.05), _LOOK_EVERY_S)


class _Worker:
    def __init__(self, name: str, sender: RouteSender, run: "Callable[[_Worker], None]") -> None:
        self.name, self.sender = name, sender
        self.changed, self.ended = threading.Event(), threading.Event()
        self.again: datetime | None = None
        self.thread = threading.Thread(target=run, args=(self,), name=f"route-{name}", daemon=True)

    def stop(self) -> None:
        self.ended.set()
        self.sender.stop()
        self.changed.set()

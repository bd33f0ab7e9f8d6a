"""Runs the routes: one thread for each that has something to send, and one that knows which routes there are."""

import logging
from collections.abc import Callable
from datetime import datetime
from threading import Event, Lock, Thread

from control_plane.policy.verified import VerifiedPolicy
from control_plane.routes.queue import RouteQueue
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.policy.routes import Route
from shared.routes.sender import RouteSender

_LOG = logging.getLogger(__name__)
# Nobody has to be told of everything: what an event did not say is seen by looking this often.
_LOOK_EVERY_S = 60.0
_JOIN_S = 15.0


class RouteService:
    """`wake` and `policy_published` may be called from any thread and return at once or after one small commit."""

    def __init__(
        self,
        policy: VerifiedPolicy,
        queue: RouteQueue,
        new_sender: Callable[[], RouteSender],
        clock: Clock,
    ) -> None:
        self._policy, self._queue, self._new_sender, self._clock = policy, queue, new_sender, clock
        self._closing = Event()
        self._changed = Event()
        self._lock = Lock()
        self._workers: dict[str, _Worker] = {}
        self._supervisor = Thread(target=self._supervise, name="routes", daemon=True)

    def start(self) -> None:
        for route in self._queue.open_routes():
            self._queue.recover(route)
        self._supervisor.start()

    def stop(self) -> None:
        self._closing.set()
        self._changed.set()
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.thread.join(_JOIN_S)
        if self._supervisor.is_alive():
            self._supervisor.join(_JOIN_S)

    def wake(self) -> None:
        """Something was queued, or is to be tried again."""
        self._changed.set()
        with self._lock:
            for worker in self._workers.values():
                worker.changed.set()

    def policy_published(self) -> None:
        self._queue.resume()
        self.wake()

    def route(self, name: str) -> Route | None:
        """Return the route as the policy has it that every host has, or else as the one has it that is rolled out.

        Raises what `VerifiedPolicy.newest` does.
        """
        return self._routes().get(name)

    # ---- the thread that knows which routes there are

    def _supervise(self) -> None:
        while not self._closing.is_set():
            self._changed.clear()
            self._guarded("routes.look-failed", self._look)
            self._changed.wait(_LOOK_EVERY_S)

    def _look(self) -> None:
        if self._policy.newest() is None:
            return
        known = list(self._routes())
        self._queue.settle(known)
        for name in self._queue.open_routes():
            if name in known:
                self._ensure(name)

    def _routes(self) -> dict[str, Route]:
        """Return the routes by name. Images of hosts that have the newest policy already wait for no roll-out."""
        policies = (self._policy.rolled_out(), self._policy.newest())
        return {route.name: route for policy in policies if policy is not None for route in policy.routes}

    def _ensure(self, name: str) -> None:
        with self._lock:
            worker = self._workers.get(name)
            if self._closing.is_set() or (worker is not None and worker.thread.is_alive()):
                return
            self._workers[name] = worker = _Worker(name, self._new_sender(), self._run)
            worker.thread.start()

    # ---- one thread for each of them

    def _run(self, worker: "_Worker") -> None:
        while not self._closing.is_set():
            worker.changed.clear()
            again = self._guarded("routes.send-failed", lambda: self._send(worker))
            worker.changed.wait(self._seconds_until(again))

    def _send(self, worker: "_Worker") -> datetime | None:
        route = self.route(worker.name)
        if route is None:
            return None
        try:
            again = worker.sender.work(route)
        finally:
            # Nothing, unless an error of a kind that we do not know of cut an attempt off.
            self._queue.recover(worker.name)
        if self.route(worker.name) != route:
            # What failed by the policy before says nothing of this one, which had perhaps been published by then.
            self._queue.resume(worker.name)
            worker.changed.set()
        return again

    def _seconds_until(self, again: datetime | None) -> float:
        if again is None:
            return _LOOK_EVERY_S
        return min(max((again - self._clock.now()).total_seconds(), 0.05), _LOOK_EVERY_S)

    def _guarded(self, event: str, work: Callable[[], datetime | None]) -> datetime | None:
        try:
            return work()
        except (Refused, IntegrityFailure, Unavailable) as exc:
            _LOG.error(event, extra={"error": type(exc).__name__, "why": str(exc)})
        except Exception:  # noqa: BLE001 (a task boundary: one route's bug must not stop the others)
            _LOG.exception(event)
        return None


class _Worker:
    def __init__(self, name: str, sender: RouteSender, run: "Callable[[_Worker], None]") -> None:
        self.name, self.sender, self.changed = name, sender, Event()
        self.thread = Thread(target=run, args=(self,), name=f"route-{name}", daemon=True)

    def stop(self) -> None:
        self.sender.stop()
        self.changed.set()

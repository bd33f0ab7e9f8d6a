"""Enters captured images in journal, catalogue and table of instances: all three in one transaction, or none.

An image that lies in a segment is durable with everything that is to be recorded of it, so it may be acknowledged
before it is registered: a start finds what was not. Many are registered in one commit, on a thread of its own.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Protocol

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.capture.claims import Claim, Claims
from edge_agent.capture.instances import Instance, Instances
from edge_agent.courtesy import Yields, at_once
from edge_agent.database import Database
from edge_agent.forward.queue import Forward
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.spool.catalogue import Spooled
from edge_agent.spool.entry import Note
from edge_agent.spool.spool import Spool
from shared.audit.events import Event, Happening, Outcome, Subject
from shared.errors import IntegrityFailure, Unavailable

_AT_ONCE, _MOST_WAITING = 200, 1000
_GATHER_S = 0.05  # one sync for what comes in so short a time


@dataclass(frozen=True)
class Captured:
    """An image that is durable, and what is to be entered of it. `happening` is its success."""

    spooled: Spooled
    claim: Claim
    note: Note
    happening: Happening
    forward: Forward | None = None  # what this host owes archives


class Entries:
    """Where captured images are entered, in one transaction. Raises DatabaseUnavailable, DatabaseDamaged.

    `owe` enters what this host owes archives.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        spool: Spool,
        instances: Instances,
        claims: Claims,
        owe: Callable[[Connection, Forward], None],
    ) -> None:
        self._database, self._journal, self._spool = database, journal, spool
        self._instances, self._claims, self._owe = instances, claims, owe

    def enter(self, images: Sequence[Captured]) -> None:
        with self._database.transaction() as connection:
            self._journal.record_all([happening for image in images for happening in _happenings(image)])
            for image in images:
                self._spool.register(connection, image.spooled)
                instance = Instance(image.spooled.object_id, image.claim.dataset_sha256, image.note.sop_class)
                self._instances.add(connection, image.claim.uid_hash, instance)
                if image.forward is not None:
                    self._owe(connection, image.forward)
            complete = self._spool.note_complete(connection)
        self._spool.registered(*(image.spooled for image in images), complete=complete)
        for image in images:
            self._claims.end(image.claim)


class NotRegistering(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"images cannot be entered in the journal now: {why}")
        self.why = why


class Registrar(Protocol):
    """Raises DatabaseUnavailable, DatabaseDamaged."""

    def verify_able(self) -> None:
        """Raises NotRegistering: no new image should begin now."""

    def register(self, image: Captured) -> None:
        """Have an image of a segment registered: before this returns, or soon."""

    def register_now(self, image: Captured) -> None:
        """Return once an image is registered: what is durable of it does not hold all that is to be entered."""


class DirectRegistrar:
    """Registers each image before it is acknowledged."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def verify_able(self) -> None:
        return

    def register(self, image: Captured) -> None:
        self._entries.enter([image])

    register_now = register


class GroupRegistrar:
    """A part of the agent: registers together what comes in together. Stopped, it registers what is left first."""

    name = "registrar"

    def __init__(self, entries: Entries, log: Log, yields: Yields = at_once) -> None:
        self._entries, self._log, self._yields = entries, log, yields
        self._lock, self._entering = threading.Condition(), threading.Lock()
        self._waiting: deque[Captured] = deque()
        self._failed: BaseException | None = None
        self.bell = Bell()

    def verify_able(self) -> None:
        if self._failed is None:
            return
        # Room may have come back, or whatever was missing: nobody waits for the next try to come round.
        try:
            self._enter_some()
        except (Unavailable, IntegrityFailure) as exc:
            raise NotRegistering(why(exc)) from exc

    def register(self, image: Captured) -> None:
        with self._lock:
            # The thread is behind: whoever sends has to wait with it, so that memory does not grow.
            self._lock.wait_for(lambda: len(self._waiting) < _MOST_WAITING or self._failed is not None)
            self._waiting.append(image)
        self.bell.ring()

    def register_now(self, image: Captured) -> None:
        self._entries.enter([image])

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while True:
            try:
                while self._enter_some():
                    failures = 0
            except (Unavailable, IntegrityFailure) as exc:
                failures += 1
                self._log.event("registrar.waits", why=why(exc), failures=failures)
                if stop.wait(delay_s(failures, 1.0)):
                    return  # a start finds what is left
                continue
            if stop.is_set():
                return
            self.bell.sleep()
            stop.wait(_GATHER_S)
            self._yields(stop)

    def _enter_some(self) -> bool:
        with self._entering:
            return self._enter_first()

    def _enter_first(self) -> bool:
        with self._lock:
            images = [self._waiting[at] for at in range(min(len(self._waiting), _AT_ONCE))]
        if not images:
            return False
        try:
            self._entries.enter(images)
        except BaseException as exc:
            # Whatever it is, even an error of ours: nothing new is acknowledged until it is over.
            with self._lock:
                self._failed = exc
                self._lock.notify_all()
            raise
        with self._lock:
            self._failed = None
            for _ in images:
                self._waiting.popleft()
            self._lock.notify_all()
        return True


def _happenings(image: Captured) -> Iterator[Happening]:
    yield image.happening
    if image.claim.conflicts:
        yield _conflict(image)


def _conflict(image: Captured) -> Happening:
    what = (image.spooled.object_id, *image.claim.conflicts)
    return Happening(
        Event.IMAGE_CONFLICTS,
        image.happening.action,
        Outcome.MINOR_FAILURE,
        image.happening.who,
        tuple(Subject("object", str(object_id)) for object_id in what[:32]),
        "another data set was captured before under the same SOP Instance UID; both are kept",
    )

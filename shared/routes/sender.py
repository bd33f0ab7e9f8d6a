"""Sends one route's images, oldest first, one at a time: each attempt begins, has one outcome, and that is recorded.

One association carries many images. It is made when there is something to send, made anew for a kind of image that it
was not asked for, and given back when the queue is empty.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event as Signal
from threading import Lock
from time import monotonic
from typing import Protocol

from shared import canonical
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.dicom.associate import MAX_CONTEXTS, Proposed
from shared.dicom.requestor import NotAccepted, Patience, Requestor, Stored
from shared.dicom.requests import StoreRefused
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import ObjectId
from shared.policy.routes import Peer, Route
from shared.routes.decide import IMAGE_PAUSES, ROUTE_PAUSES, Failure, judge, pause
from shared.routes.image import Image
from shared.routes.peer import PeerProof, PeerStream
from shared.routes.queue import Item, Queue, State

# Archives hang up on an association that says nothing; proving a large object before it is sent takes a while.
_IDLE_S = 10.0
_MAX_WHY_CHARS = 500


class Stopping(Unavailable):
    def __init__(self) -> None:
        super().__init__("the sender was told to stop")


class Images(Protocol):
    """What they raise is a Refused, an IntegrityFailure or an Unavailable, and is judged as such."""

    def describe(self, object_id: ObjectId, route: str) -> Image:
        """Return what is known of an image without its data set, once the host signed that it takes `route`."""

    def open(self, image: Image, route: str, archive: str) -> Iterator[bytes | memoryview]:
        """Return the data set, proved whole; each piece is valid until the next.

        Where what is read again is not what was proved, the iterator raises, always before it ends.
        """


@dataclass(frozen=True)
class Services:
    """What every route's sender works with. `sender` is who sends; `random` gives numbers from 0 to 1.

    `connect` gives a connection for the length of a block. Raises PeerUnreachable, PeerNotTrusted.
    """

    sender: Participant
    queue: Queue
    images: Images
    connect: Callable[[Peer], AbstractContextManager[PeerStream]]
    clock: Clock
    random: Callable[[], float]
    patience: Patience = field(default_factory=Patience)


class RouteSender:
    """For one thread; `stop` may be called from any."""

    def __init__(self, services: Services) -> None:
        self._services, self._queue = services, services.queue
        self._stopping = Signal()
        self._line: _Line | None = None
        self._lock = Lock()

    def stop(self) -> None:
        """End `work` soon, also in the middle of an image, which then waits as before."""
        self._stopping.set()
        with self._lock:
            if self._line is not None:
                self._line.break_off()

    def work(self, route: Route) -> datetime | None:
        """Send what is due on `route`; return when to look again, None: when something happens.

        Raises what the queue raises.
        """
        line = _Line(route, self._services, lambda: self._kinds(route))
        with self._lock:
            self._line = line
        try:
            while not self._stopping.is_set():
                now, rest = self._services.clock.now(), self._queue.pause(route.name)
                if rest.until is not None and now < rest.until <= now + ROUTE_PAUSES[1]:
                    return rest.until
                item = self._queue.next(route.name)
                if item is None:
                    line.release()
                    return self._queue.next_try(route.name)
                self._attempt(route, item, line)
            return None
        finally:
            with self._lock:
                self._line = None
            line.drop()

    def _attempt(self, route: Route, item: Item, line: "_Line") -> None:
        begun = False
        try:
            image = self._services.images.describe(item.object_id, route.name)
            line.reach(image)
            self._queue.begin(item)
            begun = True
            pieces = self._services.images.open(image, route.name, route.peer.ae_title)
            stored, proof = line.store(image, self._until_stopped(pieces))
        except (Refused, IntegrityFailure, Unavailable) as exc:
            # After these two the association goes on; whatever else happened, it is not one to be used again.
            if not isinstance(exc, StoreRefused | NotAccepted):
                line.drop()
            if self._stopping.is_set() and isinstance(exc, Unavailable):
                self._queue.put_back(item)
                return
            self._failed(route, item, exc, begun=begun)
        else:
            self._delivered(route, item, stored, proof)

    def _kinds(self, route: Route) -> Iterable[tuple[str, str]]:
        """Yield the kinds of the images that come next, so that one association serves them all."""
        for item in self._queue.due(route.name, MAX_CONTEXTS):
            try:
                yield self._services.images.describe(item.object_id, route.name).kind
            except (Refused, IntegrityFailure):
                continue  # said when its turn comes

    def _until_stopped(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        for piece in pieces:
            if self._stopping.is_set():
                raise Stopping
            yield piece

    def _delivered(self, route: Route, item: Item, stored: Stored, proof: PeerProof) -> None:
        says = f"C-STORE response {stored.status:04X}; storage not committed"
        if stored.warning:
            says += f"; the archive remarked {stored.warning}"
        evidence = canonical.encode({
            "v": 1, "proof": "C-STORE response", "status": f"{stored.status:04X}", "committed": False,
            "calling_ae_title": route.calling_ae_title, "ae_title": route.peer.ae_title, "address": proof.address,
            "certificate_sha256": proof.certificate_sha256, "tls": proof.tls_version,
        })  # fmt: skip
        what = [Subject("object", str(item.object_id)), Subject("route", route.name)]
        if proof.certificate_sha256:
            what.append(Subject("certificate", proof.certificate_sha256))
        who = (self._services.sender, Participant("ae", route.peer.ae_title, False))
        happening = Happening(Event.ROUTE_DELIVERED, Action.CREATE, Outcome.SUCCESS, who, tuple(what), says)
        self._queue.delivered(item, evidence.decode(), stored.warning, happening)

    def _failed(self, route: Route, item: Item, exc: Failure, *, begun: bool) -> None:
        rest, tries = self._queue.pause(route.name), item.tries + begun
        verdict = judge(exc, tries)
        why = f"{type(exc).__name__}: {exc}"[:_MAX_WHY_CHARS]
        what = [Subject("route", route.name)]
        if verdict.holds_image:
            tries = item.tries + 1
        if verdict.holds_image or begun:
            what.insert(0, Subject("object", str(item.object_id)))
        # The first time, and again when it fails for another reason; not each of the thousand times between.
        known = rest.why if verdict.pauses_route and not verdict.holds_image else item.why
        random = self._services.random
        self._queue.failed(
            item,
            state=State.REFUSED if verdict.holds_image else State.WAITING,
            tries=tries,
            why=why if verdict.holds_image else item.why,
            next_try=self._services.clock.now() + pause(tries, random(), IMAGE_PAUSES)
            if verdict.holds_image and verdict.again
            else None,
            route_why=why,
            route_rests=pause(rest.failures + 1, random(), ROUTE_PAUSES) if verdict.pauses_route else None,
            happening=None if why == known else self._failure(route, tuple(what), exc, why),
        )

    def _failure(self, route: Route, what: tuple[Subject, ...], exc: Failure, why: str) -> Happening:
        outcome = Outcome.SERIOUS_FAILURE if isinstance(exc, IntegrityFailure) else Outcome.MINOR_FAILURE
        who = (self._services.sender, Participant("ae", route.peer.ae_title, False))
        return Happening(Event.ROUTE_FAILED, Action.CREATE, outcome, who, what, why)


class _Line:
    """The association in use on a route, if there is one."""

    def __init__(self, route: Route, services: Services, kinds: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._route, self._services, self._kinds = route, services, kinds
        self._open = ExitStack()
        self._connection: PeerStream | None = None
        self._requestor: Requestor | None = None
        self._used = 0.0
        self._is_broken_off = False

    def reach(self, image: Image) -> None:
        """Have an association that was asked for this kind of image and accepts it.

        Raises NotAccepted, PeerUnreachable, PeerNotTrusted, and what `Requestor.associate` raises.
        """
        requestor = self._requestor
        if requestor is None or not requestor.proposes(*image.kind):
            requestor = self._associate(image)
        if not requestor.accepts(*image.kind):
            raise NotAccepted(*image.kind)

    def store(self, image: Image, pieces: Iterator[bytes | memoryview]) -> tuple[Stored, PeerProof]:
        """Store one image that is proved and ready. Raises what `reach` and `Requestor.store` do."""
        if monotonic() - self._used > _IDLE_S:
            self.release()
        self.reach(image)
        assert self._requestor is not None and self._connection is not None  # noqa: S101, PT018 (reach made them)
        stored = self._requestor.store(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax, pieces)
        self._used = monotonic()
        return stored, self._connection.proof

    def release(self) -> None:
        if self._requestor is not None:
            self._requestor.release()
        self.drop()

    def drop(self) -> None:
        self._requestor, self._connection = None, None
        self._open.close()

    def break_off(self) -> None:
        self._is_broken_off = True
        connection = self._connection
        if connection is not None:
            connection.break_off()

    def _associate(self, image: Image) -> Requestor:
        self.release()
        kinds = dict.fromkeys((image.kind, *self._kinds()))
        services, peer = self._services, self._route.peer
        connection = self._open.enter_context(services.connect(peer))
        self._connection = connection
        if self._is_broken_off:
            connection.break_off()  # said while it was being made
        requestor = Requestor(
            connection,
            calling_ae_title=self._route.calling_ae_title,
            called_ae_title=peer.ae_title,
            contexts=[Proposed(sop_class, (transfer,)) for sop_class, transfer in list(kinds)[:MAX_CONTEXTS]],
            patience=services.patience,
        )
        requestor.associate()
        self._requestor, self._used = requestor, monotonic()
        return requestor

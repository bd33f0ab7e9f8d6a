"""The queue of a route, as its sender sees it: what is due, in which order, and what became of each attempt."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.audit.events import Happening
from shared.errors import Refused
from shared.identity import ObjectId


class State(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    REFUSED = "refused"
    UNKNOWN_ROUTE = "unknown-route"


class RouteUnknown(Refused):
    def __init__(self, route: str) -> None:
        super().__init__(f"no image was ever queued for a route {route}")
        self.route = route


@dataclass(frozen=True)
class Item:
    object_id: ObjectId
    route: str
    number: int
    state: State
    tries: int
    why: str


@dataclass(frozen=True)
class Pause:
    failures: int
    until: datetime | None
    why: str


class Queue(Protocol):
    """Durable; whatever changes an item is one commit with the audit record of it.

    Every method raises an Unavailable of the queue's own where it cannot be read or written.
    """

    def next(self, route: str) -> Item | None:
        """Return the oldest item that is due, None where none is."""

    def due(self, route: str, most: int) -> tuple[Item, ...]: ...

    def next_try(self, route: str) -> datetime | None:
        """Return when the first item becomes due that is not, None where that takes an event."""

    def pause(self, route: str) -> Pause: ...

    def begin(self, item: Item) -> None: ...

    def put_back(self, item: Item) -> None:
        """The attempt was ours to end: nothing is known about the archive or the image."""

    def delivered(self, item: Item, evidence: str, why: str, happening: Happening) -> None:
        """The archive has it. `why` is what it remarked, empty for nothing."""

    def failed(
        self,
        item: Item,
        *,
        state: State,
        tries: int,
        why: str,
        next_try: datetime | None,
        route_why: str,
        route_rests: timedelta | None,
        happening: Happening | None,
    ) -> None:
        """It went wrong. `route_rests` pauses the whole route because of `route_why`, None leaves it as it is."""

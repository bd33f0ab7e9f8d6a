"""What people see of the routes, and what they may say: try again what was refused, send again what was delivered."""

from collections.abc import Callable, Sequence
from datetime import datetime

from control_plane.routes.overview import RouteOverview
from control_plane.routes.queue import Delivered, RouteQueue
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.identity import ObjectId


def delivered(objects: Sequence[str], since: str | None, until: str | None) -> Delivered:
    """Read which delivered images somebody means. Raises Malformed."""
    return Delivered(tuple(map(ObjectId.parse, objects)), _instant(since), _instant(until))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else clocks.parse(text)


class RoutesForPeople:
    def __init__(
        self, overview: RouteOverview, queue: RouteQueue, wake: Callable[[], None], certificates: Callable[[], str]
    ) -> None:
        self._overview, self._queue, self._wake, self._certificates = overview, queue, wake, certificates

    def status(self) -> list[dict[str, Json]]:
        return self._overview.status()

    def certificates(self) -> str:
        """Return, as PEM, what the centre shows an archive over TLS, and the authority that it chains to."""
        return self._certificates()

    def retry(self, route: str, person: str) -> int:
        """Let what was refused on `route` be tried again now; return how many images. Raises RouteUnknown."""

        def happening(count: int) -> Happening:
            who, what = (Participant("person", person, True),), (Subject("route", route),)
            return Happening(Event.ROUTE_RETRIED, Action.EXECUTE, Outcome.SUCCESS, who, what, f"{count} images")

        count = self._queue.retry(route, happening)
        self._wake()
        return count

    def again(self, route: str, which: Delivered, person: str, reason: str) -> int:
        """Have an archive that lost them get images once more; return how many. The reason is kept sealed.

        Raises RouteUnknown, NotDelivered, TooManyAgain.
        """

        def happening(count: int) -> Happening:
            who, what = (Participant("person", person, True),), (Subject("route", route),)
            said = f"{count} images that were delivered are sent again"
            return Happening(Event.ROUTE_RETRIED, Action.EXECUTE, Outcome.SUCCESS, who, what, said, {"reason": reason})

        count = self._queue.again(route, which, happening)
        self._wake()
        return count

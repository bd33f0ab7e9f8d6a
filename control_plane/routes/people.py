"""What people see of the routes, and the one thing they may say: try again."""

from collections.abc import Callable

from control_plane.routes.overview import RouteOverview
from control_plane.routes.queue import RouteQueue
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json


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

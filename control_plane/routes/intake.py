"""Says, when an object is stored, on which routes the centre owes it, and queues it there in the same commit."""

import logging
from collections.abc import Callable

from sqlalchemy.orm import Session

from control_plane.policy.verified import VerifiedPolicy
from control_plane.routes.queue import RouteQueue
from shared.errors import IntegrityFailure, Refused
from shared.identity import ObjectId
from shared.policy.routes import Via
from shared.sealing.record import CaptureRecord

_LOG = logging.getLogger(__name__)


class RouteIntake:
    def __init__(self, policy: VerifiedPolicy, queue: RouteQueue, wake: Callable[[], None]) -> None:
        self._policy, self._queue, self._wake = policy, queue, wake

    def owed(self, record: CaptureRecord) -> tuple[str, ...]:
        """Return the routes of a verified record that are the centre's to serve. Raises DatabaseUnavailable.

        Who serves a route is what policy said when the image was captured: the host wrapped it for itself then, or did
        not. Where that policy cannot be proved any more the centre serves it, for an archive takes an image twice.
        """
        if not record.routes:
            return ()
        try:
            document = self._policy.version(record.policy_version)
        except (Refused, IntegrityFailure) as exc:
            _LOG.error("routes.policy-not-proved", extra={"version": record.policy_version, "why": str(exc)})
            return tuple(dict.fromkeys(record.routes))
        theirs = {route.name for route in document.routes if route.via is Via.HOST}
        return tuple(dict.fromkeys(name for name in record.routes if name not in theirs))

    def add(self, session: Session, object_id: ObjectId, routes: tuple[str, ...]) -> None:
        self._queue.add(session, object_id, routes)

    def wake(self) -> None:
        """Call it once the commit is durable."""
        self._wake()

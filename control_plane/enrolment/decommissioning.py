"""Takes a host out of service without proof that its disk was wiped: an exception that takes two persons."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from control_plane.db.models import Host
from control_plane.enrolment.replacing import IdentityEnded
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.fleet.devices import NoSuchHost
from control_plane.people.two_persons import Journal, Request
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.identity import HostId

DECOMMISSION = "decommission-by-exception"


class Decommissioning:
    """What two persons do together. It leaves no tombstone: the asset may be enrolled again, and the history stays."""

    action, kind = DECOMMISSION, "host"

    def __init__(self, journal: Journal, close_session: Callable[[HostId], object]) -> None:
        self._journal, self._close_session = journal, close_session

    def verify(self, session: Session, subject: str) -> None:
        """Raises NoSuchHost, IdentityEnded."""
        host = session.get(Host, subject)
        if host is None:
            raise NoSuchHost(subject)
        if host.standing in ENDED:
            raise IdentityEnded(HostId.parse(subject), host.standing)

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises NoSuchHost, IdentityEnded."""
        self.verify(session, request.subject)
        host = session.get_one(Host, request.subject)
        host.standing = Standing.DECOMMISSIONED
        who = (Participant("person", approver, True), Participant("person", request.asked_by, False))
        what = (Subject("host", host.host_id), Subject("asset", host.asset))
        self._journal.append(
            session,
            Happening(Event.HOST_DECOMMISSIONED, Action.UPDATE, Outcome.SUCCESS, who, what,
                      "by exception: nothing proves that its disk was wiped", private={"reason": request.reason}),
        )  # fmt: skip

    def afterwards(self, subject: str) -> None:
        self._close_session(HostId.parse(subject))

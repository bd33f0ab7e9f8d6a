"""What a revoked host leaves behind: neither its asset nor its machine is enrolled again until people lift it.

A machine is known again by any one of the digests that it sent when it enrolled. Machines that were made from one disk
image may share one; the refusal names the host whose tombstone it is, so that people can tell.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import Host
from control_plane.enrolment.assets import asset_key
from control_plane.people.two_persons import Journal, Request
from shared import canonical
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Malformed, Refused

LIFT = "lift-tombstone"


class Tombstoned(Refused):
    def __init__(self, host_id: str, what: str) -> None:
        super().__init__(
            f"{what} is that of {host_id}, which was revoked; nothing enrols in its place until two administrators "
            f"have lifted that (`leadglass-server host lift {host_id}`)"
        )
        self.host_id, self.what = host_id, what


class NoTombstone(Refused):
    def __init__(self, host_id: str) -> None:
        super().__init__(f"{host_id} is no revoked host whose tombstone stands")
        self.host_id = host_id


def verify_none(session: Session, asset: str, machine: Iterable[bytes] = ()) -> None:
    """Raises Tombstoned: a revoked host had this asset, or was this machine."""
    digests = {digest.hex() for digest in machine}
    for host in session.scalars(select(Host).where(Host.tombstone).order_by(Host.enrolled)):
        if asset_key(host.asset) == asset_key(asset):
            raise Tombstoned(host.host_id, "this asset")
        if digests & set(_digests(host)):
            raise Tombstoned(host.host_id, "this machine")


def machine_text(machine: Sequence[bytes]) -> str:
    """Return how the digests of a machine stand in the database."""
    return canonical.encode([digest.hex() for digest in machine]).decode()


def _digests(host: Host) -> list[str]:
    what = f"machine of {host.host_id} in the database"
    listed = canonical.parse(host.machine.encode(), what)
    if not isinstance(listed, list):
        raise Malformed(what, "expected a list")
    return [str(digest) for digest in listed]


class Lifting:
    """What two persons do together."""

    action, kind = LIFT, "host"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def verify(self, session: Session, subject: str) -> None:
        """Raises NoTombstone."""
        host = session.get(Host, subject)
        if host is None or not host.tombstone:
            raise NoTombstone(subject)

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises NoTombstone."""
        self.verify(session, request.subject)
        host = session.get_one(Host, request.subject)
        host.tombstone = False
        who = (Participant("person", approver, True), Participant("person", request.asked_by, False))
        what = (Subject("host", host.host_id), Subject("asset", host.asset))
        self._journal.append(
            session,
            Happening(Event.TOMBSTONE_LIFTED, Action.UPDATE, Outcome.SUCCESS, who, what,
                      private={"reason": request.reason}),
        )  # fmt: skip

    def afterwards(self, subject: str) -> None:
        """Nothing is left to do."""

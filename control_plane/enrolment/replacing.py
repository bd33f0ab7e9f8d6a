"""Other hardware takes the place of a host: under its asset, with a history of its own, linked to the old one.

The old identity ends when the new one begins, in one commit that also lets the new host deliver the old one's spool.
"""

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import snapshot
from control_plane.enrolment.code_service import EnrolmentCodes, WantedCode
from control_plane.enrolment.codes import IssuedCode, parts_of
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.fleet.devices import NoSuchHost
from control_plane.moving.grants import SpoolMoves
from control_plane.people.two_persons import Journal
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Refused
from shared.identity import HostId

MOVE_LIFE = timedelta(days=30)


class IdentityEnded(Refused):
    def __init__(self, host_id: HostId, standing: str) -> None:
        super().__init__(f"{host_id} is {standing} already")
        self.host_id, self.standing = host_id, standing


class Replacing:
    """`close_session` ends what the old host has open at the broker."""

    def __init__(self, journal: Journal, moves: SpoolMoves, close_session: Callable[[HostId], object]) -> None:
        self._journal, self._moves, self._close_session = journal, moves, close_session

    def perform(self, session: Session, old: HostId, new: HostId, person: str) -> None:
        """End `old` in favour of `new`, which is there already. Raises IdentityEnded."""
        host = session.get_one(Host, str(old), with_for_update=True)
        if host.standing in ENDED:
            raise IdentityEnded(old, host.standing)
        host.standing = Standing.REPLACED
        who = (Participant("host", str(new), True), Participant("person", person, False))
        what = (Subject("host", str(old)), Subject("asset", host.asset))
        self._journal.append(session, Happening(Event.HOST_REPLACED, Action.UPDATE, Outcome.SUCCESS, who, what))
        self._moves.allow_within(session, person, old, new, f"{new} replaces {old}", MOVE_LIFE)

    def afterwards(self, old: HostId) -> None:
        self._close_session(old)


def code_for_replacement(
    database: sessionmaker[Session], codes: EnrolmentCodes, person: str, old: HostId, life: timedelta
) -> IssuedCode:
    """Return a code for the asset and the layers of `old` that ends its identity when it is used.

    Raises NoSuchHost, IdentityEnded, Tombstoned.
    """
    with snapshot(database) as session:
        host = session.get(Host, str(old))
    if host is None:
        raise NoSuchHost(str(old))
    if host.standing in ENDED:
        raise IdentityEnded(old, host.standing)
    return codes.issue(person, WantedCode(host.asset, parts_of(host.parts), old), life)

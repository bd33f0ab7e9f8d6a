"""Gives a host another asset: the name that the centre knows it by. The host takes it over when it renews."""

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment import tombstones
from control_plane.enrolment.replacing import IdentityEnded
from control_plane.enrolment.standing import ENDED
from control_plane.fleet.devices import NoSuchHost
from control_plane.people.two_persons import Journal
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.identity import HostId


class Renaming:
    def __init__(self, database: sessionmaker[Session], journal: Journal) -> None:
        self._database, self._journal = database, journal

    def rename(self, person: str, host_id: HostId, asset: str) -> str:
        """Return what it was called until now. Raises NoSuchHost, IdentityEnded, Tombstoned."""

        def work(session: Session) -> str:
            host = session.get(Host, str(host_id), with_for_update=True)
            if host is None:
                raise NoSuchHost(str(host_id))
            if host.standing in ENDED:
                raise IdentityEnded(host_id, host.standing)
            tombstones.verify_none(session, asset)
            before, host.asset = host.asset, asset
            who = (Participant("person", person, True),)
            what = (Subject("host", str(host_id)), Subject("asset", before), Subject("asset", asset))
            self._journal.append(session, Happening(Event.HOST_RENAMED, Action.UPDATE, Outcome.SUCCESS, who, what))
            return before

        return in_one_commit(self._database, work)

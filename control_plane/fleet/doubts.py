"""What is wrong with a host whose reports tell two histories, and a person's word that it was looked into."""

from collections.abc import Iterator, Mapping

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit
from control_plane.fleet.histories import History
from control_plane.fleet.states import Journal
from control_plane.vault.opening import ReasonMissing
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.errors import Refused
from shared.identity import HostId

_MEANING = {
    History.RESTORED: "its disk was put back to an earlier state, so what it captured and counted since is not on it",
    History.CLONED: "two machines report under its identity, and one of them is a copy",
}


class NoDoubt(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} is no host whose history is doubted")
        self.host_id = host_id


class Doubts:
    def __init__(self, database: sessionmaker[Session], journal: Journal) -> None:
        self._database, self._journal = database, journal

    def settle(self, host_id: HostId, person: str, reason: str) -> None:
        """Take note that `person` looked into it. Where two machines go on, the next report raises it again.

        Raises ReasonMissing, NoDoubt, DatabaseUnavailable.
        """
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._settle(session, host_id, person, reason))

    def _settle(self, session: Session, host_id: HostId, person: str, reason: str) -> None:
        host = session.get(Host, str(host_id))
        if host is None or not host.doubt:
            raise NoDoubt(host_id)
        host.doubt, host.doubted = "", None
        who, what = (Participant("person", person, True),), (Subject("host", str(host_id)),)
        private: dict[str, Json] = {"reason": reason}
        self._journal.append(
            session, Happening(Event.HOST_SETTLED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )


def gaps(host: Mapping[str, Json]) -> Iterator[str]:
    """Say what a host's doubt means, and what ends it."""
    if doubt := host["doubt"]:
        yield (
            f"{host['asset']}: {doubt}: {_MEANING[History(str(doubt))]}; look into it, then "
            f"`leadglass-server settle-host {host['host']} --reason …`"
        )

"""What is wrong with a host whose reports tell two histories, and a person's word that it was looked into."""

from collections.abc import Callable, Iterator, Mapping

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.certified import bar
from control_plane.enrolment.standing import Standing
from control_plane.fleet.histories import History
from control_plane.fleet.states import Journal
from control_plane.vault.opening import ReasonMissing
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId

_MEANING = {
    History.RESTORED: "its disk was put back to an earlier state, so what it captured and counted since is not on it",
    History.CLONED: "two machines report under its identity, and one of them is a copy; it is quarantined: both keep "
    "what they capture, and nothing of it is taken",
}


_OR_REKEY = " (`--rekey` where both machines go on: then approve the right one)"


class NoDoubt(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} is no host whose history is doubted")
        self.host_id = host_id


class Doubts:
    """`close_session` ends what a host has open at the broker."""

    def __init__(
        self, database: sessionmaker[Session], journal: Journal, clock: Clock, close_session: Callable[[HostId], object]
    ) -> None:
        self._database, self._journal, self._clock, self._close_session = database, journal, clock, close_session

    def settle(self, host_id: HostId, person: str, reason: str) -> None:
        """Take note that `person` looked into it: a quarantined host goes on.

        Where two machines go on, the next report raises it again.
        Raises ReasonMissing, NoDoubt, DatabaseUnavailable.
        """
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._settle(session, host_id, person, reason))

    def rekey(self, host_id: HostId, person: str, reason: str) -> None:
        """Bar the host's certificates, so that of its machines goes on the one whose fresh key a person approves.

        What reports tell begins anew with that machine's first one.
        Raises ReasonMissing, NoDoubt, DatabaseUnavailable.
        """
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._rekey(session, host_id, person, reason))
        self._close_session(host_id)

    def _rekey(self, session: Session, host_id: HostId, person: str, reason: str) -> None:
        host = self._settle(session, host_id, person, reason)
        bar(session, host_id, self._clock.now())
        host.runs, host.state, host.state_number, host.state_received = "[]", None, 0, None
        who, what = (Participant("person", person, True),), (Subject("host", str(host_id)),)
        self._journal.append(session, Happening(Event.HOST_REKEYED, Action.UPDATE, Outcome.SUCCESS, who, what))

    def _settle(self, session: Session, host_id: HostId, person: str, reason: str) -> Host:
        host = session.get(Host, str(host_id), with_for_update=True)
        if host is None or not host.doubt:
            raise NoDoubt(host_id)
        host.doubt, host.doubted = "", None
        if host.standing == Standing.QUARANTINED:
            host.standing = Standing.ACTIVE
        who, what = (Participant("person", person, True),), (Subject("host", str(host_id)),)
        private: dict[str, Json] = {"reason": reason}
        self._journal.append(
            session, Happening(Event.HOST_SETTLED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )
        return host


def gaps(host: Mapping[str, Json]) -> Iterator[str]:
    """Say what a host's doubt means, and what ends it."""
    if doubt := host["doubt"]:
        yield (
            f"{host['asset']}: {doubt}: {_MEANING[History(str(doubt))]}; look into it, then "
            f"`leadglass-server settle-host {host['host']} --reason …`{_OR_REKEY * (doubt == History.CLONED)}"
        )

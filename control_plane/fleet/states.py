"""Takes in host state reports: host-signed, numbered, and only ever newer than the one that is held."""

from typing import Protocol

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.standing import Standing
from control_plane.fleet.histories import MOST_RUNS, History, Known, Run, follow
from control_plane.fleet.reports import VerifiedReports, verify_report
from control_plane.vault.losses import forget_telling
from shared import canonical
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.fields import Fields
from shared.fleet.state import HostState
from shared.identity import HostId

_EVENTS = {History.RESTORED: Event.HOST_RESTORED, History.CLONED: Event.HOST_CLONED}
_WHY = {
    History.RESTORED: "report {now} of a start at which report {held} had been given before",
    History.CLONED: "report {now} of a run that had been followed by another, or that gave this number to another "
    "report",
}


class HostUnknown(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} is not an enrolled, active host")
        self.host_id = host_id


class StateReplayed(Refused):
    def __init__(self, host_id: HostId, *, offered: int, held: int) -> None:
        super().__init__(f"state report {offered} of {host_id} is not newer than report {held}, which is held")
        self.host_id, self.offered, self.held = host_id, offered, held


class StateOfAnother(Refused):
    def __init__(self, *, sender: HostId, named: HostId) -> None:
        super().__init__(f"{sender} sent a state report of {named}")
        self.sender, self.named = sender, named


class Journal(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


class StateIntake:
    """A host whose history is another one is doubted until a person settles it; its reports are taken all the same.

    One that was cloned is quarantined in the same commit: of which machine the rest would come, nobody could tell.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        clock: Clock,
        reports: VerifiedReports | None = None,
    ) -> None:
        """`reports` is told of each that is taken; by default nobody else asks."""
        self._database, self._journal, self._clock = database, journal, clock
        self._reports = VerifiedReports() if reports is None else reports

    def take(self, host_id: HostId, signed: bytes) -> HostState:
        """Keep a report that arrived from `host_id`.

        Raises HostUnknown, Malformed, WrongSigner, SignatureInvalid, StateOfAnother, StateReplayed.
        """
        return in_one_commit(self._database, lambda session: self._keep(session, host_id, signed))

    def _keep(self, session: Session, host_id: HostId, signed: bytes) -> HostState:
        host = session.get(Host, str(host_id), with_for_update=True)
        if host is None or not host.active:
            raise HostUnknown(host_id)
        state, report = verify_report(signed, host.evidence_spki)
        if state.host_id != host_id:
            raise StateOfAnother(sender=host_id, named=state.host_id)
        now = self._clock.now()
        history, runs = follow(self._known(host), report, now)
        if history is History.REPEATED:
            raise StateReplayed(host_id, offered=state.number, held=host.state_number)
        if history is History.RESTORED:
            forget_telling(session, host_id)
        if history in _EVENTS:
            self._doubt(session, host, history, state)
        host.runs = canonical.encode([run.json() for run in runs]).decode()
        host.state, host.state_number, host.state_received = signed, state.number, now
        self._reports.remember(host.host_id, signed, host.evidence_spki, report)
        return state

    def _known(self, host: Host) -> Known:
        held = None
        if host.state is not None:
            held = self._reports.read(host.host_id, host.state, host.evidence_spki)
        listed = Fields({"runs": canonical.parse(host.runs.encode(), "runs of a host")}, "hosts")
        return Known(held, tuple(map(Run.parse, listed.items("runs", most=MOST_RUNS))))

    def _doubt(self, session: Session, host: Host, history: History, state: HostState) -> None:
        # Two clones take turns, and a copy of a copy is no news: what is said already is not said again.
        if host.doubt in {history.value, History.CLONED.value}:
            return
        why = _WHY[history].format(now=state.number, held=host.state_number)
        who, what = (Participant("host", host.host_id, True),), (Subject("host", host.host_id),)
        self._journal.append(
            session, Happening(_EVENTS[history], Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, what, why)
        )
        host.doubt, host.doubted = history.value, self._clock.now()
        if history is History.CLONED and host.standing == Standing.ACTIVE:
            host.standing = Standing.QUARANTINED
            self._journal.append(
                session, Happening(Event.HOST_QUARANTINED, Action.UPDATE, Outcome.SUCCESS, who, what, why)
            )

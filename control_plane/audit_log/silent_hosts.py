"""Looks for hosts whose audit records stay away though they report: an alert, recorded once for each time."""

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.silence import Heard, Owed, is_silent, owed
from control_plane.db.models import AuditRow, Host, LogWitness, Object
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.enroller import Journal
from shared import clock as clocks
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import verify_state
from shared.signing import EvidencePublicKey


class SilentHosts:
    def __init__(self, database: sessionmaker[Session], journal: Journal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def look(self) -> None:
        """Note since when each host owes records, and record that it fell silent. Raises DatabaseUnavailable."""
        with snapshot(self._database) as session:
            changed = [host.host_id for host in _active(session) if self._changes(session, host)]
        if changed:
            in_one_commit(self._database, lambda session: self._note(session, changed))

    def gaps(self) -> list[str]:
        """Say who fell silent, in words a person can act on."""
        with snapshot(self._database) as session:
            return [self._words(session, host) for host in _active(session) if host.records_silent is not None]

    def _changes(self, session: Session, host: Host) -> bool:
        owes = self._owed(session, host)
        if owes is None:
            return host.records_owed is not None or host.records_silent is not None
        return owes.since != host.records_owed or (is_silent(owes, self._clock.now()) and host.records_silent is None)

    def _note(self, session: Session, changed: list[str]) -> None:
        now = self._clock.now()
        for host in session.scalars(select(Host).where(Host.host_id.in_(changed))).all():
            owes = self._owed(session, host)
            host.records_owed = None if owes is None else owes.since
            if owes is None or not is_silent(owes, now):
                host.records_silent = None
            elif host.records_silent is None:
                host.records_silent = owes.since
                self._journal.append(session, _happening(host, owes))

    def _owed(self, session: Session, host: Host) -> Owed | None:
        return owed(_heard(session, host), host.records_owed, self._clock.now())

    def _words(self, session: Session, host: Host) -> str:
        owes, since = self._owed(session, host), host.records_silent
        why = f": {owes.why}" if owes is not None else ""
        at = f" since {clocks.text(since)}" if since is not None else ""
        return f"{host.asset}: it reports, but its audit stream is silent{at}{why}; look at that machine"


def _active(session: Session) -> Iterator[Host]:
    return (host for host in session.scalars(select(Host).order_by(Host.asset)) if host.active)


def _heard(session: Session, host: Host) -> Heard:
    of_host = AuditRow.source == host.host_id
    record = session.scalar(select(AuditRow.received).where(of_host).order_by(AuditRow.seq.desc()).limit(1))
    image = session.scalar(select(func.max(Object.received)).where(Object.host_id == host.host_id))
    cosigned = session.scalar(select(LogWitness.heard).where(LogWitness.host == host.host_id))
    return Heard(host.state_received, _waiting(host), record, image, cosigned)


def _waiting(host: Host) -> int:
    """Return how many records a host says it still has; of a report that does not hold nothing follows."""
    if host.state is None:
        return 0
    try:
        return verify_state(host.state, EvidencePublicKey.parse(host.evidence_spki)).audit_waiting
    except (Refused, IntegrityFailure):
        return 0


def _happening(host: Host, owes: Owed) -> Happening:
    who, what = (Participant("host", host.host_id, False),), (Subject("host", host.host_id),)
    return Happening(Event.HOST_SILENT, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, what, owes.why)

"""Looks for hosts whose audit records stay away though they report: an alert, recorded once for each time."""

from collections.abc import Callable, Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.silence import Heard, Owed, is_silent, owed
from control_plane.db.models import AuditRow, Host, LogWitness, Object
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment import codes
from control_plane.enrolment.enroller import Journal
from control_plane.enrolment.standing import Standing
from control_plane.fleet.heard import HeardSince
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import verify_state
from shared.identity import HostId
from shared.signing import EvidencePublicKey


class SilentHosts:
    """`heard_since` returns since when each host must have reported to count as one that does."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        clock: Clock,
        heard_since: Callable[[], HeardSince],
    ) -> None:
        self._database, self._journal, self._clock, self._heard_since = database, journal, clock, heard_since

    def look(self) -> None:
        """Note since when each host owes records, and record that it fell silent. Raises DatabaseUnavailable."""
        with snapshot(self._database) as session:
            since = self._heard_since()
            changed = [host.host_id for host in _active(session) if self._changes(session, host, since)]
        if changed:
            in_one_commit(self._database, lambda session: self._note(session, changed, since))

    def gaps(self) -> list[str]:
        """Say who fell silent, in words a person can act on."""
        with snapshot(self._database) as session:
            since = self._heard_since()
            silent = [host for host in _active(session) if host.records_silent is not None]
            return [_words(host, self._owed(session, host, since)) for host in silent]

    def _changes(self, session: Session, host: Host, since: HeardSince) -> bool:
        owes = self._owed(session, host, since)
        if owes is None:
            return host.records_owed is not None or host.records_silent is not None
        return owes.since != host.records_owed or (is_silent(owes, self._clock.now()) and host.records_silent is None)

    def _note(self, session: Session, changed: list[str], since: HeardSince) -> None:
        now = self._clock.now()
        for host in session.scalars(select(Host).where(Host.host_id.in_(changed))).all():
            owes = self._owed(session, host, since)
            host.records_owed = None if owes is None else owes.since
            if owes is None or not is_silent(owes, now):
                host.records_silent = None
            elif host.records_silent is None:
                host.records_silent = owes.since
                self._journal.append(session, _happening(host, owes))

    def _owed(self, session: Session, host: Host, since: HeardSince) -> Owed | None:
        must = since.of(HostId.parse(host.host_id), codes.readable_parts(host.parts) or ())
        reports = host.state_received is not None and host.state_received >= must
        return owed(_heard(session, host, reports=reports), host.records_owed, self._clock.now())


def _words(host: Host, owes: Owed | None) -> str:
    since, why = host.records_silent, f": {owes.why}" if owes is not None else ""
    at = f" since {clocks.text(since)}" if since is not None else ""
    return f"{host.asset}: it reports, but its audit stream is silent{at}{why}; look at that machine"


def _active(session: Session) -> Iterator[Host]:
    return iter(session.scalars(select(Host).where(Host.standing == Standing.ACTIVE).order_by(Host.asset)).all())


def _heard(session: Session, host: Host, *, reports: bool) -> Heard:
    of_host = AuditRow.source == host.host_id
    record = session.scalar(select(AuditRow.received).where(of_host).order_by(AuditRow.seq.desc()).limit(1))
    image = session.scalar(select(func.max(Object.received)).where(Object.host_id == host.host_id))
    cosigned = session.scalar(select(LogWitness.heard).where(LogWitness.host == host.host_id))
    return Heard(reports, _waiting(host), record, image, cosigned)


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

"""Puts the hosts' rows right to the log: whom it revoked stays revoked, whatever a row says."""

import logging
from collections.abc import Callable, Iterator
from threading import Lock

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import sql
from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.enroller import Journal
from control_plane.enrolment.standing import EFFECTS, Standing, Stands, fold
from shared.audit.batch import Statement
from shared.audit.record import Action, AuditRecord, Event, Happening, Outcome, Participant, Subject, leaf_hash
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE, HostId
from shared.signing import EvidencePublicKey, Label, verify_statement

_LOG = logging.getLogger(__name__)
_MARKS = tuple(f'"event":"{event.value}"'.encode() for event in EFFECTS)
_WHO = (Participant("service", CONTROL_PLANE, True),)


class Standings:
    """`on_revoked` is told of each host whose row called it active, so that what it has open is ended."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        own: EvidencePublicKey,
        on_revoked: Callable[[HostId], None] = lambda _host: None,
    ) -> None:
        self._database, self._journal, self._own, self._on_revoked = database, journal, own, on_revoked
        self._lock, self._gaps = Lock(), tuple[str, ...]()

    def rebuild(self) -> tuple[HostId, ...]:
        """Read the whole log, put rows right to it, and return of which hosts. Raises DatabaseUnavailable."""
        faults: list[str] = []
        with snapshot(self._database) as session:
            stands = fold(_proved(session, self._own, faults))
        revoked = [host for host, found in stands.items() if found.standing is not Standing.ACTIVE]
        put_right = tuple(host for host in revoked if self._put_right(host, stands[host]))
        for host in put_right:
            self._on_revoked(host)
        with self._lock:
            said = (
                f"{host}: its row called it active; the log revoked it, so it is revoked again" for host in put_right
            )
            self._gaps = (*(gap for gap in self._gaps if gap.startswith("host-")), *said, *faults)
        return put_right

    def gaps(self) -> tuple[str, ...]:
        """Say what this process found wrong, and what of the log it could not prove."""
        return self._gaps

    def _put_right(self, host_id: HostId, stands: Stands) -> bool:
        def work(session: Session) -> bool:
            host = session.get(Host, str(host_id), with_for_update=True)
            if host is None or not host.active or _is_newer(session, host_id, stands):
                return False
            host.active = False
            what = (Subject("host", str(host_id)), Subject("record", f"{CONTROL_PLANE} {stands.seq}"))
            reason = f"its row said active, and record {stands.seq} of the log says {stands.standing.value}"
            happening = Happening(Event.STANDING_PUT_RIGHT, Action.UPDATE, Outcome.SERIOUS_FAILURE, _WHO, what, reason)
            self._journal.append(session, happening)
            return True

        with self._database() as session:
            is_active = session.scalar(select(Host.active).where(Host.host_id == str(host_id)))
        if not is_active or not in_one_commit(self._database, work):
            return False
        _LOG.error("host.standing-put-right", extra={"host": str(host_id), "record": stands.seq})
        return True


def _is_newer(session: Session, host_id: HostId, stands: Stands) -> bool:
    """Return whether the log has changed a host's standing since it was read."""
    later = (AuditRecord.parse(held.stored.public) for held in sql.records(session, CONTROL_PLANE, first=stands.seq + 1)
             if any(mark in held.stored.public for mark in _MARKS))  # fmt: skip
    return host_id in fold(later)


def _proved(session: Session, own: EvidencePublicKey, faults: list[str]) -> Iterator[AuditRecord]:
    """Yield the records that change how a host stands, each under a statement that the centre signed.

    A record in the chain is covered by every later statement, so what was taken out or changed leaves a break, which
    goes into `faults`.
    """
    seq, leaf = 0, bytes(32)
    for held in sql.records(session, CONTROL_PLANE):
        public = held.stored.public
        if held.seq != seq + 1 or f'"prev":"{leaf.hex()}"'.encode() not in public:
            faults.append(
                f"centre's log: record {held.seq} does not follow {seq}; revocations may be missing before it, and "
                "`leadglass-server audit verify` says more"
            )
        seq, leaf = held.seq, leaf_hash(public)
        if not any(mark in public for mark in _MARKS):
            continue
        try:
            _verify_covered(session, own, held.seq, leaf)
            yield AuditRecord.parse(public)
        except (Malformed, IntegrityFailure) as exc:
            faults.append(f"centre's log: record {held.seq}, of how a host stands, is not proved: {exc}")


class NotCovered(IntegrityFailure):
    def __init__(self, seq: int) -> None:
        super().__init__(f"no statement of the centre covers record {seq}")
        self.seq = seq


def _verify_covered(session: Session, own: EvidencePublicKey, seq: int, leaf: bytes) -> None:
    """Raises Malformed, WrongSigner, SignatureInvalid, NotCovered."""
    held = sql.statement_about(session, CONTROL_PLANE, seq)
    if held is None:
        raise NotCovered(seq)
    statement = Statement.parse(verify_statement(held.signed, Label.AUDIT_BATCH, own))
    if (statement.source, statement.last, statement.head) != (CONTROL_PLANE, seq, leaf):
        raise NotCovered(seq)

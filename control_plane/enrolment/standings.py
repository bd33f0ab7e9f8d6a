"""Puts the hosts' rows right to the log: whom it revoked stays revoked, whatever a row says.

What the log says is held together with a list beside the root key, which no restored database has forgotten.
"""

import logging
from collections.abc import Callable, Iterator
from threading import Lock

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import sql
from control_plane.audit_log.verify import HeldRecord
from control_plane.db.models import AuditSubject, Host
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.enroller import Journal
from control_plane.enrolment.revoked_file import RevokedFile
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.enrolment.standing_log import EFFECTS, Stands, fold, with_kept
from shared.audit.batch import Statement
from shared.audit.checkpoint import read_gap
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord, leaf_hash
from shared.errors import IntegrityFailure, Malformed, Unavailable
from shared.identity import CONTROL_PLANE, HostId
from shared.signing import EvidencePublicKey, Label, verify_statement

_LOG = logging.getLogger(__name__)
_MARKS = tuple(f'"event":"{event.value}"'.encode() for event in EFFECTS)
_WHO = (Participant("service", CONTROL_PLANE, True),)


class NotCovered(IntegrityFailure):
    def __init__(self, seq: int) -> None:
        super().__init__(f"no statement of the centre covers record {seq}")
        self.seq = seq


class Standings:
    """`on_revoked` is told of each host whose row called it active, so that what it has open is ended."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        own: EvidencePublicKey,
        kept: RevokedFile,
        on_revoked: Callable[[HostId], None] = lambda _host: None,
    ) -> None:
        self._database, self._journal, self._own, self._kept = database, journal, own, kept
        self._on_revoked = on_revoked
        self._one_at_a_time = Lock()
        self._revived: tuple[str, ...] = ()  # by this process, whom a row called active
        self._faults: tuple[str, ...] = ()

    def rebuild(self) -> tuple[HostId, ...]:
        """Read the whole log, put rows right to it, and return of which hosts. Raises DatabaseUnavailable."""
        with self._one_at_a_time:
            faults: list[str] = []
            with snapshot(self._database) as session:
                stands = fold(_proved(session, self._own, faults))
            kept = self._read(faults)
            if kept is not None:
                stands = with_kept(stands, kept)
            revoked = {host: found for host, found in stands.items() if found.standing in ENDED}
            put_right = tuple(host for host in revoked if self._put_right(host, revoked[host]))
            if kept is not None:
                self._write(kept, {host: found.seq for host, found in revoked.items()}, faults)
            said = (
                f"{host}: its row said active; it is {revoked[host].standing}, and was made so again"
                for host in put_right
            )
            self._revived, self._faults = (*self._revived, *said), tuple(faults)
        for host in put_right:
            self._on_revoked(host)
        return put_right

    def keep(self) -> None:
        """Have the list beside the root key name whoever was revoked just now. Never raises: see `gaps`."""
        with self._one_at_a_time:
            faults: list[str] = []
            if (kept := self._read(faults)) is not None:
                try:
                    with self._database() as session:
                        now = {host: kept.get(host, seq) for host, seq in _revoked_rows(session)}
                    self._write(kept, {**kept, **now}, faults)
                except Unavailable as exc:
                    _LOG.warning("revoked-list.waits", extra={"why": str(exc)})
            self._faults = (*self._faults, *(fault for fault in faults if fault not in self._faults))

    def gaps(self) -> tuple[str, ...]:
        """Say what this process found wrong, and what of the log it could not prove."""
        return (*self._revived, *self._faults)

    def _read(self, faults: list[str]) -> dict[HostId, int] | None:
        """Return the list, None where it cannot be read; it then stays as it is."""
        try:
            return self._kept.read()
        except (Unavailable, Malformed) as exc:
            faults.append(f"the list of revoked hosts beside the root key is not used: {exc}")
            return None

    def _write(self, kept: dict[HostId, int], revoked: dict[HostId, int], faults: list[str]) -> None:
        if revoked == kept:
            return
        try:
            self._kept.write(revoked)
        except Unavailable as exc:
            faults.append(f"the list of revoked hosts beside the root key is not up to date: {exc}")

    def _put_right(self, host_id: HostId, stands: Stands) -> bool:
        with self._database() as session:
            is_active = session.scalar(select(Host.active).where(Host.host_id == str(host_id)))
        if not is_active or not in_one_commit(self._database, lambda one: self._revoke(one, host_id, stands)):
            return False
        _LOG.error("host.standing-put-right", extra={"host": str(host_id), "record": stands.seq})
        return True

    def _revoke(self, session: Session, host_id: HostId, stands: Stands) -> bool:
        host = session.get(Host, str(host_id), with_for_update=True)
        if host is None or not host.active or _is_newer(session, host_id, stands):
            return False
        host.standing = stands.standing
        host.tombstone = host.tombstone or stands.standing is Standing.REVOKED
        what = (Subject("host", str(host_id)), Subject("record", f"{CONTROL_PLANE} {stands.seq}"))
        reason = f"its row said active, and by record {stands.seq} of the log it is {stands.standing}"
        happening = Happening(Event.STANDING_PUT_RIGHT, Action.UPDATE, Outcome.SERIOUS_FAILURE, _WHO, what, reason)
        self._journal.append(session, happening)
        return True


def _revoked_rows(session: Session) -> Iterator[tuple[HostId, int]]:
    """Yield each revoked host that a record of its revocation is found of, with the number of the newest."""
    names_it = (
        AuditSubject.kind == "host",
        AuditSubject.name == Host.host_id,
        AuditSubject.event.in_([event.value for event, standing in EFFECTS.items() if standing in ENDED]),
        AuditSubject.source == CONTROL_PLANE,
    )
    newest = select(Host.host_id, func.max(AuditSubject.seq)).join(AuditSubject, names_it[1])
    for host, seq in session.execute(newest.where(Host.active.is_(False), *names_it).group_by(Host.host_id)):
        yield HostId.parse(host), seq


def _is_newer(session: Session, host_id: HostId, stands: Stands) -> bool:
    """Return whether the log has changed a host's standing since it was read."""
    later = (held.stored.public for held in sql.records(session, CONTROL_PLANE, first=stands.seq + 1))
    return host_id in fold(AuditRecord.parse(public) for public in later if _matters(public))


def _matters(public: bytes) -> bool:
    return any(mark in public for mark in _MARKS)


def _proved(session: Session, own: EvidencePublicKey, faults: list[str]) -> Iterator[AuditRecord]:
    """Yield the records that change how a host stands, each under a statement that the centre signed.

    A record in the chain is covered by every later statement, so what was taken out or changed leaves a break, which
    goes into `faults`.
    """
    seq, leaf = 0, bytes(32)
    for held in sql.records(session, CONTROL_PLANE):
        public = held.stored.public
        follows = held.seq == seq + 1 and f'"prev":"{leaf.hex()}"'.encode() in public
        if not follows and not _accepts_gap(session, own, held, seq):
            faults.append(
                f"centre's log: record {held.seq} does not follow {seq}; revocations may be missing before it, and "
                "`leadglass-server audit verify` says more"
            )
        seq, leaf = held.seq, leaf_hash(public)
        if not _matters(public):
            continue
        try:
            _verify_covered(session, own, held.seq, leaf)
            yield AuditRecord.parse(public)
        except (Malformed, IntegrityFailure) as exc:
            faults.append(f"centre's log: record {held.seq}, of how a host stands, is not proved: {exc}")


def _accepts_gap(session: Session, own: EvidencePublicKey, held: HeldRecord, seq: int) -> bool:
    """Return whether a record says, in a person's name, that what is missing between `seq` and itself is lost."""
    try:
        _verify_covered(session, own, held.seq, leaf_hash(held.stored.public))
        return read_gap(AuditRecord.parse(held.stored.public)) == (seq + 1, held.seq - 1)
    except (Malformed, IntegrityFailure):
        return False


def _verify_covered(session: Session, own: EvidencePublicKey, seq: int, leaf: bytes) -> None:
    """Raises Malformed, WrongSigner, SignatureInvalid, NotCovered."""
    held = sql.statement_about(session, CONTROL_PLANE, seq)
    if held is None:
        raise NotCovered(seq)
    statement = Statement.parse(verify_statement(held.signed, Label.AUDIT_BATCH, own))
    if (statement.source, statement.last, statement.head) != (CONTROL_PLANE, seq, leaf):
        raise NotCovered(seq)

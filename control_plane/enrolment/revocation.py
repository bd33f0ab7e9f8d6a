"""Takes a host's identity away: by a named person, with a reason, for good. What it signed stays signed.

Its tombstone keeps its asset and its machine from being enrolled again (tombstones.py).

where                    from when
hosts' door              the next request; each looks at the host's row
state over MQTT          the next report, the same row
our own broker           the session is ended at once, and tried again every quarter of a minute until it is
a broker that others run when they take the host out of its configuration; it is not ours to tell
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import BarredCertificate, Certificate, Host
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.authority import Authority, Issuer, Kind
from control_plane.enrolment.revoked_file import RevokedFileUnusable
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.fleet.devices import NoSuchHost
from control_plane.http.tls import TlsIdentity, tls_identity
from control_plane.people.two_persons import Journal
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId

_LOG = logging.getLogger(__name__)
# A list counts as newer by the second that it names, and there may be several in one.
_BACKDATED = timedelta(minutes=5)
SESSION_ENDED = "ended"


class AlreadyRevoked(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} is revoked already")
        self.host_id = host_id


class RevokedHosts:
    """What a broker is told about the hosts that are revoked."""

    def __init__(self, database: sessionmaker[Session], authority: Authority, issuer: Issuer) -> None:
        """`authority` signs the list, `issuer` issues what a session is ended with."""
        self._database, self._authority, self._issuer = database, authority, issuer
        self._lock = Lock()
        self._newest: datetime | None = None

    def hosts(self) -> tuple[HostId, ...]:
        with self._database() as session:
            revoked = session.scalars(select(Host.host_id).where(Host.standing.in_(ENDED)).order_by(Host.host_id))
            return tuple(HostId.parse(host) for host in revoked)

    def revocation_list(self) -> bytes:
        """Return, in PEM by issuing CA, every live certificate of an ended host, or that is barred by itself."""
        now = self._authority.clock.now()
        unexpired = (
            select(Certificate.pem)
            .join(Host, Host.host_id == Certificate.subject)
            .outerjoin(BarredCertificate, BarredCertificate.serial == Certificate.serial)
            .where(or_(Host.standing.in_(ENDED), BarredCertificate.serial.is_not(None)))
            .where(Certificate.kind == Kind.HOST, Certificate.not_after > now)
        )
        with self._database() as session:
            revoked = [x509.load_pem_x509_certificate(pem.encode()) for pem in session.scalars(unexpired)]
        with self._lock:
            earliest = (now - _BACKDATED).replace(microsecond=0)
            self._newest = max(earliest, self._newest + timedelta(seconds=1)) if self._newest else earliest
            return self._authority.revocation_lists(revoked, self._newest)

    def stand_in(self, host_id: HostId) -> TlsIdentity:
        """Return a fresh identity in a host's name, to end its session with; the key is kept nowhere.

        It is barred from the beginning, so that no host has a certificate by it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public_key = key.public_key()

        def work(session: Session) -> str:
            pem = self._issuer.issue(session, Kind.HOST, str(host_id), public_key)
            session.flush()
            serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
            session.add(BarredCertificate(serial=f"{serial:x}", barred=self._authority.clock.now()))
            return pem

        pem = in_one_commit(self._database, work)
        return tls_identity(pem.encode(), key)


@dataclass(frozen=True)
class Revoked:
    host_id: HostId
    asset: str
    session: str  # SESSION_ENDED, or why it may still be open


class Revocation:
    """`end_session` returns why a session may be open for good, empty once it is ended; raises Unavailable for now."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        end_session: Callable[[HostId], str],
        on_ended: Callable[[], None] = lambda: None,
        lost: Callable[[Session, HostId], Host | None] = lambda _session, _host_id: None,
    ) -> None:
        """`on_ended` is called once the end of an identity is durable. `lost` makes the row of a host that the log lost
        and that has shown who it is.
        """
        self._lost = lost
        self._database, self._journal, self._end_session = database, journal, end_session
        self._on_ended = on_ended
        self._open: set[HostId] = set()
        self._lock = Lock()

    def revoke(self, person: str, host_id: HostId, reason: str) -> Revoked:
        """Every attempt leaves an audit record.

        Raises NoSuchHost, AlreadyRevoked, DatabaseUnavailable; of a host that the log lost, what `lost` raises.
        """
        what = (Subject("host", str(host_id)),)
        happening = Happening(
            Event.HOST_REVOKED, Action.UPDATE, Outcome.SUCCESS, (Participant("person", person, True),), what,
            private={"reason": reason},
        )  # fmt: skip

        def work(session: Session) -> str:
            host = session.get(Host, str(host_id)) or self._lost(session, host_id)
            if host is None:
                raise NoSuchHost(str(host_id))
            if not host.active:
                raise AlreadyRevoked(host_id)
            host.standing, host.tombstone = Standing.REVOKED, True
            self._journal.append(session, happening)
            return host.asset

        try:
            asset = in_one_commit(self._database, work)
        except (Refused, IntegrityFailure, RevokedFileUnusable) as exc:
            self._journal.record(failure(happening, Event.HOST_REVOKED, exc))
            raise
        return Revoked(host_id, asset, self.ended(host_id))

    def ended(self, host_id: HostId) -> str:
        """Do what has to follow once the end of a host's identity is durable; return what `close_session` does."""
        # The session first: what follows may wait for the whole log to be read.
        session = self.close_session(host_id)
        self._on_ended()
        return session

    def close_session(self, host_id: HostId) -> str:
        """End what a host has open at the broker; return SESSION_ENDED, or why it may be open: it is tried again."""
        self.has_open(host_id)
        return self._end(host_id) or SESSION_ENDED

    def has_open(self, host_id: HostId) -> None:
        """Take note that a host may have a session that nobody has ended yet."""
        with self._lock:
            self._open.add(host_id)

    def end_open_sessions(self) -> None:
        """Try again what could not be ended when the host was revoked."""
        with self._lock:
            waiting = list(self._open)
        for host_id in waiting:
            self._end(host_id)

    def _end(self, host_id: HostId) -> str:
        try:
            left = self._end_session(host_id)
        except Unavailable as exc:
            _LOG.warning("revocation.session-open", extra={"host": str(host_id), "why": str(exc)})
            return f"not proved ended, tried again until it is: {exc}"
        with self._lock:
            self._open.discard(host_id)
        return left

"""Who is at the host door: the certificate of the TLS session, checked against what the authority issued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from flask import Request
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import HeldKey
from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.db.models import Host
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.certified import CertificateBarred
from control_plane.enrolment.standing import ENDED, Act, HostQuarantined, Standing, may
from control_plane.fleet.states import HostUnknown
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId

_REMEMBERED = 1024
# With what its evidence key is found by: whoever sends records is asked about both, each time.
_HELD = (
    "SELECT c.kind, c.pem, h.standing, b.barred, h.evidence_spki, e.pem FROM certificates c "
    "LEFT JOIN hosts h ON h.host_id = ? LEFT JOIN certificates e ON e.subject = h.host_id AND e.kind = ? "
    "LEFT JOIN barred_certificates b ON b.serial = c.serial WHERE c.serial = ?"
)


class NotAHost(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the client certificate does not open this door: {why}")
        self.why = why


class HostIdentities:
    def __init__(self, database: sessionmaker[Session], clock: Clock, forgotten: ForgottenCertificates) -> None:
        self._database, self._clock, self._forgotten = database, clock, forgotten
        self._engine = engine_of(database)

    def of(self, request: Request, act: Act) -> HostId:
        """Return the enrolled host whose certificate the TLS layer verified, once by its standing it may `act`.

        Raises NotAHost, CertificateBarred, HostUnknown, HostQuarantined.
        """
        return self.sender(request.environ, act).host_id

    def sender(self, environ: Mapping[str, Any], act: Act) -> "Sender":
        """Return the same host, by what the server says of the TLS session, with what is held of its evidence key."""
        pem, shown = self._shown(environ)
        held = self._held(shown)
        if held is None and shown.is_of_a_host:
            self._note(HostId.parse(shown.name), shown.certificate)
            held = self._held(shown)
        # The row is not under the authority's signature, the certificate is; so they have to be one.
        if held is None or held.kind != Kind.HOST or held.pem.strip() != pem.strip():
            raise NotAHost("it was not issued to a host")
        host_id = HostId.parse(shown.name)
        if held.standing is None or held.standing in ENDED:
            raise HostUnknown(host_id)
        if held.barred is not None:
            raise CertificateBarred(host_id)
        if not may(Standing(held.standing), act).allowed:
            raise HostQuarantined(host_id)
        return Sender(host_id, held.keys)

    def _note(self, host_id: HostId, shown: x509.Certificate) -> None:
        """Raises HostUnknown: there is no such host, and it is to hear that in these words."""
        with self._database() as session:
            if session.get(Host, str(host_id)) is None:
                raise HostUnknown(host_id)
        self._forgotten.note(host_id, shown)

    def certified(self, request: Request) -> HostId:
        """Return the host that the authority's certificate names, also where the database has forgotten either.

        For what a host says that proves itself: one that enrolled or renewed since the database was copied saw more of
        the log than anybody else. One that is revoked is refused here too.

        Raises NotAHost, HostUnknown.
        """
        _, shown = self._shown(request.environ)
        if not shown.is_of_a_host:
            raise NotAHost("it was not issued to a host")
        host_id = HostId.parse(shown.name)
        with self._database() as session:
            host = session.get(Host, str(host_id))
        if host is not None and not host.active:
            raise HostUnknown(host_id)
        return host_id

    def _held(self, shown: "_Shown") -> "_Held | None":
        rows = driver.rows_by_itself(self._engine, _HELD, (shown.name, Kind.EVIDENCE.value, shown.serial))
        if not rows:
            return None
        kind, pem, standing, barred, spki, _ = rows[0]
        return _Held(kind, pem, standing, barred, [HeldKey(spki, standing, row[-1]) for row in rows])

    def _shown(self, environ: Mapping[str, Any]) -> tuple[str, "_Shown"]:
        """Return the client certificate of the TLS session. Raises NotAHost."""
        pem = environ.get("SSL_CLIENT_CERT")
        if not pem or environ.get("SSL_CLIENT_VERIFY") != "SUCCESS":
            raise NotAHost("there is none")
        shown = _read(str(pem))
        # A connection or a resumed TLS session may outlive the certificate that began it.
        if shown.not_after <= self._clock.now():
            raise NotAHost("it has expired")
        return str(pem), shown


@dataclass(frozen=True)
class _Held:
    """What the database says of a certificate and of the host that it names, in one question."""

    kind: str
    pem: str
    standing: str | None  # None: there is no such host
    barred: object | None
    keys: Sequence[HeldKey]


@dataclass(frozen=True)
class Sender:
    """Who sends, and what was held of its evidence key at that moment."""

    host_id: HostId
    keys: Sequence[HeldKey]


@dataclass(frozen=True)
class _Shown:
    certificate: x509.Certificate
    serial: str
    name: str
    is_of_a_host: bool
    not_after: datetime


@lru_cache(_REMEMBERED)
def _read(pem: str) -> _Shown:
    """Return what a certificate says, which is the same each time; every request of a connection shows the same one."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    subject = certificate.subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    units = [unit.value for unit in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    return _Shown(
        certificate,
        f"{certificate.serial_number:x}",
        str(names[0].value) if names else "",
        units == [Kind.HOST.value],
        certificate.not_valid_after_utc,
    )

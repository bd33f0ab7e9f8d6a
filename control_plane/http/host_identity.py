"""Who is at the host door: the certificate of the TLS session, checked against what the authority issued."""

from cryptography import x509
from cryptography.x509.oid import NameOID
from flask import Request
from sqlalchemy.orm import Session, sessionmaker

from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.db.models import Certificate, Host
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.certified import CertificateBarred, is_barred
from control_plane.enrolment.standing import Act, HostQuarantined, Standing, may
from control_plane.fleet.states import HostUnknown
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId


class NotAHost(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the client certificate does not open this door: {why}")
        self.why = why


class HostIdentities:
    def __init__(self, database: sessionmaker[Session], clock: Clock, forgotten: ForgottenCertificates) -> None:
        self._database, self._clock, self._forgotten = database, clock, forgotten

    def of(self, request: Request, act: Act) -> HostId:
        """Return the enrolled host whose certificate the TLS layer verified, once by its standing it may `act`.

        Raises NotAHost, CertificateBarred, HostUnknown, HostQuarantined.
        """
        pem, shown = self._shown(request)
        with self._database() as session:
            issued = session.get(Certificate, f"{shown.serial_number:x}")
        if issued is None and _is_of_a_host(shown):
            issued = self._noted(HostId.parse(_common_name(shown)), shown)
        # The row is not under the authority's signature, the certificate is; so they have to be one.
        if issued is None or issued.kind != Kind.HOST or issued.pem.strip() != pem.strip():
            raise NotAHost("it was not issued to a host")
        host_id = HostId.parse(_common_name(shown))
        with self._database() as session:
            host = session.get(Host, str(host_id))
            has_barred = is_barred(session, issued.serial)
        if host is None or not host.active:
            raise HostUnknown(host_id)
        if has_barred:
            raise CertificateBarred(host_id)
        if not may(Standing(host.standing), act).allowed:
            raise HostQuarantined(host_id)
        return host_id

    def _noted(self, host_id: HostId, shown: x509.Certificate) -> Certificate | None:
        """Raises HostUnknown: there is no such host, and it is to hear that in these words."""
        with self._database() as session:
            if session.get(Host, str(host_id)) is None:
                raise HostUnknown(host_id)
        return self._forgotten.note(host_id, shown)

    def certified(self, request: Request) -> HostId:
        """Return the host that the authority's certificate names, also where the database has forgotten either.

        For what a host says that proves itself: one that enrolled or renewed since the database was copied saw more of
        the log than anybody else. One that is revoked is refused here too.

        Raises NotAHost, HostUnknown.
        """
        _, shown = self._shown(request)
        if not _is_of_a_host(shown):
            raise NotAHost("it was not issued to a host")
        host_id = HostId.parse(_common_name(shown))
        with self._database() as session:
            host = session.get(Host, str(host_id))
        if host is not None and not host.active:
            raise HostUnknown(host_id)
        return host_id

    def _shown(self, request: Request) -> tuple[str, x509.Certificate]:
        """Return the client certificate of the TLS session. Raises NotAHost."""
        pem = request.environ.get("SSL_CLIENT_CERT")
        if not pem or request.environ.get("SSL_CLIENT_VERIFY") != "SUCCESS":
            raise NotAHost("there is none")
        shown = x509.load_pem_x509_certificate(pem.encode())
        # A connection or a resumed TLS session may outlive the certificate that began it.
        if shown.not_valid_after_utc <= self._clock.now():
            raise NotAHost("it has expired")
        return str(pem), shown


def _is_of_a_host(certificate: x509.Certificate) -> bool:
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return [unit.value for unit in units] == [Kind.HOST.value]


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

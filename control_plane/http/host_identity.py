"""Who is at the host door: the certificate of the TLS session, checked against what the authority issued."""

from cryptography import x509
from flask import Request
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Certificate, Host
from control_plane.enrolment.authority import Kind
from control_plane.fleet.states import HostUnknown
from shared.errors import Refused
from shared.identity import HostId


class NotAHost(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the client certificate does not open this door: {why}")
        self.why = why


class HostIdentities:
    def __init__(self, database: sessionmaker[Session]) -> None:
        self._database = database

    def of(self, request: Request) -> HostId:
        """Return the enrolled, active host whose certificate the TLS layer verified.

        Raises NotAHost, HostUnknown.
        """
        pem = request.environ.get("SSL_CLIENT_CERT")
        if not pem or request.environ.get("SSL_CLIENT_VERIFY") != "SUCCESS":
            raise NotAHost("there is none")
        serial = f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}"
        with self._database() as session:
            certificate = session.get(Certificate, serial)
            if certificate is None or certificate.kind != Kind.HOST:
                raise NotAHost("it was not issued to a host")
            host = session.get(Host, certificate.subject)
        host_id = HostId.parse(certificate.subject)
        if host is None or not host.active:
            raise HostUnknown(host_id)
        return host_id

"""Enrolment at the centre: a code works once, keys are proved, certificates serve one purpose."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import AuditRow, EnrolmentCodeRow, Host
from control_plane.enrolment import authority, codes
from control_plane.enrolment.authority import HOST_LIFE, Authority
from control_plane.enrolment.codes import CodeRefused, IssuedCode
from control_plane.enrolment.enroller import Enroller
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts
from shared.audit.record import AuditRecord, Event
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.errors import Malformed
from tests.fakes.clock import FakeClock

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
DOORS = Doors("127.0.0.1", 8442, 8883)


class Centre:
    """What enrolment needs of a centre, with nothing faked but the clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(START)
        self.database: sessionmaker[Session] = open_database(sqlite_url(folder / "centre.sqlite"))
        keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)
        self.ca: Authority = authority.establish(self.database, keys, self.clock)
        keys.create_p256(store.JOURNAL)
        journal = CentreJournal(self.database, keys.signer(store.JOURNAL), lambda: None, self.clock)
        Accounts(self.database, self.clock).create("ada", "administrator")
        self.enroller = Enroller(
            self.database, self.ca, journal, self.clock, sop_hash_secret=bytes(32), policy_root=lambda: b"{}"
        )

    def code(self, life: timedelta = timedelta(hours=1)) -> IssuedCode:
        return codes.issue(self.database, self.clock, self.ca.fingerprint, asset="CT 2", person="ada", life=life)

    def events(self) -> list[Event]:
        with self.database() as session:
            return [AuditRecord.parse(public).event for public in session.scalars(select(AuditRow.public))]

    def hosts(self) -> int:
        with self.database() as session:
            return len(session.scalars(select(Host)).all())


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def request_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def a_request(secret: bytes) -> EnrolmentRequest:
    tls, evidence = (request_pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    return EnrolmentRequest(secret, tls, evidence, "CT 2, room 1.14")


def test_an_enrolled_host_gets_two_certificates_each_for_one_purpose(centre: Centre) -> None:
    answer = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)

    tls = x509.load_pem_x509_certificate(answer.tls_certificate.encode())
    evidence = x509.load_pem_x509_certificate(answer.evidence_certificate.encode())
    for certificate in (tls, evidence):
        certificate.verify_directly_issued_by(centre.ca.certificate)
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = tls.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        evidence.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert tls.not_valid_after_utc - START == HOST_LIFE
    assert EnrolmentAnswer.parse(answer.encode()) == answer
    assert centre.events() == [Event.HOST_ENROLLED]


def test_a_code_works_once(centre: Centre) -> None:
    secret = centre.code().code.secret
    centre.enroller.enrol(a_request(secret), DOORS)

    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(secret), DOORS)
    assert centre.hosts() == 1
    assert centre.events() == [Event.HOST_ENROLLED, Event.ENROLMENT_REFUSED]


def test_wrong_used_and_expired_codes_are_refused_in_the_same_words(centre: Centre) -> None:
    used, late = centre.code(), centre.code(timedelta(minutes=1))
    centre.enroller.enrol(a_request(used.code.secret), DOORS)
    centre.clock.advance(timedelta(minutes=1))
    said = []

    for secret in (bytes(16), used.code.secret, late.code.secret):
        with pytest.raises(CodeRefused) as refusal:
            centre.enroller.enrol(a_request(secret), DOORS)
        said.append(str(refusal.value))
    assert len(set(said)) == 1


def test_the_code_is_stored_only_as_a_digest(centre: Centre, tmp_path: Path) -> None:
    secret = centre.code().code.secret

    assert secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_request_that_fails_does_not_use_the_code_up(centre: Centre) -> None:
    secret = centre.code().code.secret
    one = request_pem(ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(Malformed, match="one key in two roles"):
        centre.enroller.enrol(EnrolmentRequest(secret, one, one, "CT 2"), DOORS)
    with centre.database() as session:
        assert session.scalars(select(EnrolmentCodeRow)).one().used is None
    centre.enroller.enrol(a_request(secret), DOORS)


@pytest.mark.parametrize("wrong", ["RSA key", "not a request", "signature of another"])
def test_refuses_a_certificate_request_that_proves_no_p256_key(centre: Centre, wrong: str) -> None:
    good = a_request(centre.code().code.secret)
    pem = {
        "RSA key": lambda: request_pem(rsa.generate_private_key(65537, 2048)),
        "not a request": lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "signature of another": lambda: _with_flipped_signature(good.tls_csr),
    }[wrong]()

    with pytest.raises(Malformed, match="certificate request"):
        centre.enroller.enrol(EnrolmentRequest(good.secret, pem, good.evidence_csr, "CT 2"), DOORS)
    assert centre.hosts() == 0


def _with_flipped_signature(pem: str) -> str:
    der = bytearray(x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()

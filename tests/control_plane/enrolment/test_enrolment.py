"""Enrolment at the centre: a code works once, keys are proved, certificates serve one purpose."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.audit_log.proof import AuditProof
from control_plane.db.models import AuditRow, Certificate, EnrolmentCodeRow, Host
from control_plane.enrolment import authority, codes
from control_plane.enrolment.authority import HOST_LIFE, SERVER_LIFE, Authority, NameNotPermitted
from control_plane.enrolment.code_service import EnrolmentCodes, WantedCode
from control_plane.enrolment.codes import CodeRefused, IssuedCode
from control_plane.enrolment.enroller import Enroller, Renewer, ReusedKey
from control_plane.enrolment.replacing import Replacing
from control_plane.enrolment.revocation import Revocation, RevokedHosts
from control_plane.fleet.states import HostUnknown
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.moving.grants import SpoolMoves
from control_plane.people.accounts import Accounts
from control_plane.tlog.sequencer import Sequencer
from shared.audit.events import Event, EventName
from shared.audit.record import AuditRecord
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.renewal import RenewalRequest
from shared.errors import Malformed
from shared.identity import HostId
from tests.control_plane.begun import database_at
from tests.fakes.clock import FakeClock

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336
ASSET = "CT 2, room 1.14"
DOORS = Doors("127.0.0.1", 8442, 8883)


class Centre:
    """What enrolment needs of a centre, with nothing faked but the clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(START)
        self.database: sessionmaker[Session] = database_at(folder / "centre.sqlite")
        self.keys = keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)
        self.ca: Authority = authority.establish(
            self.database, keys, self.clock, ec.generate_private_key(ec.SECP256R1()), ["centre.example"]
        )
        keys.create_p256(store.JOURNAL)
        self.journal = journal = CentreJournal(
            self.database,
            keys.signer(store.JOURNAL),
            Sequencer(keys.log_signer()),
            lambda *_: Sealing(None),
            self.clock,
        )
        Accounts(self.database, self.clock).create("ada", "administrator")
        self.renewer = Renewer(self.database, self.ca, journal)
        self.evidence = EvidenceKeys(self.database, self.ca.trust)
        proof = AuditProof(self.database, self.evidence)
        self.moves = SpoolMoves(self.database, journal, proof, self.clock)
        self.closed: list[HostId] = []
        self.codes = EnrolmentCodes(self.database, journal, self.clock, self.ca.fingerprint)
        self.enroller = Enroller(
            self.database,
            self.ca,
            journal,
            self.clock,
            Replacing(journal, self.moves, self.closed.append),
            sop_hash_secret=bytes(32),
            policy_root=lambda: b"{}",
        )

    def code(self, life: timedelta = timedelta(hours=1), parts: tuple[str, ...] = ()) -> IssuedCode:
        return self.codes.issue("ada", WantedCode(ASSET, parts), life)

    def events(self) -> list[EventName]:
        with self.database() as session:
            return [AuditRecord.parse(public).event for public in session.scalars(select(AuditRow.public))]

    def revoke(self, host_id: HostId) -> None:
        Revocation(self.database, self.journal, lambda _host_id: "").revoke("ada", host_id, "stolen")

    def certificates(self, host_id: HostId) -> int:
        with self.database() as session:
            return len(session.scalars(select(Certificate).where(Certificate.subject == str(host_id))).all())

    def hosts(self) -> int:
        with self.database() as session:
            return len(session.scalars(select(Host)).all())


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def request_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def a_request(secret: bytes) -> EnrolmentRequest:
    tls, evidence = (request_pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    return EnrolmentRequest(secret, tls, evidence, ASSET)


def test_an_enrolled_host_gets_two_certificates_each_for_one_purpose(centre: Centre) -> None:
    answer = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)

    tls = x509.load_pem_x509_certificate(answer.tls_certificate.encode())
    evidence = x509.load_pem_x509_certificate(answer.evidence_certificate.encode())
    for certificate in (tls, evidence):
        certificate.verify_directly_issued_by(centre.ca.issuing.certificate)
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert usages(tls) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert usages(evidence) == [DOCUMENT_SIGNING]
    assert tls.not_valid_after_utc - START == HOST_LIFE
    assert EnrolmentAnswer.parse(answer.encode()) == answer
    assert centre.events() == [Event.CODE_ISSUED, Event.HOST_ENROLLED]


def test_a_host_gets_the_layers_that_its_code_was_issued_for(centre: Centre) -> None:
    plain = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)
    parts = "site-north", "modality-ct"
    answer = centre.enroller.enrol(a_request(centre.code(parts=parts).code.secret), DOORS)

    assert (plain.layers, answer.layers) == (("organisation",), ("organisation", *parts))
    with centre.database() as session:
        held = {host.host_id: codes.parts_of(host.parts) for host in session.scalars(select(Host))}
        records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
    assert held == {str(plain.host_id): (), str(answer.host_id): parts}
    assert [what.name for what in records[-1].what if what.kind == "layer"] == list(parts)


@pytest.mark.parametrize("parts", ['["site-north","site-south"]', '["organisation"]', "[]]", '["site-North"]'])
def test_layers_that_no_host_can_have_are_not_read_from_the_database(centre: Centre, parts: str) -> None:
    code = centre.code()
    with centre.database.begin() as session:
        session.execute(update(EnrolmentCodeRow).values(parts=parts))

    with pytest.raises(Malformed):
        centre.enroller.enrol(a_request(code.code.secret), DOORS)
    assert centre.hosts() == 0


def test_a_code_works_once(centre: Centre) -> None:
    secret = centre.code().code.secret
    centre.enroller.enrol(a_request(secret), DOORS)

    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(secret), DOORS)
    assert centre.hosts() == 1
    assert centre.events() == [Event.CODE_ISSUED, Event.HOST_ENROLLED, Event.CODE_REUSED]


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
        centre.enroller.enrol(EnrolmentRequest(secret, one, one, ASSET), DOORS)
    with centre.database() as session:
        assert session.scalars(select(EnrolmentCodeRow)).one().used is None
    centre.enroller.enrol(a_request(secret), DOORS)


@pytest.mark.parametrize("wrong", ["RSA key", "not a request", "signature of another", "a curve of nobody's"])
def test_refuses_a_certificate_request_that_proves_no_p256_key(centre: Centre, wrong: str) -> None:
    good = a_request(centre.code().code.secret)
    pem = {
        "RSA key": request_pem(rsa.generate_private_key(65537, 2048)),
        "not a request": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "a curve of nobody's": _of_an_unknown_curve(good.tls_csr),
        "signature of another": _with_flipped_signature(good.tls_csr),
    }[wrong]

    with pytest.raises(Malformed, match="certificate request"):
        centre.enroller.enrol(EnrolmentRequest(good.secret, pem, good.evidence_csr, ASSET), DOORS)
    assert centre.hosts() == 0


def test_a_host_renews_with_a_fresh_key(centre: Centre) -> None:
    host = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)
    centre.clock.advance(HOST_LIFE * 2 / 3)
    key = ec.generate_private_key(ec.SECP256R1())

    answer = centre.renewer.renew(host.host_id, RenewalRequest(request_pem(key)))
    renewed = x509.load_pem_x509_certificate(answer.tls_certificate.encode())
    assert renewed.public_key() == key.public_key()
    assert renewed.subject == x509.load_pem_x509_certificate(host.tls_certificate.encode()).subject
    assert renewed.not_valid_after_utc - centre.clock.now() == HOST_LIFE
    assert usages(renewed) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert centre.events() == [Event.CODE_ISSUED, Event.HOST_ENROLLED, Event.CERTIFICATE_RENEWED]


def test_refuses_to_renew_a_key_that_had_its_certificate(centre: Centre) -> None:
    host = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)
    request = RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1())))
    centre.renewer.renew(host.host_id, request)

    with pytest.raises(ReusedKey):
        centre.renewer.renew(host.host_id, request)
    assert centre.events()[-1] is Event.RENEWAL_REFUSED


def test_refuses_to_renew_for_a_host_that_was_revoked_after_the_door_let_it_in(centre: Centre) -> None:
    """The control is that its neighbour is given one."""
    revoked, staying = (centre.enroller.enrol(a_request(centre.code().code.secret), DOORS).host_id for _ in range(2))
    centre.revoke(revoked)
    before = centre.certificates(revoked)

    with pytest.raises(HostUnknown):
        centre.renewer.renew(revoked, RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1()))))
    assert centre.certificates(revoked) == before
    assert centre.events()[-1] is Event.RENEWAL_REFUSED
    centre.renewer.renew(staying, RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1()))))
    assert centre.events()[-1] is Event.CERTIFICATE_RENEWED


def test_a_renewal_that_comes_before_a_revocation_is_on_the_list(centre: Centre) -> None:
    host = centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)
    request = RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1())))
    renewed = x509.load_pem_x509_certificate(centre.renewer.renew(host.host_id, request).tls_certificate.encode())
    listed = RevokedHosts(centre.database, centre.ca, centre.ca)
    before = x509.load_pem_x509_crl(listed.revocation_list())
    centre.revoke(host.host_id)
    after = x509.load_pem_x509_crl(listed.revocation_list())

    assert before.get_revoked_certificate_by_serial_number(renewed.serial_number) is None
    assert after.get_revoked_certificate_by_serial_number(renewed.serial_number) is not None


def test_the_centre_renews_its_own_certificates_for_every_name_that_its_root_permits(centre: Centre) -> None:
    for name in (store.SERVER_TLS, store.BROKER_TLS, store.SERVICE_TLS, store.RECEIPTS):
        centre.keys.create_p256(name)

    def newest(host: str) -> x509.Certificate:
        authority.issue_own(centre.database, centre.ca, centre.ca, centre.keys, host)
        return authority.newest_certificate(centre.database, centre.keys.p256(store.SERVER_TLS))

    first = newest("127.0.0.1")
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["centre.example", "localhost"]
    centre.clock.advance(SERVER_LIFE / 2)
    assert newest("centre.example") == first
    centre.clock.advance(SERVER_LIFE / 6)
    assert newest("centre.example") != first


def test_a_name_that_the_root_does_not_permit_is_refused_and_says_what_to_do(centre: Centre) -> None:
    with pytest.raises(NameNotPermitted, match=r"authority request --host elsewhere\.example"):
        authority.issue_own(centre.database, centre.ca, centre.ca, centre.keys, "elsewhere.example")


def _with_flipped_signature(pem: str) -> str:
    der = bytearray(x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def _of_an_unknown_curve(pem: str) -> str:
    der = x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER)
    p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    return x509.load_der_x509_csr(der.replace(p256, unknown)).public_bytes(serialization.Encoding.PEM).decode()

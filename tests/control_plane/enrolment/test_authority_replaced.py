"""The authority's certificate is a row; whoever can write rows must not become the authority by it."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Certificate
from control_plane.enrolment import authority
from control_plane.enrolment.authority import Authority, AuthorityReplaced, Kind
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from tests.fakes.clock import FakeClock


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return open_database(sqlite_url(tmp_path / "centre.sqlite"))


@pytest.fixture
def keys(database: sessionmaker[Session]) -> KeyStore:
    return KeyStore(database, RootKey(bytes(32)), FakeClock())


@pytest.fixture
def ca(database: sessionmaker[Session], keys: KeyStore) -> Authority:
    return authority.establish(database, keys, FakeClock())


def self_signed(ca: Authority, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey) -> str:
    now = FakeClock().now()
    certificate = (
        x509.CertificateBuilder(ca.certificate.subject, ca.certificate.subject, public, 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def put(database: sessionmaker[Session], pem: str) -> None:
    with database.begin() as session:
        session.execute(update(Certificate).where(Certificate.kind == Kind.CA).values(pem=pem))


def test_loads_what_it_established(database: sessionmaker[Session], keys: KeyStore, ca: Authority) -> None:
    assert authority.load(database, keys, FakeClock()).certificate == ca.certificate


def test_refuses_an_intruders_own_authority_in_its_row(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    put(database, self_signed(ca, theirs.public_key(), theirs))

    with pytest.raises(AuthorityReplaced):
        authority.load(database, keys, FakeClock())


def test_refuses_a_certificate_of_its_key_that_it_never_signed(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    put(database, self_signed(ca, ca.key.public_key(), ec.generate_private_key(ec.SECP256R1())))

    with pytest.raises(AuthorityReplaced):
        authority.load(database, keys, FakeClock())

"""The authority's certificates are rows; whoever can write rows must not become the authority by it."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Certificate, KeyRow
from control_plane.enrolment import authority, profiles
from control_plane.enrolment.authority import Authority, AuthorityOutdated, AuthorityReplaced, Kind
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from shared.enrolment.chain import organisation, pem_of
from tests.control_plane.begun import database_at
from tests.fakes.clock import FakeClock

HOSTS = ["centre.example"]
NOW = FakeClock().now()


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return database_at(tmp_path / "centre.sqlite")


@pytest.fixture
def keys(database: sessionmaker[Session]) -> KeyStore:
    return KeyStore(database, RootKey(bytes(32)), FakeClock())


@pytest.fixture
def ca(database: sessionmaker[Session], keys: KeyStore) -> Authority:
    return authority.establish(database, keys, FakeClock(), new_key(), HOSTS)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def put(database: sessionmaker[Session], kind: Kind, certificate: x509.Certificate) -> None:
    with database.begin() as session:
        row = update(Certificate).where(Certificate.kind == kind)
        session.execute(row.values(pem=pem_of([certificate]).decode()))


class Intruder:
    """Has a root of the same name as ours, with a key of their own."""

    def __init__(self, ca: Authority) -> None:
        self._key = new_key()
        self.root = profiles.make_root(self._key, organisation(ca.root) or "", NOW - timedelta(days=1))

    def certify(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        return profiles.make_issuing(profiles.request_issuing(key, self.root, HOSTS), self._key, NOW)


def test_loads_what_it_established(database: sessionmaker[Session], keys: KeyStore, ca: Authority) -> None:
    loaded = authority.load(database, keys, FakeClock())

    assert (loaded.trust, loaded.issuing.certificate) == (ca.trust, ca.issuing.certificate)


def test_refuses_an_intruders_own_root_though_it_certified_our_very_key(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    intruder = Intruder(ca)
    put(database, Kind.ROOT, intruder.root)
    put(database, Kind.CA, intruder.certify(ca.issuing.key))

    with pytest.raises(AuthorityReplaced, match="no root with the SHA-256"):
        authority.load(database, keys, FakeClock())


def test_without_the_digest_under_the_root_key_the_intruder_would_be_the_authority(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with the digest taken from the row, the attack above goes through."""
    intruder = Intruder(ca)
    put(database, Kind.ROOT, intruder.root)
    put(database, Kind.CA, intruder.certify(ca.issuing.key))
    monkeypatch.setattr(KeyStore, "roots", lambda _: (authority.fingerprint(intruder.root),))

    assert authority.load(database, keys, FakeClock()).root == intruder.root


def test_refuses_an_intruders_own_issuing_key_in_its_row(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    put(database, Kind.CA, Intruder(ca).certify(new_key()))

    with pytest.raises(AuthorityReplaced, match="no certificate of a root"):
        authority.load(database, keys, FakeClock())


def test_refuses_a_certificate_of_its_key_that_the_root_never_signed(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    put(database, Kind.CA, Intruder(ca).certify(ca.issuing.key))

    with pytest.raises(AuthorityReplaced, match="no certificate of a root"):
        authority.load(database, keys, FakeClock())


def test_a_data_folder_whose_authority_has_no_root_says_to_make_a_new_centre(
    database: sessionmaker[Session], keys: KeyStore
) -> None:
    key, name = keys.create_p256("ca/1"), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    with database.begin() as session:
        authority.keep(session, Kind.CA, "Leadglass CA", builder.sign(key, hashes.SHA256()), issued=NOW)

    with pytest.raises(AuthorityOutdated, match="leadglass-server init"):
        authority.load(database, keys, FakeClock())


def test_a_root_that_the_key_store_does_not_name_is_believed_no_longer(
    database: sessionmaker[Session], keys: KeyStore, ca: Authority
) -> None:
    with database.begin() as session:
        session.execute(delete(KeyRow).where(KeyRow.name.startswith("authority/")))

    with pytest.raises(AuthorityOutdated):
        authority.load(database, keys, FakeClock())

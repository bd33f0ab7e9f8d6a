"""The certificate authority: short-lived certificates, each for one purpose, each kept for good."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Certificate
from control_plane.db.transactions import in_one_commit
from control_plane.keys import store
from control_plane.keys.store import KeyStore
from shared.clock import Clock
from shared.enrolment.renewal import renewal_due
from shared.errors import IntegrityFailure
from shared.identity import CONTROL_PLANE

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=90)
HOST_LIFE = timedelta(days=7)
EVIDENCE_LIFE = timedelta(days=365)
# A host's clock may run a little behind the centre's.
_BACKDATED = timedelta(minutes=5)


class Kind(StrEnum):
    """What a certificate is for; the organisational unit of its subject."""

    CA = "ca"
    SERVER = "server"
    SERVICE = "service"
    HOST = "host"
    EVIDENCE = "evidence"


_LIVES = {
    Kind.SERVER: SERVER_LIFE,
    Kind.SERVICE: SERVER_LIFE,
    Kind.HOST: HOST_LIFE,
    Kind.EVIDENCE: EVIDENCE_LIFE,
}
_OWN = {
    store.SERVER_TLS: Kind.SERVER,
    store.BROKER_TLS: Kind.SERVER,
    store.SERVICE_TLS: Kind.SERVICE,
    store.JOURNAL: Kind.EVIDENCE,
    store.RECEIPTS: Kind.EVIDENCE,
}
_USAGES = {
    Kind.SERVER: [ExtendedKeyUsageOID.SERVER_AUTH],
    Kind.SERVICE: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Kind.HOST: [ExtendedKeyUsageOID.CLIENT_AUTH],
    # Document signing (RFC 9336): a certificate without any usage would serve as a TLS client too.
    Kind.EVIDENCE: [x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")],
}


class AuthorityReplaced(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the CA certificate in the database is not the one of the CA key; it was changed there")


class CertificateMissing(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the database holds no certificate for a key of the control plane's own")


class Issuer(Protocol):
    """Who issues certificates: the authority, or whoever stands before it and says when and why (issuance.py)."""

    @property
    def clock(self) -> Clock: ...

    def issue(
        self,
        session: Session,
        kind: Kind,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...] = (),
    ) -> str:
        """Return a new certificate as PEM; `names` are the DNS names and IP addresses a server answers to."""


@dataclass(frozen=True)
class Authority:
    """Issues under one CA key. What it returns is committed with the caller's session.

    Nobody but `Issuance` asks it for one: that keeps the record of each, and stops all while the log has lost any.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    clock: Clock

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> bytes:
        return sha256(self.certificate.public_bytes(serialization.Encoding.DER)).digest()

    def issue(
        self,
        session: Session,
        kind: Kind,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...] = (),
    ) -> str:
        """Return a new certificate as PEM; `names` are the DNS names and IP addresses a server answers to."""
        now = self.clock.now()
        builder = (
            _builder(subject, kind, public_key, now, now + _LIVES[kind])
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_signs_only(), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[kind]), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return _keep(session, kind, subject, certificate)

    def revocation_list(self, serials: Iterable[int], this_update: datetime) -> bytes:
        """Return a list (RFC 5280 section 5) in PEM. Whoever checks it prefers the one with the newest `this_update`.

        It is good for as long as the authority is: an old list that had run out would keep every host out.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(this_update)
            .next_update(self.certificate.not_valid_after_utc)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(this_update).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def establish(database: sessionmaker[Session], keys: KeyStore, clock: Clock) -> Authority:
    """Make the CA key and its self-signed certificate, once."""
    key = keys.create_p256(store.CA)
    now = clock.now()
    subject = f"Leadglass CA {sha256(key.public_key().public_bytes(*_SPKI)).hexdigest()[:8]}"
    builder = _builder(subject, Kind.CA, key.public_key(), now, now + CA_LIFE)
    certificate = (
        builder.issuer_name(_subject(subject, Kind.CA))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .sign(key, hashes.SHA256())
    )
    with database.begin() as session:
        _keep(session, Kind.CA, subject, certificate)
    return Authority(certificate, key, clock)


def load(database: sessionmaker[Session], keys: KeyStore, clock: Clock) -> Authority:
    """Return the authority. Raises KeyNotAuthentic, AuthorityReplaced."""
    with database() as session:
        pem = session.scalars(select(Certificate.pem).where(Certificate.kind == Kind.CA)).one()
    certificate, key = x509.load_pem_x509_certificate(pem.encode()), keys.p256(store.CA)
    # Every evidence key is believed because of this certificate, and its row is not under the root key: the key is.
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError) as exc:
        raise AuthorityReplaced from exc
    if certificate.public_key() != key.public_key():
        raise AuthorityReplaced
    return Authority(certificate, key, clock)


def issue_own(database: sessionmaker[Session], issuer: Issuer, keys: KeyStore, host: str) -> None:
    """Issue the centre's own certificates where there is none, it does not name `host`, or two thirds of it are over.

    For the same keys, which are sealed under the root key.
    """
    names = tuple(dict.fromkeys((host, "localhost", "127.0.0.1")))
    now = issuer.clock.now()
    for name, kind in _OWN.items():
        key = keys.p256(name)
        own_names = names if kind is Kind.SERVER else ()
        try:
            present = newest_certificate(database, key)
            if _names(present) >= {_name(n) for n in own_names} and not _is_due(present, now):
                continue
        except CertificateMissing:
            pass  # the first start
        work = partial(_issue_one, issuer=issuer, kind=kind, public_key=key.public_key(), names=own_names)
        in_one_commit(database, work)


def _issue_one(
    session: Session, *, issuer: Issuer, kind: Kind, public_key: ec.EllipticCurvePublicKey, names: tuple[str, ...]
) -> str:
    return issuer.issue(session, kind, CONTROL_PLANE, public_key, names)


def newest_certificate(database: sessionmaker[Session], key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the centre's newest certificate for one of its own keys. Raises CertificateMissing."""
    newest = select(Certificate.pem).where(Certificate.subject == CONTROL_PLANE).order_by(Certificate.not_after.desc())
    with database() as session:
        for pem in session.scalars(newest):
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if certificate.public_key() == key.public_key():
                return certificate
    raise CertificateMissing


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    return renewal_due(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)


def _names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _subject(common_name: str, kind: Kind) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, kind.value),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    common_name: str, kind: Kind, public_key: ec.EllipticCurvePublicKey, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name, kind))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _keep(session: Session, kind: Kind, subject: str, certificate: x509.Certificate) -> str:
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    session.add(
        Certificate(
            serial=f"{certificate.serial_number:x}",
            kind=kind.value,
            subject=subject,
            pem=pem,
            issued=certificate.not_valid_before_utc + _BACKDATED,
            not_after=certificate.not_valid_after_utc,
        )
    )
    return pem


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=certifies,
        crl_sign=certifies,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signs_only() -> x509.KeyUsage:
    return _usage(signs=True, certifies=False)


def _signs_certificates() -> x509.KeyUsage:
    return _usage(signs=False, certifies=True)

"""The certificate authority: short-lived certificates, each for one purpose, each kept for good.

Its root is elsewhere. Here is the key of an issuing CA, which the root certified for two years and for a few names.
docs/formats/enrolment.md section 5
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Certificate
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment import profiles
from control_plane.keys import store
from control_plane.keys.store import KeyStore
from shared import clock as clocks
from shared.clock import Clock
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, pem_of, verify_authority
from shared.enrolment.renewal import renewal_due
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE

SERVER_LIFE = timedelta(days=90)
HOST_LIFE = timedelta(days=7)
EVIDENCE_LIFE = timedelta(days=365)
DOCUMENT_LIFE = timedelta(days=3652)
PERSON_LIFE = timedelta(hours=8)
NEXT_ISSUING = "`leadglass-server authority request`, `sign` where the root's key is, and `install`"


class Kind(StrEnum):
    """What a certificate is for; the organisational unit of its subject, but for links, which have a root's."""

    ROOT = "root"
    LINK = "link"
    CA = "ca"
    SERVER = "server"
    SERVICE = "service"
    HOST = "host"
    EVIDENCE = "evidence"
    DOCUMENT = "document"
    PERSON = "person"


AUTHORITIES = (Kind.ROOT, Kind.LINK, Kind.CA)
_LIVES = {
    Kind.SERVER: SERVER_LIFE,
    Kind.SERVICE: SERVER_LIFE,
    Kind.HOST: HOST_LIFE,
    Kind.EVIDENCE: EVIDENCE_LIFE,
    Kind.DOCUMENT: DOCUMENT_LIFE,
    Kind.PERSON: PERSON_LIFE,
}
_OWN = {
    store.SERVER_TLS: Kind.SERVER,
    store.BROKER_TLS: Kind.SERVER,
    store.SERVICE_TLS: Kind.SERVICE,
    store.JOURNAL: Kind.EVIDENCE,
    store.RECEIPTS: Kind.EVIDENCE,
    store.DOCUMENTS: Kind.DOCUMENT,
}
_DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
_USAGES = {
    Kind.SERVER: [ExtendedKeyUsageOID.SERVER_AUTH],
    Kind.SERVICE: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Kind.HOST: [ExtendedKeyUsageOID.CLIENT_AUTH],
    # Document signing (RFC 9336): a certificate without any usage would serve as a TLS client too.
    Kind.EVIDENCE: [_DOCUMENT_SIGNING],
    # Signs PDFs. Readers that go by NSS know no document signing, and take a key for e-mail (ADR 0037).
    Kind.DOCUMENT: [_DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION],
    # Signs requests, and is no TLS client: whoever lets clients in by a name is to meet no person (ADR 0029).
    Kind.PERSON: [_DOCUMENT_SIGNING],
}


class AuthorityReplaced(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate authority in the database is not the one that was made here: {why}")
        self.why = why


class AuthorityOutdated(Refused):
    def __init__(self) -> None:
        super().__init__(
            "this data folder is of a version whose certificate authority had no root of its own; it cannot be taken "
            "over: make a new control plane with `leadglass-server init` in an empty folder, and enrol the hosts there"
        )


class IssuingEnded(Unavailable):
    def __init__(self, ended: datetime) -> None:
        super().__init__(f"the issuing certificate ended at {clocks.text(ended)}; have the root sign the next one: "
                         f"{NEXT_ISSUING}")  # fmt: skip
        self.ended = ended


class NameNotPermitted(Refused):
    def __init__(self, name: str, permitted: Sequence[str]) -> None:
        super().__init__(
            f"the root lets this centre certify itself for {', '.join(permitted)}, and not for {name}; to have it do "
            f"so: `leadglass-server authority request --host {name}`, `sign` where the root's key is, and `install`"
        )
        self.name, self.permitted = name, tuple(permitted)


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

    def as_issued(self, certificate: x509.Certificate) -> str:
        """Return as PEM, and as `issue` does, a certificate that was issued here before."""


@dataclass(frozen=True)
class Issuing:
    """A key that may certify, and the root's word for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def names(self) -> tuple[str, ...]:
        """Return the single names and addresses that servers may be certified for."""
        return profiles.single_names(self.certificate)


@dataclass(frozen=True)
class Authority:
    """Issues with the newest issuing key. What it returns is committed with the caller's session.

    Nobody but `Issuance` asks it for one: that keeps the record of each, and stops all while the log has lost any.
    `trust` has the newest root first, then the roots before it, and all that leads to them.
    """

    trust: Trust
    issuing: Issuing
    earlier: tuple[Issuing, ...]
    clock: Clock

    @property
    def root(self) -> x509.Certificate:
        return self.trust.roots[0]

    @property
    def pem(self) -> bytes:
        """Return what is pinned: the newest root."""
        return pem_of([self.root])

    @property
    def roots_pem(self) -> bytes:
        """Return the newest root, the ones before it, and what links them."""
        return pem_of((*self.trust.roots, *self.links))

    @property
    def links(self) -> tuple[x509.Certificate, ...]:
        return tuple(one for one in self.trust.between if one.subject == one.issuer)

    @property
    def fingerprint(self) -> bytes:
        return sha256(self.root.public_bytes(serialization.Encoding.DER)).digest()

    def issue(
        self,
        session: Session,
        kind: Kind,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...] = (),
    ) -> str:
        """Return a new certificate as PEM, and behind it the issuing CA's, for whoever knows the root alone.

        `names` are the DNS names and IP addresses a server answers to. Raises IssuingEnded.
        """
        now, issuing = self.clock.now(), self.issuing.certificate
        if now >= issuing.not_valid_after_utc:
            raise IssuingEnded(issuing.not_valid_after_utc)
        builder = (
            profiles.builder_for(
                profiles.subject_below(issuing, kind.value, subject),
                public_key,
                max(now - profiles.BACKDATED, issuing.not_valid_before_utc),
                self._end(kind, now),
            )
            .issuer_name(issuing.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(profiles.usage(signs=True, certifies=False, commits=kind is Kind.DOCUMENT), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[kind]), critical=True)
            .add_extension(profiles.issuer_id(issuing), critical=False)
        )
        if names:
            alternative = x509.SubjectAlternativeName([profiles.general_name(n) for n in names])
            builder = builder.add_extension(alternative, critical=False)
        certificate = builder.sign(self.issuing.key, hashes.SHA256())
        keep(session, kind, subject, certificate, issued=now)
        return pem_of([certificate, issuing]).decode()

    def as_issued(self, certificate: x509.Certificate) -> str:
        """Return as PEM, and as `issue` does, a certificate that was issued here before."""
        issuers = [one for one in self.trust.between if one.subject == certificate.issuer]
        return pem_of((certificate, *issuers)).decode()

    def shown(self, certificate: x509.Certificate) -> bytes:
        """Return one of the centre's own certificates as it shows it: with all that leads to any root of ours."""
        return self.as_issued(certificate).encode() + pem_of(self.links)

    def has_ended(self) -> bool:
        return self.clock.now() >= self.issuing.certificate.not_valid_after_utc

    def verify_permitted(self, name: str) -> None:
        """Raises NameNotPermitted."""
        if not profiles.is_permitted(self.issuing.certificate, name):
            raise NameNotPermitted(name, self.issuing.names)

    def revocation_lists(self, revoked: Iterable[x509.Certificate], this_update: datetime) -> bytes:
        """Return lists (RFC 5280 section 5) in PEM, one of each issuing CA whose certificates may still be valid.

        Whoever checks them prefers the ones with the newest `this_update`. They are good for as long as their issuer
        is: an old list that had run out would keep every host out.
        """
        certificates = list(revoked)
        alive = [one for one in self.earlier if one.certificate.not_valid_after_utc > this_update]
        return b"".join(_revocation_list(one, certificates, this_update) for one in (self.issuing, *alive))

    def _end(self, kind: Kind, now: datetime) -> datetime:
        end = now + _LIVES[kind]
        # Evidence is judged by when its key was certified; TLS judges the issuer's dates too.
        return end if kind in (Kind.EVIDENCE, Kind.DOCUMENT) else min(end, self.issuing.certificate.not_valid_after_utc)


def establish(
    database: sessionmaker[Session],
    keys: KeyStore,
    clock: Clock,
    root_key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> Authority:
    """Make root and issuing CA, once. The root's key is used here and kept by whoever made it."""
    now = clock.now()
    centre = profiles.new_organisation(root_key.public_key())
    root = profiles.make_root(root_key, centre, now - profiles.BACKDATED)
    key = keys.create_p256(store.CA)
    issuing = profiles.make_issuing(profiles.request_issuing(key, root, hosts), root_key, now)
    with database.begin() as session:
        keys.keep_root(session, fingerprint(root))
        keep(session, Kind.ROOT, _called(root), root, issued=now)
        keep(session, Kind.CA, _called(issuing), issuing, issued=now)
    return Authority(Trust((root,), (issuing,)), Issuing(issuing, key), (), clock)


def load(database: sessionmaker[Session], keys: KeyStore, clock: Clock) -> Authority:
    """Return the authority. Raises KeyNotAuthentic, AuthorityReplaced, AuthorityOutdated."""
    roots, others = _roots(database, keys), _certificates(database, Kind.LINK, Kind.CA)
    # Every evidence key is believed because of these, and their rows are not under the root key: digests and keys are.
    links = tuple(one for one in others if one.subject == one.issuer and _is_ours(one, Trust(roots)))
    found = _issuing(keys, others, Trust(roots, links))
    if not found:
        raise AuthorityReplaced("no certificate of a root is for a key that issues here")
    between = tuple(one.certificate for one in found)
    return Authority(Trust(roots, (*between, *links)), found[0], tuple(found[1:]), clock)


def _roots(database: sessionmaker[Session], keys: KeyStore) -> tuple[x509.Certificate, ...]:
    """Return the roots that were made or installed here, newest first."""
    held = {fingerprint(one): one for one in _certificates(database, Kind.ROOT)}
    pinned = keys.roots()
    if not pinned:
        raise AuthorityOutdated
    if missing := [digest.hex() for digest in pinned if digest not in held]:
        raise AuthorityReplaced(f"it has no root with the SHA-256 {', '.join(missing)}")
    return tuple(held[digest] for digest in reversed(pinned))


def _issuing(keys: KeyStore, offered: Sequence[x509.Certificate], trust: Trust) -> list[Issuing]:
    """Return the issuing CAs that a root vouches for, newest first. One key may have several, for more names."""
    found = []
    for name in reversed(keys.issuing_keys()):
        key = keys.p256(name)
        theirs = [one for one in offered if one.public_key() == key.public_key() and _is_ours(one, trust)]
        found += [Issuing(one, key) for one in reversed(theirs)]
    return found


def _certificates(database: sessionmaker[Session], *kinds: Kind) -> list[x509.Certificate]:
    """Return what can be read of the rows of these kinds, oldest first."""
    rows = select(Certificate.pem).where(Certificate.kind.in_(kinds)).order_by(Certificate.issued)
    with database() as session:
        pems = session.scalars(rows).all()
    found: list[x509.Certificate] = []
    for pem in pems:
        try:
            found += parse_chain(pem.encode(), "certificate of an authority", most=1)
        except Malformed as exc:
            raise AuthorityReplaced("one of its certificates is none") from exc
    return found


def _is_ours(authority: x509.Certificate, trust: Trust) -> bool:
    try:
        verify_authority(authority, trust)
    except ChainBroken:
        return False
    return True


def issue_own(database: sessionmaker[Session], authority: Authority, issuer: Issuer, keys: KeyStore, host: str) -> None:
    """Issue the centre's own certificates where there is none, it lacks a name by which hosts know this machine, an
    earlier issuing CA made it, or two thirds of it are over. `issuer` is who issues for `authority`.

    For the same keys, which are sealed under the root key. Raises NameNotPermitted, IssuingEnded.
    """
    authority.verify_permitted(host)
    names = tuple(dict.fromkeys((host, *authority.issuing.names, "127.0.0.1")))
    now = authority.clock.now()
    for name, kind in _OWN.items():
        key = keys.p256_or_new(name)
        own_names = names if kind is Kind.SERVER else ()
        try:
            present = newest_certificate(database, key)
            if authority.has_ended() or _is_good(present, authority, own_names, now):
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


def fingerprint(certificate: x509.Certificate) -> bytes:
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def keep(session: Session, kind: Kind, subject: str, certificate: x509.Certificate, *, issued: datetime) -> None:
    session.add(
        Certificate(
            serial=f"{certificate.serial_number:x}",
            kind=kind.value,
            subject=subject,
            pem=pem_of([certificate]).decode(),
            issued=issued,
            not_after=certificate.not_valid_after_utc,
        )
    )


def _is_good(certificate: x509.Certificate, authority: Authority, names: tuple[str, ...], now: datetime) -> bool:
    return (
        _names(certificate) >= {profiles.general_name(name) for name in names}
        and certificate.issuer == authority.issuing.certificate.subject
        and not renewal_due(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)
    )


def _names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _called(certificate: x509.Certificate) -> str:
    return profiles.common_name(certificate)


def _revocation_list(issuing: Issuing, revoked: Sequence[x509.Certificate], this_update: datetime) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuing.certificate.subject)
        .last_update(this_update)
        .next_update(issuing.certificate.not_valid_after_utc)
        .add_extension(profiles.issuer_id(issuing.certificate), critical=False)
    )
    for one in revoked:
        if one.issuer == issuing.certificate.subject:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(this_update).build())
    return builder.sign(issuing.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

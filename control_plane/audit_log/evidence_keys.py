"""Which evidence keys are whose: only those that our authority certified, whatever the database says beside it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.db.models import Certificate
from control_plane.db.transactions import snapshot
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.standing import ENDED
from control_plane.fleet.states import HostUnknown
from shared.enrolment.chain import ChainBroken, Trust, verify_chain
from shared.errors import IntegrityFailure
from shared.identity import HostId
from shared.signing import EvidencePublicKey, signing_key_id

_REMEMBERED = 4096
# Made once: each batch runs them, and making one takes longer than running it.
_OF_HOST = (
    "SELECT h.evidence_spki, h.standing, c.pem FROM hosts h "
    "LEFT JOIN certificates c ON c.subject = h.host_id AND c.kind = ? WHERE h.host_id = ?"
)
_CERTIFICATES = (
    select(Certificate.pem)
    .where(Certificate.subject == bindparam("of"), Certificate.kind == Kind.EVIDENCE)
    .order_by(Certificate.issued.desc())
)


class NotCertified(IntegrityFailure):
    """A key or certificate in the database that the authority never issued."""

    def __init__(self, source: str) -> None:
        super().__init__(f"no certificate of the authority says that {source} has this evidence key")
        self.source = source


class HeldKey(NamedTuple):
    """What the database says of a host and one of its evidence certificates, None where it has none."""

    spki: Any
    standing: str | None
    pem: str | None


class EvidenceKeys:
    """Reads certificates from the database and believes only those that lead to a root of `trust`.

    The dates of a certificate are not judged: evidence outlives it.
    """

    def __init__(self, database: sessionmaker[Session], trust: Trust) -> None:
        self._database, self._engine, self._trust = database, engine_of(database), trust
        # The same text is judged the same for as long as the trust is: every batch asks.
        self._judged = lru_cache(_REMEMBERED)(self._judge)

    def of_active_host(self, host_id: HostId) -> EvidencePublicKey:
        """Return the key with which an active host signs now. Raises HostUnknown, NotCertified."""
        return self.among(host_id, driver.rows_by_itself(self._engine, _OF_HOST, _asked(host_id)))

    def of_active_host_in(self, session: Session, host_id: HostId) -> EvidencePublicKey:
        """Do the same by what `session` sees."""
        return self.among(host_id, driver.rows(session, _OF_HOST, _asked(host_id)))

    def among(self, host_id: HostId, rows: Sequence[HeldKey]) -> EvidencePublicKey:
        """Do the same by what was just read."""
        if not rows or rows[0][1] in ENDED:
            raise HostUnknown(host_id)
        spki, pems = driver.blob(rows[0][0]), [pem for _, _, pem in rows if pem is not None]
        for key in self._certified(str(host_id), pems):
            if key.spki == spki:
                return key
        raise NotCertified(str(host_id))

    def for_statement(self, source: str, signed: bytes) -> EvidencePublicKey:
        """Return the key of `source` that `signed` names; where it names none of its keys, its newest.

        Verifying under the newest key then fails as it should: as a wrong signer.
        Raises Malformed, NotCertified: `source` has no key at all.
        """
        named = signing_key_id(signed)
        with snapshot(self._database) as session:
            pems = _held(session, source)
        keys = list(self._certified(source, pems))
        if not keys:
            raise NotCertified(source)
        return next((key for key in keys if key.key_id == named), keys[0])

    def _certified(self, source: str, pems: Sequence[str]) -> Iterator[EvidencePublicKey]:
        """Yield the keys of `source` that `pems` certify, in their order."""
        for pem in pems:
            named, key = self._judged(pem)
            if key is not None and named == source:
                yield key

    def _judge(self, pem: str) -> tuple[str, EvidencePublicKey | None]:
        """Return whose evidence key a certificate says it is, with no key where it is none of the authority's."""
        certificate = _parsed(pem)
        if certificate is None or not self._is_ours(certificate):
            return "", None
        name, kind = _subject(certificate)
        if kind != Kind.EVIDENCE:
            return "", None
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return str(name), EvidencePublicKey.parse(spki)

    def _is_ours(self, certificate: x509.Certificate) -> bool:
        try:
            verify_chain(certificate, self._trust)
        except ChainBroken:
            return False
        return True


def _asked(host_id: HostId) -> driver.Values:
    return Kind.EVIDENCE.value, str(host_id)


def _held(session: Session, source: str) -> Sequence[str]:
    """Return what is held as evidence certificates of `source`, newest first; nothing of it is believed yet."""
    return session.scalars(_CERTIFICATES, {"of": source}).all()


def _parsed(pem: str) -> x509.Certificate | None:
    """Return a certificate, None for text that is none: the row was changed, and says nothing of anybody's key."""
    try:
        return x509.load_pem_x509_certificate(driver.blob(pem))
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return None


def _subject(certificate: x509.Certificate) -> tuple[str | bytes | None, str | bytes | None]:
    def one(oid: x509.ObjectIdentifier) -> str | bytes | None:
        return next((name.value for name in certificate.subject.get_attributes_for_oid(oid)), None)

    return one(NameOID.COMMON_NAME), one(NameOID.ORGANIZATIONAL_UNIT_NAME)

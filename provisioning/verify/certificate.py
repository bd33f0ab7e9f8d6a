"""Judges an evidence certificate: who issued it, for whom, and whether it was valid at an instant of the past.

It is judged at the time of what it signed, never at the time of looking: certificates last days, evidence 30 years.
The authorities between it and the root that the reader trusts come with it, and are believed in nothing of themselves.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from provisioning.verify.checks import Check, judged
from shared import clock
from shared.enrolment.chain import Chain, ChainBroken, Trust, is_valid_at, parse_chain, verify_chain
from shared.signing import EvidencePublicKey

_UNIT = "evidence"
_MAX_CHAIN = 16


@dataclass(frozen=True)
class Certified:
    """A certificate, and those of authorities that came with it."""

    certificate: x509.Certificate
    between: Chain = ()


def parse_certified(pem: bytes, what: str) -> Certified:
    """Read a certificate and what stands behind it. Raises Malformed."""
    first, *between = parse_chain(pem, what, most=_MAX_CHAIN)
    return Certified(first, tuple(between))


def parse_trust(pem: bytes, what: str) -> Trust:
    """Read a root that the reader trusts; behind it may stand what leads to it. Raises Malformed."""
    read = parse_certified(pem, what)
    return Trust((read.certificate,), read.between)


def evidence_key(certificate: x509.Certificate) -> EvidencePublicKey:
    """Raises Malformed: not an ECDSA P-256 key."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return EvidencePublicKey.parse(certificate.public_key().public_bytes(serialization.Encoding.DER, spki))


def fingerprint(certificate: x509.Certificate) -> str:
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def fingerprints(trust: Trust) -> str:
    return ", ".join(fingerprint(root) for root in trust.roots)


def check_issuer(one: Certified, trust: Trust) -> Check:
    name = "certificate issued by the authority"
    try:
        *_, root = verify_chain(one.certificate, trust, one.between)
    except ChainBroken as exc:
        return judged(name, False, f"not by the one with SHA-256 {fingerprints(trust)}: {exc}")
    return judged(name, True, f"authority with SHA-256 {fingerprint(root)}")


def check_validity(one: Certified, trust: Trust | None, instant: datetime, when: str) -> Check:
    """Judge whether the certificate was valid at `instant`, which is the time `when`, and its authorities before it."""
    certificate = one.certificate
    outside = [] if is_valid_at(certificate, instant) else ["certificate"]
    if trust is not None and not _was_certified(one, trust):
        outside.append("authority")
    detail = f"{when} is {clock.text(instant)}, the certificate's own period {_period(certificate)}"
    if outside:
        detail += f"; outside the period of the {' and the '.join(outside)}"
    return judged(f"certificate valid at {when}", not outside, detail)


def _was_certified(one: Certified, trust: Trust) -> bool:
    """Tell whether every authority was valid when what it certified began."""
    try:
        verify_chain(one.certificate, trust, one.between, at=one.certificate.not_valid_before_utc)
    except ChainBroken:
        return False
    return True


def check_purpose(certificate: x509.Certificate, name: str) -> Check:
    """Judge whether it is an evidence certificate of `name`, and not one for TLS that was put in its place."""
    problems = []
    if _subject(certificate, NameOID.COMMON_NAME) != [name]:
        problems.append(f"it is not for {name}")
    if _subject(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME) != [_UNIT]:
        problems.append("it is not for evidence")
    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            problems.append("its key may not sign")
    except x509.ExtensionNotFound:
        problems.append("it does not say that its key may sign")
    return judged("certificate names the signer", not problems, "; ".join(problems) or name)


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]


def _period(certificate: x509.Certificate) -> str:
    return f"{clock.text(certificate.not_valid_before_utc)} to {clock.text(certificate.not_valid_after_utc)}"

"""Judges an evidence certificate: who issued it, for whom, and whether it was valid at an instant of the past.

It is judged at the time of what it signed, never at the time of looking: certificates last days, evidence 30 years.
"""

from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from provisioning.verify.checks import Check, judged
from shared import clock
from shared.errors import Malformed
from shared.signing import EvidencePublicKey

_UNIT = "evidence"
_BROKEN = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


def parse_certificate(pem: bytes, what: str) -> x509.Certificate:
    """Read one certificate, all of it that is looked at here. Raises Malformed."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        # Read only when they are asked for, which is too late to refuse them.
        _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key()
    except (ValueError, TypeError, *_BROKEN) as exc:
        raise Malformed(what, "not a certificate in PEM") from exc
    return certificate


def evidence_key(certificate: x509.Certificate) -> EvidencePublicKey:
    """Raises Malformed: not an ECDSA P-256 key."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return EvidencePublicKey.parse(certificate.public_key().public_bytes(serialization.Encoding.DER, spki))


def fingerprint(certificate: x509.Certificate) -> str:
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def check_issuer(certificate: x509.Certificate, ca: x509.Certificate) -> Check:
    name = "certificate issued by the authority"
    try:
        may_issue = ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.verify_directly_issued_by(ca)
    except x509.ExtensionNotFound:
        may_issue = False
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return judged(name, False, f"not by the one with SHA-256 {fingerprint(ca)}")
    if not may_issue:
        return judged(name, False, "the one given is not a certificate authority")
    return judged(name, True, f"authority with SHA-256 {fingerprint(ca)}")


def check_validity(certificate: x509.Certificate, ca: x509.Certificate | None, instant: datetime, when: str) -> Check:
    """Judge whether certificate and authority were valid at `instant`, which is the time `when`."""
    holders = [("certificate", certificate)] + ([("authority", ca)] if ca is not None else [])
    outside = [what for what, one in holders if not is_valid_at(one, instant)]
    detail = f"{when} is {clock.text(instant)}, the certificate's own period {_period(certificate)}"
    if outside:
        detail += f"; outside the period of the {' and the '.join(outside)}"
    return judged(f"certificate valid at {when}", not outside, detail)


def is_valid_at(certificate: x509.Certificate, instant: datetime) -> bool:
    return certificate.not_valid_before_utc <= instant <= certificate.not_valid_after_utc


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

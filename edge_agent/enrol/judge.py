"""Decides whether to believe a centre's CA, and whether its answer is an identity for our keys."""

import hmac
from collections.abc import Sequence
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge_agent.enrol.keys import HostKeys
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import EnrolmentAnswer
from shared.errors import Malformed, Refused
from shared.policy.document import ORGANISATION
from shared.policy.layer import MODALITY, SITE, parse_parts

_KNOWN = f"this agent knows {ORGANISATION}, one {SITE}NAME and one {MODALITY}NAME"


class StrangeCentre(Refused):
    """Whoever answers at this address is not who issued the code."""

    def __init__(self, *, found: bytes, expected: bytes) -> None:
        super().__init__(
            f"the CA certificate at this address has the fingerprint {found.hex()}, the code names {expected.hex()}; "
            "nothing was sent"
        )
        self.found, self.expected = found, expected


class AnswerUnusable(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the answer is not an identity for this host: {why}")
        self.why = why


def verify_centre(ca_pem: bytes, code: EnrolmentCode) -> x509.Certificate:
    """Return the root's certificate once it is the one whose fingerprint the code carries.

    Raises Malformed, StrangeCentre.
    """
    try:
        (certificate,) = parse_chain(ca_pem, "CA certificate")
    except (ValueError, Malformed) as exc:
        raise Malformed("CA certificate", "expected exactly one certificate in PEM") from exc
    found = sha256(certificate.public_bytes(Encoding.DER)).digest()
    if not hmac.compare_digest(found, code.ca_sha256):
        raise StrangeCentre(found=found, expected=code.ca_sha256)
    return certificate


def verify_answer(answer: EnrolmentAnswer, keys: HostKeys, trust: Trust) -> None:
    """Raise AnswerUnusable unless both certificates lead to the root, are for our keys, and named as the answer is."""
    verify_certificate(answer.tls_certificate, "TLS", keys.tls, str(answer.host_id), trust)
    verify_certificate(answer.evidence_certificate, "evidence", keys.evidence, str(answer.host_id), trust)
    _verify_layers(answer.layers)


def _verify_layers(layers: Sequence[str]) -> None:
    """Raise AnswerUnusable unless they are the organisation's and at most one of each kind of part.

    A host keeps its layers for good, and one that it cannot act by may not be ignored in silence.
    """
    try:
        parse_parts(layers[1:])
    except Malformed as exc:
        raise AnswerUnusable(f"of the policy layers {', '.join(layers)}: {exc.why}; {_KNOWN}") from exc
    if tuple(layers[:1]) != (ORGANISATION,):
        raise AnswerUnusable(f"of the policy layers {', '.join(layers)} the first is not {ORGANISATION}; {_KNOWN}")


def verify_certificate(
    pem: str, what: str, key: ec.EllipticCurvePrivateKey, name: str, trust: Trust
) -> x509.Certificate:
    """Return the first certificate of `pem` once the others lead from it to the root, and it is for `key` and `name`.

    Raises AnswerUnusable.
    """
    try:
        certificate, *between = parse_chain(pem.encode(), f"{what} certificate")
        verify_chain(certificate, trust, between)
    except (ChainBroken, Malformed) as exc:
        raise AnswerUnusable(f"the {what} certificate was not issued by the centre's CA: {exc}") from exc
    if certificate.public_key() != key.public_key():
        raise AnswerUnusable(f"the {what} certificate is for another key")
    names = [n.value for n in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name]:
        raise AnswerUnusable(f"the {what} certificate names another host")
    return certificate

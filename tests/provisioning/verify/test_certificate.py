"""Certificates come from outside: whatever they are, they are judged or refused."""

import base64
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from provisioning.verify.certificate import check_issuer, check_purpose, check_validity, evidence_key, parse_certified
from shared.errors import Malformed
from tests.provisioning.verify.evidence import NOW, Authority

AUTHORITY = Authority()
CERTIFICATE = AUTHORITY.certify("control-plane", "evidence", ec.generate_private_key(ec.SECP256R1()))


def as_pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which makes it no better and no worse
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_broken_certificate_ends_in_a_judgement_or_a_refusal(mask: int) -> None:
    der, ca = CERTIFICATE.public_bytes(Encoding.DER), AUTHORITY.trust
    signed = der.index(CERTIFICATE.tbs_certificate_bytes) + len(CERTIFICATE.tbs_certificate_bytes)
    for at in range(len(der)):
        broken = bytearray(der)
        broken[at] ^= mask
        with suppress(Malformed):
            one = parse_certified(as_pem(bytes(broken)), "evidence certificate")
            evidence_key(one.certificate)
            held = check_purpose(one.certificate, "control-plane").holds and check_issuer(one, ca).holds
            valid = check_validity(one, ca, NOW, "time of capture").holds
            assert at >= signed or not (held and valid), f"byte {at}"


def test_a_key_of_another_kind_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = AUTHORITY.certify("control-plane", "evidence", key)  # type: ignore[arg-type]

    with pytest.raises(Malformed):
        evidence_key(certificate)

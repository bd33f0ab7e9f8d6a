"""A request that is signed with the key of a person's certificate, by HTTP Message Signatures (RFC 9421).

One profile, so that there is nothing to choose: ECDSA P-256 with SHA-256 over method, authority, target, body digest
and certificate. Whoever answers at the door's port, or reads what was sent, holds nothing that makes another request.
docs/formats/sign-in.md section 7
"""

import base64
import re
from binascii import Error as NotBase64
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import Malformed

CERTIFICATE, DIGEST = "Leadglass-Certificate", "Content-Digest"
INPUT, SIGNATURE = "Signature-Input", "Signature"
NONCE_BYTES = 16
_NUMBER_BYTES = 32
_MAX_FIELD_CHARS = 8192
_COVERED = '("@method" "@authority" "@request-target" "content-digest" "leadglass-certificate")'
_INPUT = re.compile(
    rf"leadglass=({re.escape(_COVERED)};created=([0-9]{{1,11}});"
    r'nonce="([A-Za-z0-9_-]{22})";alg="ecdsa-p256-sha256";tag="leadglass-person")'
)
_BYTES = re.compile(r":([A-Za-z0-9+/]+={0,2}):")


class SignatureWrong(Malformed):
    def __init__(self, why: str) -> None:
        super().__init__("signed request", why)


@dataclass(frozen=True)
class Asked:
    """What a request asks for, as both ends see it: `target` is path and query as they were sent."""

    method: str
    authority: str
    target: str


@dataclass(frozen=True)
class Proof:
    """The four fields of a signed request, read but not believed."""

    asked: Asked
    certificate: x509.Certificate
    body_sha256: bytes
    parameters: str
    created: int
    nonce: str
    signature: bytes

    @classmethod
    def parse(cls, asked: Asked, certificate: str, digest: str, signature_input: str, signature: str) -> "Proof":
        """Raises SignatureWrong."""
        found = _INPUT.fullmatch(signature_input)
        if found is None:
            raise SignatureWrong(f"{INPUT} is not of the one form that is taken here")
        body = _bytes(digest.removeprefix("sha-256="), DIGEST) if digest.startswith("sha-256=") else b""
        if len(body) != sha256().digest_size:
            raise SignatureWrong(f"{DIGEST} is not one SHA-256")
        raw = _bytes(signature.removeprefix("leadglass="), SIGNATURE)
        if len(raw) != 2 * _NUMBER_BYTES:
            raise SignatureWrong(f"{SIGNATURE} is not one of ECDSA P-256")
        der = _bytes(certificate, CERTIFICATE)
        try:
            shown = x509.load_der_x509_certificate(der)
            _ = shown.subject, shown.extensions, shown.public_key()
        except (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm) as exc:
            raise SignatureWrong(f"{CERTIFICATE} is no certificate") from exc
        return cls(asked, shown, body, found[1], int(found[2]), found[3], raw)

    def verify(self) -> None:
        """Raises SignatureWrong: not signed by the key that the certificate names."""
        key = self.certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SignatureWrong("the certificate's key is not one of ECDSA P-256")
        r, s = (int.from_bytes(self.signature[at : at + _NUMBER_BYTES]) for at in (0, _NUMBER_BYTES))
        signed = _base(self.asked, _digest_field(self.body_sha256), field_of(self.certificate), self.parameters)
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as exc:
            raise SignatureWrong("the signature does not hold") from exc

    def is_of(self, body: bytes) -> bool:
        return sha256(body).digest() == self.body_sha256


def sign(
    asked: Asked, body: bytes, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: datetime,
    nonce: bytes,
) -> dict[str, str]:  # fmt: skip
    """Return the fields that make a request one of this key's."""
    name = base64.urlsafe_b64encode(nonce).decode().rstrip("=")
    made = f'created={int(now.timestamp())};nonce="{name}"'
    parameters = f'{_COVERED};{made};alg="ecdsa-p256-sha256";tag="leadglass-person"'
    digest, shown = _digest_field(sha256(body).digest()), field_of(certificate)
    r, s = decode_dss_signature(key.sign(_base(asked, digest, shown, parameters), ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(_NUMBER_BYTES) + s.to_bytes(_NUMBER_BYTES)
    return {
        CERTIFICATE: shown, DIGEST: digest, INPUT: f"leadglass={parameters}",
        SIGNATURE: f"leadglass={_sequence(signature)}",
    }  # fmt: skip


def field_of(certificate: x509.Certificate) -> str:
    return _sequence(certificate.public_bytes(Encoding.DER))


def _base(asked: Asked, digest: str, certificate: str, parameters: str) -> bytes:
    """Return the signature base of RFC 9421 section 2.5."""
    lines = (
        f'"@method": {asked.method}', f'"@authority": {asked.authority.lower()}', f'"@request-target": {asked.target}',
        f'"content-digest": {digest}', f'"leadglass-certificate": {certificate}', f'"@signature-params": {parameters}',
    )  # fmt: skip
    return "\n".join(lines).encode(errors="replace")


def _digest_field(digest: bytes) -> str:
    return f"sha-256={_sequence(digest)}"


def _sequence(data: bytes) -> str:
    """Return a byte sequence of RFC 8941 section 3.3.5."""
    return f":{base64.b64encode(data).decode()}:"


def _bytes(field: str, name: str) -> bytes:
    found = _BYTES.fullmatch(field) if len(field) <= _MAX_FIELD_CHARS else None
    try:
        data = base64.b64decode(found[1], validate=True) if found else b""
    except NotBase64:
        data = b""
    if not data or _sequence(data) != field:
        raise SignatureWrong(f"{name} is not one byte sequence")
    return data

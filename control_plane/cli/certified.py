"""The file of a person's certificate, and requests that are signed with the key in it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control_plane.durable import write_new
from control_plane.people.signed_request import NONCE_BYTES, Asked, sign
from control_plane.policy.person_key import parse_private, read_private
from shared import clock as clocks
from shared.clock import Clock
from shared.enrolment.chain import parse_chain
from shared.errors import Malformed, Refused


class CertificateOver(Refused):
    def __init__(self, path: Path, ended: str) -> None:
        super().__init__(
            f"{path}: this certificate ended at {ended}; have another one with `leadglass-server person certificate`"
        )
        self.path = path


@dataclass(frozen=True)
class Certified:
    """A key that is on this machine alone, and a certificate for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    clock: Clock

    def fields(self, method: str, authority: str, target: str, body: bytes) -> Mapping[str, str]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return sign(Asked(method, authority, target), body, self.certificate, self.key, self.clock.now(), nonce)


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a PKCS #10 request in PEM. Every name in the certificate is the centre's word."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leadglass person")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def keep(path: Path, key: ec.EllipticCurvePrivateKey, chain_pem: str) -> None:
    """Write key and certificate, for their owner only. Raises FileExistsError, Malformed: it is not for this key."""
    if parse_chain(chain_pem.encode(), "certificate")[0].public_key() != key.public_key():
        raise Malformed("certificate", "the centre certified another key than the one that was made here")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_new(path, private + chain_pem.encode())


def load(path: Path, clock: Clock) -> Certified:
    """Raises KeyFileRefused, Malformed, CertificateOver."""
    pem = read_private(path)
    what = f"certificate file {path}"
    private, ends, chain = pem.partition(b"-----END PRIVATE KEY-----\n")
    key, certificates = parse_private(private + ends, what), parse_chain(chain, what)
    if certificates[0].public_key() != key.public_key():
        raise Malformed(what, "the key in it is not the certificate's")
    if (ended := certificates[0].not_valid_after_utc) <= clock.now():
        raise CertificateOver(path, clocks.text(ended))
    return Certified(certificates[0], key, clock)

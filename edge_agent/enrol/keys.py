"""The host's two key pairs and the requests for their certificates. ECDSA P-256; private halves stay here."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class HostKeys:
    """One key to speak TLS with and one to sign evidence with: a stolen session can then sign nothing."""

    tls: ec.EllipticCurvePrivateKey
    evidence: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> "HostKeys":
        return cls(ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()))


def request(key: ec.EllipticCurvePrivateKey, unit: str) -> str:
    """Return a PKCS #10 request in PEM that proves possession of `key`. The centre decides every name in the answer."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "leadglass host"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        ]
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return `key` unencrypted, for a file of mode 0600."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

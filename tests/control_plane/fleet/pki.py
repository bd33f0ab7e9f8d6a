"""A certificate authority for tests, and identities under it."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.clock import SystemClock
from shared.identity import CONTROL_PLANE, HostId

_LOCAL = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])


@dataclass(frozen=True)
class Identity:
    name: str
    certificate: bytes
    key: bytes


class TestCa:
    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"Leadglass test CA {token_hex(4)}", "ca")
        self.pem = _pem(
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def server(self) -> Identity:
        return self._issue(CONTROL_PLANE, "server", ExtendedKeyUsageOID.SERVER_AUTH, _LOCAL)

    def node(self) -> Identity:
        """Return what one broker of a cluster shows to clients, and to the others as a client of theirs."""
        return self._issue("broker", "broker", ExtendedKeyUsageOID.SERVER_AUTH, _LOCAL, ExtendedKeyUsageOID.CLIENT_AUTH)

    def centre(self) -> Identity:
        return self._issue(CONTROL_PLANE, "service", ExtendedKeyUsageOID.CLIENT_AUTH)

    def host(self) -> Identity:
        return self._issue(str(HostId.new()), "host", ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        name: str,
        unit: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None = None,
        *more: x509.ObjectIdentifier,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name, unit), self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage, *more]), critical=True
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity(name, _pem(builder.sign(self._key, hashes.SHA256())), private)


def _name(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = SystemClock().now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

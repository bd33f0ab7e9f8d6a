"""A certificate authority with one server and one client, for the peers that are measured over mutual TLS."""

from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.clock import SystemClock


def make_certificates(folder: Path) -> Path:
    """Write ca.pem, server.pem, server.key, client.pem and client.key to `folder`; return it."""
    folder.mkdir(parents=True)
    now = SystemClock().now()
    ca_key, ca = ec.generate_private_key(ec.SECP256R1()), _name("benchmark CA")

    def write(name: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> None:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    write("ca", ca, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")])
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        write(name, _name(name), key, address)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(private)
    return folder


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

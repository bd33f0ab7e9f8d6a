"""Certificates of modalities and archives for DICOM over TLS, made for one test."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Party:
    """One who shows a certificate. `key` and `certificate` are PEM files, `chain` both in one."""

    key: Path
    certificate: Path
    chain: Path
    pem: str
    sha256: str


def self_signed(
    folder: Path,
    name: str,
    *,
    starts: timedelta = -timedelta(days=1),
    ends: timedelta,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> Party:
    """Make a certificate for 127.0.0.1 that is valid from now + `starts` to now + `ends`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    # OpenSSL reads the machine's own clock, so what it judges has to be made by the same one.
    now = datetime.now(UTC)  # noqa: TID251
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True)
    key_file, certificate_file, chain_file = (folder / f"{name}.{kind}.pem" for kind in ("key", "certificate", "chain"))
    key_file.write_bytes(private)
    certificate_file.write_bytes(pem)
    chain_file.write_bytes(pem + private)
    digest = sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    return Party(key_file, certificate_file, chain_file, pem.decode(), digest)


def of_version_41(pem: str) -> str:
    """Return a certificate of a version that there is not, which libraries refuse in a way of its own."""
    der = ssl.PEM_cert_to_DER_cert(pem).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x28", 1)
    return ssl.DER_cert_to_PEM_cert(der)


def party(folder: Path, name: str) -> Party:
    return self_signed(folder, name, ends=timedelta(days=30))


def party_with_rsa(folder: Path, name: str) -> Party:
    """Most hospitals' authorities issue these."""
    return self_signed(folder, name, ends=timedelta(days=30), key=rsa.generate_private_key(65537, 2048))


def expired(folder: Path, name: str) -> Party:
    return self_signed(folder, name, starts=-timedelta(days=30), ends=-timedelta(days=1))

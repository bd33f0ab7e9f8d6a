"""TLS contexts from keys that never lie in clear on a disk."""

import os
import ssl
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class TlsIdentity:
    """A certificate (PEM) and its private key (PEM, in memory only)."""

    certificate: bytes
    key: bytes


def tls_identity(certificate: bytes, key: ec.EllipticCurvePrivateKey) -> TlsIdentity:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return TlsIdentity(certificate, pem)


def server_context(identity: TlsIdentity, *, client_ca: bytes | None) -> ssl.SSLContext:
    """Return a context of TLS 1.2 or newer; with `client_ca`, one that talks only to clients it certified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, identity)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(identity: TlsIdentity, *, trust: str) -> ssl.SSLContext:
    """Return a context of TLS 1.2 or newer that talks only to servers whose chain ends in `trust`, PEM.

    What is trusted may be the server's own certificate: an archive has often no authority above it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trust)
    _load_chain(context, identity)
    return context


def _load_chain(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    # Python's ssl reads keys from files only; an anonymous file in memory is one that no disk ever holds.
    descriptor = os.memfd_create("leadglass-tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(identity.certificate + identity.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")

"""The certificate that this host shows modalities: one of its own making, or the hospital's.

    identity/dicom.pem = certificate (and chain, if any) || private key, all PEM, 0600; host_keys/store.py

Ours is made at first need, lasts two years, and is made again in its last week, with a log line: modalities then have
to trust the new one. One that is not ours is never touched; whether it has ended is for whoever put it there.
"""

import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.enrol.keys import private_pem
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyName
from edge_agent.log import Log
from shared import clock as clocks
from shared.clock import Clock

LASTS = timedelta(days=730)
DUE = timedelta(days=7)
_BACKDATED = timedelta(days=1)  # modalities' clocks are set by hand
# Says that the certificate is of our own making, so that nobody else's is ever replaced.
_OURS = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Leadglass"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "self-signed"),
        x509.NameAttribute(NameOID.COMMON_NAME, "leadglass dicom"),
    ]
)


class DicomCertificate:
    """`names` are the host names and IP addresses under which modalities reach this host."""

    def __init__(self, keys: HostKeyStore, names: Sequence[str], clock: Clock, log: Log) -> None:
        self._keys, self._names, self._clock, self._log = keys, names, clock, log
        self._file = keys.file(KeyName.DICOM)
        self._present: x509.Certificate | None = None
        self._read_at: tuple[int, int] | None = None

    def ensure(self) -> x509.Certificate:
        """Return the certificate, made first where there is none of use.

        Raises IdentityUnreadable, IdentityNotStored, KeyVaultUnavailable.
        """
        present = self._load()
        if present is None or (is_ours(present) and is_due(present, self._clock.now())):
            self._keys.store(KeyName.DICOM, *make(self._names, self._clock.now()))
            present = self._load()
            if present is None:
                raise IdentityUnreadable(self._file, "it is gone as soon as it is written")
            self._log.event(
                "dicom.certificate-made",
                sha256=fingerprint(present),
                expires=clocks.text(present.not_valid_after_utc),
            )
        return present

    def _load(self) -> x509.Certificate | None:
        try:
            status = self._file.stat()
            if self._present is None or self._read_at != (status.st_ino, status.st_mtime_ns):
                self._present = x509.load_pem_x509_certificate(self._file.read_bytes())
                self._read_at = (status.st_ino, status.st_mtime_ns)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise IdentityUnreadable(self._file, exc.strerror or "it cannot be read") from exc
        except (ValueError, x509.InvalidVersion) as exc:
            raise IdentityUnreadable(self._file, "not a certificate in PEM") from exc
        return self._present


def names_of(dicom_host: str, hostname: Callable[[], str] = socket.gethostname) -> list[str]:
    """Return what a certificate for an agent that listens on `dicom_host` is for."""
    return list(dict.fromkeys(name for name in (dicom_host, hostname()) if name and name not in ("0.0.0.0", "::")))  # noqa: S104  compared


def is_ours(certificate: x509.Certificate) -> bool:
    return certificate.subject == _OURS == certificate.issuer


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < DUE


def fingerprint(certificate: x509.Certificate) -> str:
    """Return SHA-256 of the DER in lower-case hex, as policy writes fingerprints."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def make(names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for `names`, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_OURS)
        .issuer_name(_OURS)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private_pem(key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)

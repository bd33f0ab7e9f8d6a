"""What the agent reads once at its start: its folder, and the identity that enrolment left there.

identity/   tls.pem dicom.pem forwarding.key evidence.key evidence.crt ca.pem host.json, all 0600; fresh.key while this
            host asks for a certificate
policy/     TUF's cache of trusted metadata
spool/      incoming/ files/ segments/ attempts
journal/    agent.sqlite
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared import canonical
from shared.canonical import Json
from shared.enrolment.exchange import ADDRESS_PATTERN, HOST_KEY_BYTES, Doors
from shared.errors import Malformed, Refused
from shared.fields import Fields, encode_base64
from shared.identity import HostId
from shared.policy.layer import read_parts
from shared.signing import SoftwareSigner

_MAX_ROOT_BYTES = 65_536
_DOOR_PATTERN = rf"https://({ADDRESS_PATTERN})(:[1-9][0-9]{{0,4}})?/?"


class NotEnrolled(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds no identity; run `leadglass-agent enrol` first")
        self.folder = folder


class IdentityUnreadable(Refused):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be used: {why}")
        self.file, self.why = file, why


@dataclass(frozen=True)
class AgentFolder:
    """The names inside the agent's data folder."""

    path: Path

    @property
    def identity(self) -> Path:
        return self.path / "identity"

    @property
    def trust(self) -> Path:
        return self.path / "policy"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def database(self) -> Path:
        return self.path / "journal" / "agent.sqlite"

    @property
    def lock(self) -> Path:
        return self.path / "agent.lock"

    @property
    def ca(self) -> Path:
        return self.identity / "ca.pem"

    @property
    def tls(self) -> Path:
        """The TLS certificate and, behind it, its key: one file, so that a renewal changes both at once."""
        return self.identity / "tls.pem"

    @property
    def fresh_key(self) -> Path:
        """The key for which a host that has no certificate left asks for one; kept, so that its fingerprint stays."""
        return self.identity / "fresh.key"

    @property
    def config(self) -> Path:
        return self.identity / "host.json"

    @property
    def dicom(self) -> Path:
        """The certificate that modalities see and, behind it, its key."""
        return self.identity / "dicom.pem"

    @property
    def forwarding(self) -> Path:
        """The seed of the key that opens what waits here for an archive; there is none before the first such image."""
        return self.identity / "forwarding.key"


@dataclass(frozen=True)
class HostConfig:
    """`host.json`: what enrolment settled. Holds a secret, the host's SOP Instance hash key."""

    host_id: HostId
    asset: str
    doors: Doors
    sop_hash_key: bytes
    policy_root: bytes
    layer: str
    parts: tuple[str, ...] = ()  # the further layers: of its site, of its type of modality
    enrolled_at: str | None = None  # the enrolment door, https://host:port; None: enrolled before it was noted

    @property
    def layers(self) -> tuple[str, ...]:
        """Return whose policies concern this host, the organisation's first."""
        return (self.layer, *self.parts)

    def encode(self) -> bytes:
        known: dict[str, Json] = {"parts": list(self.parts)} if self.parts else {}
        if self.enrolled_at is not None:
            known["enrolled_at"] = self.enrolled_at
        return canonical.encode(
            {
                **known,
                "v": 1,
                "host": str(self.host_id),
                "asset": self.asset,
                "doors": self.doors.json(),
                "sop_hash_key": encode_base64(self.sop_hash_key),
                "policy_root": encode_base64(self.policy_root),
                "layer": self.layer,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "HostConfig":
        """Raises Malformed, naming the field."""
        fields = Fields(canonical.parse(data, "host.json"), "host.json")
        fields.version()
        config = cls(
            host_id=HostId.parse(fields.text("host")),
            asset=fields.text("asset", max_chars=100),
            doors=Doors.parse(fields.fields("doors")),
            sop_hash_key=fields.base64("sop_hash_key", max_bytes=HOST_KEY_BYTES),
            policy_root=fields.base64("policy_root", max_bytes=_MAX_ROOT_BYTES),
            layer=fields.text("layer", max_chars=32),
            parts=read_parts(fields),
            enrolled_at=fields.text("enrolled_at", _DOOR_PATTERN) if fields.has("enrolled_at") else None,
        )
        fields.done()
        if len(config.sop_hash_key) != HOST_KEY_BYTES:
            raise Malformed("host.json field 'sop_hash_key'", f"expected {HOST_KEY_BYTES} bytes")
        return config


@dataclass(frozen=True)
class Identity:
    """Who this host is, ready for use."""

    config: HostConfig
    signer: SoftwareSigner
    tls_certificate: x509.Certificate
    ca: x509.Certificate


def load_identity(folder: AgentFolder) -> Identity:
    """Read the identity whole. Raises NotEnrolled, IdentityUnreadable, Malformed."""
    if not folder.identity.is_dir():
        raise NotEnrolled(folder.path)
    config = load_config(folder)
    key_file = folder.identity / "evidence.key"
    try:
        key = serialization.load_pem_private_key(_read(key_file), None)
    except (ValueError, TypeError) as exc:
        raise IdentityUnreadable(key_file, "not a private key in PEM") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityUnreadable(key_file, "not an ECDSA P-256 key")
    certificate_file = folder.tls
    try:
        certificate = x509.load_pem_x509_certificate(_read(certificate_file))
    except (ValueError, x509.InvalidVersion) as exc:
        raise IdentityUnreadable(certificate_file, "not a certificate in PEM") from exc
    try:
        ca = x509.load_pem_x509_certificate(_read(folder.ca))
    except (ValueError, x509.InvalidVersion) as exc:
        raise IdentityUnreadable(folder.ca, "not a certificate in PEM") from exc
    return Identity(config, SoftwareSigner(key), certificate, ca)


def load_config(folder: AgentFolder) -> HostConfig:
    """Raises IdentityUnreadable, Malformed."""
    return HostConfig.parse(_read(folder.config))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc

"""What the agent reads once at its start: its folder, and the identity that enrolment left there.

identity/   host.json ca.pem evidence.crt, and the keys (host_keys/store.py), all 0600
policy/     TUF's cache of trusted metadata
spool/      incoming/ files/ segments/ attempts
journal/    agent.sqlite
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.host_keys.store import HostKeyStore, file_name, vault_of
from edge_agent.host_keys.vault import KeyName, KeyVault
from shared import canonical
from shared.canonical import Json
from shared.enrolment.chain import Trust, parse_chain
from shared.enrolment.exchange import ADDRESS_PATTERN, HOST_KEY_BYTES, Doors
from shared.errors import Malformed, Refused
from shared.fields import Fields, encode_base64
from shared.fleet.keys import KeyProtection
from shared.identity import HostId
from shared.policy.layer import read_parts
from shared.signing import SoftwareSigner

HOST_CONFIG = "host.json"
EVIDENCE_CERTIFICATE = "evidence.crt"
_MAX_ROOT_BYTES = 65_536
_MAX_FILE_BYTES = 1 << 20
_DOOR_PATTERN = rf"https://({ADDRESS_PATTERN})(:[1-9][0-9]{{0,4}})?/?"


class NotEnrolled(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds no identity; run `leadglass-agent enrol` first")
        self.folder = folder


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
        """The root that this host pins, and behind it the links by which older ones lead to it."""
        return self.identity / "ca.pem"

    @property
    def tls(self) -> Path:
        """The TLS certificate and, behind it, its key, where keys are files: a renewal changes both at once."""
        return self.identity / file_name(KeyName.TLS, KeyProtection.FILE)

    @property
    def config(self) -> Path:
        return self.identity / HOST_CONFIG


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
    keys: KeyProtection = KeyProtection.FILE

    @property
    def layers(self) -> tuple[str, ...]:
        """Return whose policies concern this host, the organisation's first."""
        return (self.layer, *self.parts)

    def encode(self) -> bytes:
        known: dict[str, Json] = {"parts": list(self.parts)} if self.parts else {}
        if self.enrolled_at is not None:
            known["enrolled_at"] = self.enrolled_at
        if self.keys is not KeyProtection.FILE:
            known["keys"] = self.keys.value
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
            keys=KeyProtection(fields.choice("keys", tuple(KeyProtection)) if fields.has("keys") else "file"),
        )
        fields.done()
        if len(config.sop_hash_key) != HOST_KEY_BYTES:
            raise Malformed("host.json field 'sop_hash_key'", f"expected {HOST_KEY_BYTES} bytes")
        return config


@dataclass(frozen=True)
class Enrolment:
    """Who this host is, by what takes none of its private keys."""

    config: HostConfig
    tls_certificate: x509.Certificate
    trust: Trust  # the root that this host pinned, or the newest one that it led to


@dataclass(frozen=True)
class Identity(Enrolment):
    """Who this host is, ready for use. `tls` is the certificate and its key, in PEM and in clear."""

    signer: SoftwareSigner
    keys: HostKeyStore
    tls: bytes = field(repr=False)


def load_enrolment(folder: AgentFolder) -> Enrolment:
    """Read what is not secret, and ask no TPM for anything. Raises NotEnrolled, IdentityUnreadable, Malformed."""
    if not folder.identity.is_dir():
        raise NotEnrolled(folder.path)
    config = load_config(folder)
    certificate_file = folder.identity / file_name(KeyName.TLS, config.keys)
    try:
        certificate = x509.load_pem_x509_certificate(_read(certificate_file))
    except (ValueError, x509.InvalidVersion) as exc:
        raise IdentityUnreadable(certificate_file, "not a certificate in PEM") from exc
    try:
        root, *links = parse_chain(_read(folder.ca), str(folder.ca))
    except (ValueError, Malformed) as exc:
        raise IdentityUnreadable(folder.ca, "not a certificate in PEM") from exc
    return Enrolment(config, certificate, Trust((root,), tuple(links)))


def load_identity(folder: AgentFolder, vault: Callable[[KeyProtection], KeyVault] = vault_of) -> Identity:
    """Read the identity whole.

    Raises NotEnrolled, IdentityUnreadable, Malformed, KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced.
    """
    enrolment = load_enrolment(folder)
    keys = HostKeyStore(folder.identity, vault(enrolment.config.keys))
    signer = SoftwareSigner(evidence_key(keys))
    return Identity(**enrolment.__dict__, signer=signer, keys=keys, tls=keys.load(KeyName.TLS))


def evidence_key(keys: HostKeyStore) -> ec.EllipticCurvePrivateKey:
    """Raises IdentityUnreadable, KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced."""
    file = keys.file(KeyName.EVIDENCE)
    try:
        key = serialization.load_pem_private_key(keys.load(KeyName.EVIDENCE), None)
    except (ValueError, TypeError) as exc:
        raise IdentityUnreadable(file, "not a private key in PEM") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityUnreadable(file, "not an ECDSA P-256 key")
    return key


def load_config(folder: AgentFolder) -> HostConfig:
    """Raises IdentityUnreadable, Malformed."""
    return HostConfig.parse(_read(folder.config))


def _read(file: Path) -> bytes:
    """Root reads these too, in a folder of another account: a pipe or a device there is nothing to wait for."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise IdentityUnreadable(file, "not a file")
            return opened.read(_MAX_FILE_BYTES)
    except OSError as exc:
        raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc

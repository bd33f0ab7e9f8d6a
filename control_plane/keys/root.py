"""The root key: 32 bytes under which every private key of the centre is sealed at rest.

    sealed = "LGROOT" || u16 version || nonce (12) || AES-256-GCM(key, nonce, secret, aad = name)
    key    = HKDF-SHA-256(root key, info = "leadglass key at rest v1" || 0x00 || name)

The root key lies in one file of its own, outside the database and outside every backup, and in the recovery shares.
"""

from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from control_plane.durable import write_new
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import RandomBytes

ROOT_KEY_BYTES = 32
_MAGIC = b"LGROOT\x00\x01"
_NONCE_BYTES = 12


class KeyNotAuthentic(IntegrityFailure):
    def __init__(self, name: str) -> None:
        super().__init__(f"key {name} does not open under this root key: another root key, or the row was changed")
        self.name = name


class RootKeyMissing(Unavailable):
    def __init__(self, path: Path) -> None:
        super().__init__(f"root key file {path} is missing; restore it from where it is kept")
        self.path = path


class RootKeyExists(Refused):
    def __init__(self, path: Path) -> None:
        super().__init__(f"root key file {path} exists already; it is never overwritten")
        self.path = path


class RootKey:
    """Seals and opens secrets by name; a secret moved to another name does not open."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != ROOT_KEY_BYTES:
            raise Malformed("root key", f"expected {ROOT_KEY_BYTES} bytes, got {len(raw)}")
        self.raw = raw

    def seal(self, name: str, secret: bytes, random_bytes: RandomBytes) -> bytes:
        nonce = random_bytes(_NONCE_BYTES)
        return _MAGIC + nonce + self._aead(name).encrypt(nonce, secret, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises Malformed, KeyNotAuthentic."""
        if not sealed.startswith(_MAGIC):
            raise Malformed(f"sealed key {name}", "does not begin as LGROOT version 1")
        nonce, body = sealed[len(_MAGIC) :][:_NONCE_BYTES], sealed[len(_MAGIC) + _NONCE_BYTES :]
        try:
            return self._aead(name).decrypt(nonce, body, name.encode())
        except (InvalidTag, ValueError) as exc:
            raise KeyNotAuthentic(name) from exc

    def _aead(self, name: str) -> AESGCM:
        info = b"leadglass key at rest v1\x00" + name.encode()
        return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(self.raw))


def load_root_key(path: Path) -> RootKey:
    """Raises RootKeyMissing, Malformed."""
    try:
        return RootKey(path.read_bytes())
    except FileNotFoundError as exc:
        raise RootKeyMissing(path) from exc


def store_root_key(path: Path, root: RootKey) -> None:
    """Write the root key durably, readable by its owner only. Raises RootKeyExists."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(path, root.raw)
    except FileExistsError as exc:
        raise RootKeyExists(path) from exc

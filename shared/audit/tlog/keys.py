r"""Keys of signed notes, by name and by what they sign (C2SP signed-note and tlog-cosignature).

key id       = SHA-256(name || 0x0A || type || public key)[:4]
vkey         = name "+" key id in hex "+" base64(type || public key)
type 0x01    signature = Ed25519(text)
type 0x04    signature = u64 seconds || Ed25519("cosignature/v1\ntime " seconds "\n" || text)
"""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import Malformed
from shared.fields import decode_base64, encode_base64

MAX_NAME_CHARS = 255
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_MAX_SECONDS = (1 << 63) - 1
_VKEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class KeyType(IntEnum):
    ED25519 = 1
    COSIGNATURE = 4


@dataclass(frozen=True)
class NoteKey:
    """The verifying half of a key of notes."""

    name: str
    type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        verify_name(self.name)
        if len(self.public) != _KEY_BYTES:
            raise Malformed("note key", f"expected {_KEY_BYTES} bytes, got {len(self.public)}")

    @cached_property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> "NoteKey":
        """Read a vkey. Raises Malformed: none, of a type that we do not know, or its key id is another's."""
        found = _VKEY.fullmatch(vkey) if len(vkey) <= MAX_NAME_CHARS + 64 else None
        if found is None:
            raise Malformed("note key", "expected NAME+KEY ID+BASE64")
        raw = decode_base64(found[3], "note key", 1 + _KEY_BYTES)
        if not raw or raw[0] not in set(KeyType):
            raise Malformed("note key", "neither an Ed25519 key (type 1) nor one of cosignatures (type 4)")
        key = cls(found[1], KeyType(raw[0]), raw[1:])
        if key.key_id.hex() != found[2]:
            raise Malformed("note key", "its key id is not that of this name and key")
        return key

    def is_signature(self, text: str, signature: bytes) -> bool:
        """Return whether `signature` is one of this key over `text`."""
        message, plain = text.encode(), signature
        if self.type is KeyType.COSIGNATURE:
            if len(signature) != 8 + _SIGNATURE_BYTES or cosigned_at(signature) > _MAX_SECONDS:
                return False
            message, plain = _cosigned(text, cosigned_at(signature)), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(plain, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class NoteSigner:
    """A private key of notes, held in this process's memory."""

    def __init__(self, name: str, key: Ed25519PrivateKey, key_type: KeyType = KeyType.ED25519) -> None:
        self._key = key
        self.public = NoteKey(name, key_type, key.public_key().public_bytes_raw())

    def sign(self, text: str, seconds: int = 0) -> bytes:
        """Return the signature over `text`; a cosignature is made at `seconds` since 1970."""
        if self.public.type is KeyType.COSIGNATURE:
            return struct.pack(">Q", seconds) + self._key.sign(_cosigned(text, seconds))
        return self._key.sign(text.encode())


def cosigned_at(signature: bytes) -> int:
    """Return when a cosignature says that it was made, in seconds since 1970."""
    return int.from_bytes(signature[:8])


def verify_name(name: str) -> None:
    """Raises Malformed: no name of a key, which has no spaces, no plus and no control characters."""
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or "+" in name or len(name.split()) != 1:
        raise Malformed("note key name", f"expected 1 to {MAX_NAME_CHARS} characters, no spaces, no plus")
    if name.split(maxsplit=1)[0] != name:
        raise Malformed("note key name", "it has spaces")


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()

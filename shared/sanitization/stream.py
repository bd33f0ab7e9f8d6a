"""What a pass puts on a drive: one byte everywhere, or a stream that a seed of 32 bytes makes.

    key        = HKDF-SHA-256(seed, no salt, info "leadglass wipe stream v1"), 32 bytes
    stream     = AES-256-CTR(key, first counter block 0) over zeros; the medium's byte 0 is the stream's byte 0
    commitment = SHA-256(seed)

The commitment is durable before the first write, and the seed is told afterwards. So whoever holds the report
recomputes any sector, and sees that the seed was not made up to fit what was read.
docs/formats/wipe-stream.md
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.report import SEED_BYTES

RANDOM = "random"
_INFO = b"leadglass wipe stream v1"
_BLOCK_BYTES = 16
_ZEROS = bytes(1 << 20)
_PATTERN = r"random|[0-9a-f]{2}"


class Source(Protocol):
    """Says what belongs on every byte of a medium."""

    def fill(self, offset: int, into: memoryview) -> None:
        """Put there what belongs on the medium from `offset` on."""


@dataclass(frozen=True)
class Content:
    """What belongs everywhere on a medium. `pattern` as a report says it; `seed` is that of a random one, else None."""

    pattern: str
    seed: bytes | None

    def __post_init__(self) -> None:
        if not re.fullmatch(_PATTERN, self.pattern) or (self.pattern == RANDOM) != (self.seed is not None):
            raise ValueError("a random pattern has a seed, and a byte of two hex digits has none")
        if self.seed is not None and len(self.seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")

    @classmethod
    def random(cls, seed: bytes) -> "Content":
        return cls(RANDOM, seed)

    @classmethod
    def byte(cls, pattern: str) -> "Content":
        return cls(pattern, None)

    @property
    def commitment(self) -> bytes | None:
        return None if self.seed is None else sha256(self.seed).digest()

    def source(self) -> Source:
        return Repeated(int(self.pattern, 16)) if self.seed is None else Stream(self.seed)

    def json(self) -> dict[str, Json]:
        return {"pattern": self.pattern, "seed": None if self.seed is None else self.seed.hex()}

    @classmethod
    def parse(cls, fields: Fields) -> "Content":
        """Raises Malformed."""
        pattern = fields.text("pattern", _PATTERN)
        seed = None if fields.is_null("seed") else fields.hex("seed", SEED_BYTES)
        fields.done()
        if (pattern == RANDOM) != (seed is not None):
            raise Malformed("content of a pass", "a random pattern has a seed, and a byte has none")
        return cls(pattern, seed)


class Repeated:
    """One byte everywhere."""

    def __init__(self, byte: int) -> None:
        self._bytes = bytes([byte]) * len(_ZEROS)

    def fill(self, offset: int, into: memoryview) -> None:  # noqa: ARG002 (it is the same everywhere)
        for start in range(0, len(into), len(self._bytes)):
            piece = into[start : start + len(self._bytes)]
            piece[:] = self._bytes[: len(piece)]


class Stream:
    """The stream of one seed, from any offset on; fastest where each call goes on from the one before."""

    def __init__(self, seed: bytes) -> None:
        self._key = HKDF(hashes.SHA256(), 32, None, _INFO).derive(seed)
        self._cipher, self._next = self._from(0), 0

    def fill(self, offset: int, into: memoryview) -> None:
        if offset != self._next:
            self._cipher = self._from(offset)
        for start in range(0, len(into), len(_ZEROS)):
            piece = into[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS if len(piece) == len(_ZEROS) else bytes(len(piece)), piece)
        self._next = offset + len(into)

    def _from(self, offset: int) -> CipherContext:
        block, within = divmod(offset, _BLOCK_BYTES)
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(block.to_bytes(_BLOCK_BYTES, "big"))).encryptor()
        cipher.update(bytes(within))
        return cipher

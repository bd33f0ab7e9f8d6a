"""Bodies with a salt that is given: `cryptography`, which seals in earnest, draws the salt by itself.

Vectors have to come out the same each time, and so have published ones when they are sealed again. Both encryptors make
the same bytes under the same salt.
"""

from collections.abc import Callable
from typing import Any

from shared.identity import RandomBytes
from shared.sealing.chunked import CHUNK_BYTES, SALT_BYTES, BodyEncryptor, _Keys


class SaltedEncryptor:
    def __init__(self, key: bytes, salt: bytes, context: bytes) -> None:
        self._keys = _Keys(key, salt, context)
        self._plain, self._chunk = bytearray(), 0
        self._begun = salt + self._keys.commitment

    def update_into(self, data: Any, buf: Any, /) -> int:
        self._plain += data
        out, self._begun = bytearray(self._begun), b""
        while len(self._plain) >= CHUNK_BYTES:
            out += self._seal(self._plain[:CHUNK_BYTES])
            del self._plain[:CHUNK_BYTES]
        memoryview(buf)[: len(out)] = out
        return len(out)

    def finalize(self) -> bytes:
        return self._begun + self._seal(self._plain)

    def _seal(self, plain: bytearray) -> bytes:
        sealed = self._keys.aead.encrypt(self._keys.nonce(self._chunk), bytes(plain), None)
        self._chunk += 1
        return sealed


def salted(random_bytes: RandomBytes) -> Callable[[bytes, bytes], BodyEncryptor]:
    """Return the factory of encryptors whose salt `random_bytes` gives."""
    return lambda key, context: SaltedEncryptor(key, random_bytes(SALT_BYTES), context)


def salted_body(key: bytes, salt: bytes, context: bytes, *pieces: bytes) -> bytes:
    """Return the body of a dataset that came in `pieces`."""
    encryptor, out = SaltedEncryptor(key, salt, context), bytearray()
    for piece in pieces:
        room = bytearray(len(piece) + 2 * CHUNK_BYTES)
        out += room[: encryptor.update_into(piece, room)]
    return bytes(out + encryptor.finalize())

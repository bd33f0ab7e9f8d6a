"""The sealed body: C2SP chunked encryption, Cobblestone-256 (c2sp.org/chunked-encryption@v1).

    body                         = salt (24) || commitment (32) || chunk 0 || chunk 1 || ... || last chunk
    key || base nonce || commit. = HKDF-Expand-SHA-512(input key, info, 32 + 12 + 32)
    info                         = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" || 0x00 || salt || context
    chunk k                      = AES-256-GCM(key, base nonce XOR k, 16,384 bytes of plaintext, no AAD) || tag (16)
    last chunk                   = the same over fewer than 16,384 bytes, perhaps none

A full chunk is never the last, so a cut exactly at a chunk's end shows; the counter in the nonce catches reordering;
the commitment catches another key or context before any chunk is tried. Chunk k begins at 56 + k * 16,400.
"""

import hmac
from collections.abc import Callable, Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.utils import Buffer

from shared.errors import IntegrityFailure

KEY_BYTES = 32
SALT_BYTES = 24
HEADER_BYTES = 56
CHUNK_BYTES = 16_384
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_MAX_CHUNKS = 2**38


class NotAuthentic(IntegrityFailure):
    """A part of a body is not what the sealer wrote there."""


class CommitmentMismatch(NotAuthentic):
    def __init__(self) -> None:
        super().__init__("body does not belong to this key and binding (commitment differs)")


class ChunkNotAuthentic(NotAuthentic):
    def __init__(self, chunk: int) -> None:
        super().__init__(f"chunk {chunk} of the body is not authentic")
        self.chunk = chunk


class Truncated(NotAuthentic):
    def __init__(self, sealed_bytes: int) -> None:
        super().__init__(f"body is cut off after {sealed_bytes} bytes: its last chunk is missing")
        self.sealed_bytes = sealed_bytes


class Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class BodyEncryptor(Protocol):
    """Turns plaintext into a body, front to back; `cryptography.cobblestone.Cobblestone256Encryptor` is one."""

    def update_into(self, data: Buffer, buf: Buffer, /) -> int:
        """Seal `data`; return how many bytes of the body, at most `room_for(len(data))`, now stand in `buf`."""

    def finalize(self) -> bytes:
        """Return what is left of the body, its last chunk."""


def room_for(size: int) -> int:
    """Return the most bytes of a body that `size` more bytes of plaintext can complete."""
    return HEADER_BYTES + (size // CHUNK_BYTES + 2) * SEALED_CHUNK_BYTES


class _Keys:
    def __init__(self, input_key: bytes, salt: bytes, context: bytes) -> None:
        if (len(input_key), len(salt)) != (KEY_BYTES, SALT_BYTES):
            raise ValueError(f"a body has a key of {KEY_BYTES} bytes and a salt of {SALT_BYTES}")
        okm = HKDFExpand(hashes.SHA512(), 32 + 12 + 32, _INFO + salt + context).derive(input_key)
        self.aead = AESGCM(okm[:32])
        self._base_nonce = int.from_bytes(okm[32:44])
        self.commitment = okm[44:]

    def nonce(self, chunk: int) -> bytes:
        if chunk >= _MAX_CHUNKS:
            raise OverflowError("a body has at most 2**38 chunks")
        return (self._base_nonce ^ chunk).to_bytes(12)


def decrypt(source: Readable, key: bytes, context: bytes) -> Iterator[memoryview]:
    """Yield the plaintext of the body in `source`, chunk by chunk, each authentic.

    A yielded view is valid until the next one. The body is whole only when the iterator ends without raising.

    Raises CommitmentMismatch, ChunkNotAuthentic, Truncated.
    """
    header = memoryview(bytearray(HEADER_BYTES))
    header_bytes = _fill(source, header)
    if header_bytes < HEADER_BYTES:
        raise Truncated(header_bytes)
    keys = _Keys(key, bytes(header[:SALT_BYTES]), context)
    if not hmac.compare_digest(keys.commitment, header[SALT_BYTES:]):
        raise CommitmentMismatch
    sealed = memoryview(bytearray(SEALED_CHUNK_BYTES))
    plain = memoryview(bytearray(CHUNK_BYTES))
    chunk = 0
    while True:
        size = _fill(source, sealed)
        yield _open_chunk(keys, chunk, sealed[:size], plain)
        if size < SEALED_CHUNK_BYTES:
            return
        chunk += 1


def decrypt_range(
    read_at: Callable[[int, int], bytes], body_bytes: int, key: bytes, context: bytes, start: int, length: int
) -> bytes:
    """Return up to `length` bytes of plaintext from `start`: each chunk authentic, the object not evaluated.

    `read_at(offset, size)` reads the body. Past the end gives fewer bytes or none, once the last chunk proved the end.

    Raises CommitmentMismatch, ChunkNotAuthentic, Truncated.
    """
    if start < 0 or length < 0:
        raise ValueError(f"range {start}+{length} is not in any object")
    header = read_at(0, HEADER_BYTES)
    if min(len(header), body_bytes) < HEADER_BYTES:
        raise Truncated(min(len(header), body_bytes))
    keys = _Keys(key, header[:SALT_BYTES], context)
    if not hmac.compare_digest(keys.commitment, header[SALT_BYTES:]):
        raise CommitmentMismatch
    chunks = (body_bytes - HEADER_BYTES) // SEALED_CHUNK_BYTES + 1
    first, last = start // CHUNK_BYTES, (start + max(length, 1) - 1) // CHUNK_BYTES
    out = bytearray()
    plain = memoryview(bytearray(CHUNK_BYTES))
    for chunk in range(min(first, chunks - 1), min(last, chunks - 1) + 1):
        offset = HEADER_BYTES + chunk * SEALED_CHUNK_BYTES
        sealed = read_at(offset, min(SEALED_CHUNK_BYTES, body_bytes - offset))
        opened = _open_chunk(keys, chunk, memoryview(sealed), plain)
        begin = max(start - chunk * CHUNK_BYTES, 0)
        out += opened[begin : max(start + length - chunk * CHUNK_BYTES, 0)]
    return bytes(out)


def _open_chunk(keys: _Keys, chunk: int, sealed: memoryview, plain: memoryview) -> memoryview:
    if len(sealed) < TAG_BYTES:
        raise Truncated(HEADER_BYTES + chunk * SEALED_CHUNK_BYTES + len(sealed))
    opened = plain[: len(sealed) - TAG_BYTES]
    try:
        keys.aead.decrypt_into(keys.nonce(chunk), sealed, None, opened)
    except InvalidTag as exc:
        raise ChunkNotAuthentic(chunk) from exc
    return opened


def _fill(source: Readable, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer):
        count = source.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled

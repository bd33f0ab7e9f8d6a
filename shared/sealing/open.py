"""Opens a sealed object and proves it: record, binding, key, every chunk, both sizes and both digests.

An object is verified only when all of these hold; anyone with a public key can make one that is consistent in itself,
so the host's signature is judged first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from shared.errors import IntegrityFailure
from shared.identity import ObjectId
from shared.sealing.binding import Binding
from shared.sealing.chunked import KEY_BYTES, Readable, decrypt, decrypt_range
from shared.sealing.hpke import BoxLabel, SealingPrivateKey
from shared.sealing.record import CaptureRecord, verify_record
from shared.signing import EvidencePublicKey


class ObjectAltered(IntegrityFailure):
    """A part of an object is authentic by itself but not the part that its capture record names."""

    def __init__(self, object_id: ObjectId, what: str) -> None:
        super().__init__(f"object {object_id}: {what} is not what the host signed")
        self.object_id, self.what = object_id, what


@dataclass(frozen=True)
class StoredObject:
    """The parts of one object as the vault holds them; `object_id` is the one that was asked for."""

    object_id: ObjectId
    binding: bytes
    wrap: bytes
    record: bytes


def verify_parts(stored: StoredObject, host_key: EvidencePublicKey) -> tuple[Binding, CaptureRecord]:
    """Return binding and record once the host's signature covers both and both name this object.

    Raises Malformed, WrongSigner, SignatureInvalid, ObjectAltered.
    """
    record = verify_record(stored.record, host_key)
    if record.object_id != stored.object_id:
        raise ObjectAltered(stored.object_id, "the capture record (it names another object)")
    if sha256(stored.binding).digest() != record.binding_sha256:
        raise ObjectAltered(stored.object_id, "the binding")
    binding = Binding.parse(stored.binding)
    if (binding.object_id, binding.host_id) != (record.object_id, record.host_id):
        raise ObjectAltered(stored.object_id, "the binding (it names another object or host)")
    return binding, record


def unwrap(stored: StoredObject, key: SealingPrivateKey) -> bytes:
    """Return the data key. Raises Malformed, WrongKey, BoxNotAuthentic, ObjectAltered."""
    data_key = key.open(BoxLabel.DATA_KEY, stored.binding, stored.wrap)
    if len(data_key) != KEY_BYTES:
        raise ObjectAltered(stored.object_id, "the wrap (it holds no data key)")
    return data_key


def open_verified(
    stored: StoredObject, body: Readable, host_key: EvidencePublicKey, key: SealingPrivateKey
) -> Iterator[memoryview]:
    """Yield the dataset piece by piece; it is verified only when the iterator ends without raising.

    Each piece is authentic, and a yielded view is valid until the next one. A caller who must not release an
    unproven whole runs this twice: once to prove, once to deliver.

    Raises Malformed, WrongSigner, SignatureInvalid, ObjectAltered, WrongKey, BoxNotAuthentic, NotAuthentic.
    """
    _, record = verify_parts(stored, host_key)
    yield from open_body(stored.binding, record, body, unwrap(stored, key))


def open_body(binding: bytes, record: CaptureRecord, body: Readable, data_key: bytes) -> Iterator[memoryview]:
    """Yield the dataset as `open_verified` does, for whoever verified the parts and has the data key.

    Raises ObjectAltered, NotAuthentic.
    """
    source = _HashingSource(body)
    digest, size = sha256(), 0
    for piece in decrypt(source, data_key, binding):
        digest.update(piece)
        size += len(piece)
        yield piece
    proofs = (
        (source.size_bytes == record.body_bytes, "the size of the sealed body"),
        (source.digest() == record.body_sha256, "the sealed body"),
        (size == record.dataset_bytes, "the size of the dataset"),
        (digest.digest() == record.dataset_sha256, "the dataset"),
    )
    for holds, what in proofs:
        if not holds:
            raise ObjectAltered(record.object_id, what)


def open_range(
    stored: StoredObject,
    read_at: Callable[[int, int], bytes],
    host_key: EvidencePublicKey,
    key: SealingPrivateKey,
    start: int,
    length: int,
) -> bytes:
    """Return a range of the dataset: its chunks authentic, the object as a whole not evaluated."""
    _, record = verify_parts(stored, host_key)
    data_key = unwrap(stored, key)
    return decrypt_range(read_at, record.body_bytes, data_key, stored.binding, start, length)


class _HashingSource:
    """Hashes and counts a body as it is read, to its very end."""

    def __init__(self, body: Readable) -> None:
        self._body, self._hash, self.size_bytes = body, sha256(), 0

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._body.readinto(buffer) or 0
        self._hash.update(buffer[:count])
        self.size_bytes += count
        return count

    def digest(self) -> bytes:
        return self._hash.digest()

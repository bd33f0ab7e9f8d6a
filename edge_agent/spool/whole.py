"""What can be proved of a sealed object without opening it.

Record, binding and body are as the host signed them. The wrap and the sealed index stand in no signature, and only the
centre has the keys to them: that an image opens is proved there and nowhere else.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TypeAlias

from shared.errors import IntegrityFailure
from shared.identity import HostId, ObjectId
from shared.sealing.object_file import BodyWindow, ObjectParts, SeekableSource
from shared.sealing.open import StoredObject, verify_parts
from shared.sealing.record import CaptureRecord
from shared.signing import EvidencePublicKey, signing_key_id

# Which key an object's record has to be signed with; None: it is a host's whose key is not here. Raises Malformed.
Keys: TypeAlias = Callable[[ObjectParts], EvidencePublicKey | None]

_READ_BYTES = 1 << 20


class BodyDiffers(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the sealed body of object {object_id} is not the one that its record names")
        self.object_id = object_id


def verify_whole(source: SeekableSource, parts: ObjectParts, key: EvidencePublicKey) -> CaptureRecord:
    """Return the record of a sealed object whose every part is the one that `key` signed; it is not opened.

    Raises Malformed, WrongSigner, SignatureInvalid, ObjectAltered, BodyDiffers, OSError.
    """
    stored = StoredObject(parts.binding.object_id, parts.binding.encode(), parts.wrap, parts.record)
    _, record = verify_parts(stored, key)
    digest = sha256()
    for piece in _body(source, parts):
        digest.update(piece)
    if digest.digest() != record.body_sha256 or parts.body_bytes != record.body_bytes:
        raise BodyDiffers(record.object_id)
    return record


def own_key(host_id: HostId, key: EvidencePublicKey) -> Keys:
    """Know this host's key, for what names this host or its key in either of the two places, and no other."""
    return lambda parts: key if parts.binding.host_id == host_id or signing_key_id(parts.record) == key.key_id else None


def either(first: Keys, second: Keys) -> Keys:
    return lambda parts: first(parts) or second(parts)


def small_parts(source: SeekableSource, parts: ObjectParts) -> bytes:
    """Return everything behind the body, as it lies there. Raises OSError."""
    source.seek(parts.body_offset + parts.body_bytes)
    return source.read()


def _body(source: SeekableSource, parts: ObjectParts) -> Iterator[memoryview]:
    window, buffer = BodyWindow(source, parts), memoryview(bytearray(min(_READ_BYTES, parts.body_bytes)))
    while count := window.readinto(buffer):
        yield buffer[:count]

"""Seals one image in one pass: hashed, encrypted and written as its bytes go by."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol, TypeAlias, TypeVar

from cryptography.cobblestone import Cobblestone256Encryptor

from shared.identity import RandomBytes
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.chunked import KEY_BYTES, BodyEncryptor, room_for
from shared.sealing.hpke import Boxes, BoxLabel
from shared.sealing.index import IndexEntry, seal_index
from shared.sealing.record import CaptureRecord, sign_record
from shared.signing import EvidenceSigner

T = TypeVar("T")
EncryptorFactory: TypeAlias = Callable[[bytes, bytes], BodyEncryptor]
"""Makes a body encryptor from (data key, context)."""

# Hashed and encrypted while still in the processor's cache; each begins anew to wait for Python's lock.
_SLICE_BYTES = 512 << 10


class Sink(Protocol):
    """Where a sealed object is written, front to back, without a copy in between."""

    def room(self, size: int, /) -> memoryview:
        """Return at least `size` bytes to write into; they are valid until `took`."""

    def took(self, size: int, /) -> None:
        """Take the first `size` bytes of what `room` returned last."""


class Digest(Protocol):
    """SHA-256, wherever it is computed."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Writable(Protocol):
    def write(self, data: bytes | memoryview, /) -> object: ...


class StreamSink:
    """A file or any other stream as a sink. It is flushed and synced by whoever opened it."""

    def __init__(self, out: Writable) -> None:
        self._out, self._buffer = out, memoryview(bytearray())

    def room(self, size: int, /) -> memoryview:
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def took(self, size: int, /) -> None:
        self._out.write(self._buffer[:size])


@dataclass(frozen=True)
class Sealing:
    """What is decided only once the image has gone by: its grade, and the public keys that policy gives for it."""

    grade: str
    data_key: Boxes
    index_key: Boxes
    policy_version: int
    captured: datetime
    routes: tuple[str, ...] = ()
    file_sha256: bytes | None = None


@dataclass(frozen=True)
class Sealed:
    """`small_parts_bytes` is how much of the file stands behind the body."""

    record: CaptureRecord
    signed_record: bytes
    file_bytes: int
    small_parts_bytes: int


class ObjectSealer:
    """Writes one sealed object file to `out`. Durability is the caller's: flush and sync before acknowledging.

    The data key lives in this object only and is used for this object only.
    """

    def __init__(
        self,
        out: Sink,
        binding: Binding,
        *,
        random_bytes: RandomBytes = secrets.token_bytes,
        encryptor: EncryptorFactory = Cobblestone256Encryptor,
    ) -> None:
        self._out, self._binding, self._random = out, binding, random_bytes
        self._dataset: Digest = sha256()
        self._dataset_bytes = 0
        self._body, self._body_bytes = sha256(), 0
        self._data_key = random_bytes(KEY_BYTES)
        self._encryptor = encryptor(self._data_key, binding.encode())
        self._head_bytes = self._put(object_file.head(binding))

    @property
    def binding(self) -> Binding:
        return self._binding

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the encoded dataset, exactly as received."""
        view = memoryview(data)
        for start in range(0, len(view), _SLICE_BYTES):
            piece = view[start : start + _SLICE_BYTES]
            self._dataset.update(piece)
            sealed = self._out.room(room_for(len(piece)))
            self._count(sealed, self._encryptor.update_into(piece, sealed))
        self._dataset_bytes += len(data)

    def hash_dataset_by(self, go_on: Callable[[Digest], Digest]) -> None:
        """Have the data set's digest computed from here on by what `go_on` makes of the one that was begun."""
        self._dataset = go_on(self._dataset)

    def dataset_sha256(self) -> bytes:
        """Return the digest of what has gone by so far."""
        return self._dataset.digest()

    def lend_key(self, use: Callable[[bytes], T]) -> T:
        """Return what `use` makes of the data key: a second wrap, and nothing that outlives the image in clear."""
        return use(self._data_key)

    def finish(self, sealing: Sealing, entry: IndexEntry, signer: EvidenceSigner) -> Sealed:
        """Write the rest of the object: last chunk, wrap, sealed index, signed capture record."""
        last = self._encryptor.finalize()
        sealed = self._out.room(len(last))
        sealed[: len(last)] = last
        self._count(sealed, len(last))
        context = self._binding.encode()
        wrap = sealing.data_key.seal(BoxLabel.DATA_KEY, context, self._data_key)
        index = seal_index(entry, self._binding, sealing.index_key, self._random(32))
        record = CaptureRecord(
            object_id=self._binding.object_id,
            host_id=self._binding.host_id,
            captured=sealing.captured,
            binding_sha256=self._binding.digest(),
            dataset_sha256=self._dataset.digest(),
            dataset_bytes=self._dataset_bytes,
            body_sha256=self._body.digest(),
            body_bytes=self._body_bytes,
            index_commitment=index.commitment,
            grade=sealing.grade,
            policy_version=sealing.policy_version,
            routes=sealing.routes,
            file_sha256=sealing.file_sha256,
        )
        signed = sign_record(record, signer)
        tail = object_file.tail(self._body_bytes, wrap=wrap, index=index.box, record=signed)
        return Sealed(record, signed, self._head_bytes + self._body_bytes + self._put(tail), len(tail))

    def _put(self, data: bytes) -> int:
        self._out.room(len(data))[: len(data)] = data
        self._out.took(len(data))
        return len(data)

    def _count(self, sealed: memoryview, size: int) -> None:
        self._body.update(sealed[:size])
        self._body_bytes += size
        self._out.took(size)

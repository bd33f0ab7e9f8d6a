"""Seals one image in one pass: hashed, encrypted and written as its bytes go by."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol, TypeAlias

from shared.identity import RandomBytes
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.chunked import KEY_BYTES, SALT_BYTES, BodyDigest, BodyEncryptor, ChunkedEncryptor, Write
from shared.sealing.hpke import BoxLabel, SealingPublicKey
from shared.sealing.index import IndexEntry, seal_index
from shared.sealing.record import CaptureRecord, sign_record
from shared.signing import EvidenceSigner

EncryptorFactory: TypeAlias = Callable[[bytes, bytes, bytes, Write], BodyEncryptor]
"""Makes a body encryptor from (data key, salt, context, writer)."""


class Writable(Protocol):
    def write(self, data: bytes | memoryview, /) -> object: ...


@dataclass(frozen=True)
class Sealing:
    """What is decided only once the image has gone by: its grade, and the public keys that policy gives for it."""

    grade: str
    data_key: SealingPublicKey
    index_key: SealingPublicKey
    policy_version: int
    captured: datetime
    routes: tuple[str, ...] = ()
    file_sha256: bytes | None = None


@dataclass(frozen=True)
class Sealed:
    record: CaptureRecord
    signed_record: bytes
    file_bytes: int


class ObjectSealer:
    """Writes one sealed object file to `out`. Durability is the caller's: flush and sync before acknowledging.

    The data key lives in this object only and is used for this object only.
    """

    def __init__(
        self,
        out: Writable,
        binding: Binding,
        *,
        random_bytes: RandomBytes = secrets.token_bytes,
        encryptor: EncryptorFactory = ChunkedEncryptor,
    ) -> None:
        self._out, self._binding, self._random = out, binding, random_bytes
        self._dataset, self._dataset_bytes = sha256(), 0
        self._data_key = random_bytes(KEY_BYTES)
        out.write(object_file.head(binding))
        self._body = BodyDigest(out.write)
        self._encryptor = encryptor(self._data_key, random_bytes(SALT_BYTES), binding.encode(), self._body)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the encoded dataset, exactly as received."""
        self._dataset.update(data)
        self._dataset_bytes += len(data)
        self._encryptor.update(data)

    def finish(self, sealing: Sealing, entry: IndexEntry, signer: EvidenceSigner) -> Sealed:
        """Write the rest of the object: last chunk, wrap, sealed index, signed capture record."""
        self._encryptor.finish()
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
            body_bytes=self._body.size_bytes,
            index_commitment=index.commitment,
            grade=sealing.grade,
            policy_version=sealing.policy_version,
            routes=sealing.routes,
            file_sha256=sealing.file_sha256,
        )
        signed = sign_record(record, signer)
        tail = object_file.tail(self._body.size_bytes, wrap=wrap, index=index.box, record=signed)
        self._out.write(tail)
        return Sealed(record, signed, len(object_file.head(self._binding)) + self._body.size_bytes + len(tail))

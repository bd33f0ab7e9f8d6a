"""Sealing and opening hold a few chunks, whatever the size of the image."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256

from shared.sealing import object_file
from shared.sealing.open import StoredObject, open_verified
from shared.sealing.record import record_digest
from shared.sealing.seal import ObjectSealer, Sealed, StreamSink
from tests.shared import made
from tests.vectors.salted import salted

MIB = 1 << 20
PIECE = bytes(range(256)) * 256  # 64 KiB, of the size of a PDU
PIECES = 1024
DATASET_BYTES = len(PIECE) * PIECES
BOUND_BYTES = 2 * MIB


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Measure the most memory that was held at once within the block."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    most = 0
    try:
        yield lambda: most
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


class Forgetful:
    """A sink that hashes and counts, and keeps only the tail that an opener needs."""

    def __init__(self) -> None:
        self.size_bytes, self.last = 0, b""

    def write(self, data: bytes | memoryview, /) -> None:
        self.size_bytes += len(data)
        self.last = bytes(data)


def generated() -> Iterator[bytes]:
    for number in range(PIECES):
        yield number.to_bytes(4) + PIECE[4:]


class Resealed:
    """A body that is sealed while it is read, so that it lies nowhere."""

    def __init__(self, sealer: Callable[["Pipe"], Iterator[None]]) -> None:
        self._pipe = Pipe()
        self._steps = sealer(self._pipe)

    def readinto(self, buffer: memoryview, /) -> int:
        while not self._pipe.waiting and next(self._steps, self) is not self:
            pass
        return self._pipe.take(buffer)


class Pipe:
    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        self.waiting += data

    def take(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.waiting))
        buffer[:count] = self.waiting[:count]
        del self.waiting[:count]
        return count


def repeatable() -> Callable[[int], bytes]:
    drawn = iter(range(100))
    return lambda size: sha256(bytes([next(drawn)])).digest()[:size]


def seal_into(sink: Forgetful) -> Sealed:
    sealer = ObjectSealer(StreamSink(sink), made.BINDING, random_bytes=repeatable(), encryptor=salted(repeatable()))
    for piece in generated():
        sealer.update(piece)
    return sealer.finish(made.SEALING, made.ENTRY, made.HOST_SIGNER)


def body_steps(pipe: Pipe) -> Iterator[None]:
    sealer = ObjectSealer(StreamSink(pipe), made.BINDING, random_bytes=repeatable(), encryptor=salted(repeatable()))
    del pipe.waiting[: len(object_file.head(made.BINDING))]
    for piece in generated():
        sealer.update(piece)
        yield
    # finish() also writes the small parts, which are no part of the body.
    pipe.write(sealer._encryptor.finalize())


def test_sealing_64_mib_holds_less_than_2() -> None:
    sink = Forgetful()

    with peak() as most:
        sealed = seal_into(sink)

    assert sealed.record.dataset_bytes == DATASET_BYTES == 64 * MIB
    assert sink.size_bytes == sealed.file_bytes
    assert most() < BOUND_BYTES


def test_opening_64_mib_holds_less_than_2() -> None:
    sink = Forgetful()
    sealed = seal_into(sink)
    record_bytes = len(sealed.signed_record)
    wrap_bytes = 1152 + 48
    tail = sink.last
    assert record_digest(tail[-28 - record_bytes : -28]) == record_digest(sealed.signed_record)
    stored = StoredObject(made.OBJECT, made.BINDING.encode(), tail[:wrap_bytes], sealed.signed_record)
    size = 0

    with peak() as most:
        for piece in open_verified(stored, Resealed(body_steps), made.HOST_SIGNER.public, made.DATA_KEY):
            size += len(piece)

    assert size == DATASET_BYTES
    assert most() < BOUND_BYTES

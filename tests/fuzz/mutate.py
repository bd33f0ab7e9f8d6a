"""A small mutator with a seed: what `make test` drives the fuzz targets with, where atheris need not be installed."""

import random
from collections.abc import Iterator, Sequence

# Where parsers go wrong: the edges of lengths, and the bytes that DICOM and JSON give a meaning.
_TELLING = (
    b"\x00", b"\xff", b"\x7f\xff", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00",
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"SQ\x00\x00", b"UN\x00\x00", b"\\", b'"', b"{",
    b"[", b"1e999", b"\xed\xa0\x80", b"\\ud800", b"-0",
)  # fmt: skip
_MOST_BYTES = 1 << 16


def mutations(seeds: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """Yield `seeds` themselves, then `count` inputs made from them; the same ones for the same `seed`."""
    yield from seeds
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 6)):
            _mutate(data, rng, seeds)
        yield bytes(data[:_MOST_BYTES])


def _mutate(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    end = min(at + rng.choice((1, 1, 2, 4, 8, 64, 1000)), len(data))
    match rng.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            telling = rng.choice(_TELLING)
            data[at : at + len(telling)] = telling
        case 3:
            data[at:at] = rng.choice(_TELLING)
        case 4:
            del data[at:end]
        case 5:
            data[at:at] = data[at:end] * rng.choice((1, 2, 30))
        case 6:
            del data[at:]
        case _:
            other = rng.choice(seeds)
            start = rng.randint(0, len(other))
            data[at:end] = other[start : start + 200]

"""Where a read back in samples reads, after NIST SP 800-88 (r1, 4.7): everywhere a little, and nowhere foreseeable.

    the first and the last sector are always read, each by itself
    what lies between is cut into k = 1,000 sections as equal as whole sectors allow, or fewer of a small medium
    section i   = sectors 1 + floor(i * n / k) up to 1 + floor((i + 1) * n / k), n = sectors of the medium - 2
    sample      = a twentieth of its section, rounded up; two in each, apart, so a tenth of the medium at least
    room        = sectors of the section - both samples, + 1
    a, b        = 64 bits each, big-endian, of block i of the stream of the seed (stream.py), modulo room
    first at the section's start + the smaller, second at + the larger + one sample

A medium of fewer than 22 sectors is read whole. What only has to differ from before (`Expected.CHANGED`) is read in
samples of a fixed size, where that is less. The seed is drawn anew for each read back, after the pass ended, and is
told in the report.
docs/formats/wipe-stream.md
"""

from collections.abc import Iterator

from shared.sanitization.report import Extent
from shared.sanitization.stream import Stream

SECTIONS = 1000
_LEAST_SECTION_SECTORS = 20
_PARTS = 20
_BLOCK_BYTES = 16


def places(seed: bytes, size_bytes: int, sector_bytes: int, sample_sectors: int | None = None) -> Iterator[Extent]:
    """Yield what is read, by rising number, none twice. With `sample_sectors` each sample has as many instead."""
    sectors = size_bytes // sector_bytes
    section_sectors = max(_LEAST_SECTION_SECTORS, 2 * (sample_sectors or 0))
    if sectors < section_sectors + 2:
        yield from [Extent(0, sectors)] if sectors else []
        return
    yield Extent(0, 1)
    yield from _samples(seed, sectors - 2, min(SECTIONS, (sectors - 2) // section_sectors), sample_sectors)
    yield Extent(sectors - 1, 1)


def sampled_bytes(size_bytes: int, sector_bytes: int) -> int:
    """Return how much `places` reads; it does not depend on the seed."""
    return sum(one.count for one in places(bytes(32), size_bytes, sector_bytes)) * sector_bytes


def _samples(seed: bytes, inner: int, sections: int, sample_sectors: int | None) -> Iterator[Extent]:
    drawn = memoryview(bytearray(sections * _BLOCK_BYTES))
    Stream(seed).fill(0, drawn)
    for number in range(sections):
        start, end = (1 + at * inner // sections for at in (number, number + 1))
        sample = sample_sectors or -(-(end - start) // _PARTS)
        room = end - start - 2 * sample + 1
        block = drawn[number * _BLOCK_BYTES : (number + 1) * _BLOCK_BYTES]
        low, high = sorted(int.from_bytes(half, "big") % room for half in (block[:8], block[8:]))
        yield Extent(start + low, sample)
        yield Extent(start + high + sample, sample)

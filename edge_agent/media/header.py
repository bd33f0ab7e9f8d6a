"""What a medium or a partition holds, by the bytes at its beginning.

All that is found is told, not the first: bytes can be a LUKS header and a partition table at once, and which of the
two counts depends on who looks. What has no signature is told by its bytes alone:

    EMPTY         the first HEAD_BYTES and the last TAIL_BYTES are zero; what lies between is not looked at
    HIGH_ENTROPY  the first SAMPLE_BYTES cannot be told from random. That is what VeraCrypt, TrueCrypt and dm-crypt
                  without a header look like, and compressed data as well: nobody can say which
    UNKNOWN       anything else

docs/formats/storage-judgement.md
"""

from collections import Counter
from math import log, log2

from edge_agent.media import signatures
from edge_agent.media.head import MAX_FOUND, Found, Head, Kind, ReadAt
from edge_agent.media.luks import find_luks1, find_luks2
from edge_agent.media.signatures import HEAD_BYTES

TAIL_BYTES, SAMPLE_BYTES = 0x10000, 0x10000
_FEWEST_SAMPLED = 0x1000
# Random bytes fall short of 8 bits by (256 - 1) / (2 n ln 2) on average; three times that is left to chance.
_TOLERATED = 3


def read_head(read_at: ReadAt, size_bytes: int, others: tuple[Found, ...] = ()) -> Head:
    """Return what is at the beginning of `size_bytes`; `others` is what else was found there, such as a table."""
    start = read_at(0, min(HEAD_BYTES, size_bytes))
    luks2, header = find_luks2(start, read_at)
    found = [*find_luks1(start), *luks2, *signatures.find(read_at), *others]
    if header is not None:
        found += _in_clear(read_at, header.data_offsets)
    if not found:
        found = [_without_signature(start, read_at, size_bytes)]
    return Head(tuple(sorted(found, key=lambda each: each.offset))[:MAX_FOUND], header)


def _in_clear(read_at: ReadAt, data_offsets: tuple[int, ...]) -> list[Found]:
    """Return file systems that stand in clear where a LUKS2 header says that encrypted data begins."""
    return [
        Found(each.kind, offset + each.offset, f"in clear within LUKS2 data: {each.what}"[:200])
        for offset in data_offsets
        for each in signatures.find(lambda at, size, base=offset: read_at(base + at, size))  # type: ignore[misc]
    ]


def _without_signature(start: bytes, read_at: ReadAt, size_bytes: int) -> Found:
    tail_at = max(0, size_bytes - TAIL_BYTES)
    if not any(start) and not any(read_at(tail_at, size_bytes - tail_at)):
        return Found(Kind.EMPTY, 0, f"the first {len(start)} bytes and the last {size_bytes - tail_at} are zero")
    sample = start[:SAMPLE_BYTES]
    bits = entropy_bits(sample)
    what = f"{bits:.3f} bits of entropy a byte in the first {len(sample)}"
    if len(sample) >= _FEWEST_SAMPLED and bits >= 8 - _TOLERATED * 255 / (2 * len(sample) * log(2)):
        return Found(Kind.HIGH_ENTROPY, 0, what)
    return Found(Kind.UNKNOWN, 0, what)


def entropy_bits(sample: bytes) -> float:
    """Return Shannon's entropy of the bytes, 0 to 8 bits each."""
    return -sum(count / len(sample) * log2(count / len(sample)) for count in Counter(sample).values())

"""RFC 6962 trees, appended to without being held: a compact range.

leaf   = SHA-256(0x00 || data)
node   = SHA-256(0x01 || left || right)
root   = MTH of RFC 6962 section 2.1; of no leaves SHA-256("")
range  = roots of the largest perfect subtrees from the left, one for each bit of the size that is set
"""

from collections.abc import Sequence
from hashlib import sha256

from shared.errors import Malformed

HASH_BYTES = 32
MAX_SIZE = 1 << 62
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """All of a tree that it takes to append to it and to say its root: 32 bytes for each bit of its size."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Raises Malformed: other hashes than a tree of `size` has."""
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise Malformed("compact range", f"these are not the subtrees of a tree of {size}")
        self.size, self._hashes = size, list(hashes)

    def append(self, leaves: Sequence[bytes]) -> list[list[bytes]]:
        """Append leaf hashes; return the roots of all perfect subtrees that they complete, by height: the leaves first.

        Row by row, for one by one takes twice the time.
        """
        rows, row, left = list[list[bytes]](), list(leaves), list[bytes]()
        index = self.size
        while row:
            rows.append(row)
            if index & 1:
                row = [self._hashes.pop(), *row]
            if len(row) & 1:
                left.append(row[-1])
            row = [sha256(b"\x01" + one + other).digest() for one, other in zip(row[::2], row[1::2], strict=False)]
            index >>= 1
        self._hashes += reversed(left)
        self.size += len(leaves)
        return rows

    def root(self) -> bytes:
        return fold(self._hashes)

    def encode(self) -> bytes:
        return b"".join(self._hashes)

    @classmethod
    def parse(cls, size: int, data: bytes) -> "CompactRange":
        """Raises Malformed."""
        if len(data) % HASH_BYTES:
            raise Malformed("compact range", "not a row of hashes")
        return cls(size, [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over adjacent perfect subtrees of falling size."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]

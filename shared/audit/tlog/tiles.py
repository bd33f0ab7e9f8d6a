"""Tiles: 256 hashes of one height, as files that never change once they are full (C2SP tlog-tiles).

tile     = hashes of the perfect subtrees of height 8 * level, number * 256 and on; level 0 holds leaves
path     = tile/LEVEL/NUMBER, NUMBER in groups of three digits: x001/x234/067; of a partial one .p/WIDTH
bundle   = entries of one tile of level 0, each u16 length || data; path tile/entries/NUMBER
"""

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from shared.audit.tlog.proofs import Nodes
from shared.audit.tlog.tree import HASH_BYTES, perfect_root
from shared.errors import Malformed

HEIGHT, WIDTH = 8, 256
MAX_LEVEL = 7  # no tree of ours has more than 2**62 leaves
MAX_ENTRY_BYTES = 65_535
_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True)
class Tile:
    """`level` is None for a bundle of entries; `width` is less than 256 where it is partial."""

    level: int | None
    number: int
    width: int = WIDTH

    def path(self) -> str:
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join((*(f"x{group}" for group in groups[:-1]), groups[-1]))
        where = "entries" if self.level is None else str(self.level)
        return f"tile/{where}/{name}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Raises Malformed."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise Malformed("tile path", "expected tile/LEVEL/NUMBER or tile/entries/NUMBER, as C2SP tlog-tiles has it")
        where, name, width = found[1], found[2], found[3]
        number = int(name.replace("x", "").replace("/", ""))
        tile = cls(None if where == "entries" else int(where), number, WIDTH if width is None else int(width))
        if tile.path() != path:
            raise Malformed("tile path", "not as it is written")
        return tile

    def is_of(self, size: int) -> bool:
        """Return whether a tree of `size` has all of it."""
        hashes = size >> (HEIGHT * (self.level or 0))
        return self.number * WIDTH + self.width <= hashes


def tiles_of(size: int) -> Iterable[Tile]:
    """Yield the tiles of hashes of a tree of `size`, level by level."""
    for level in range(MAX_LEVEL + 1):
        full, width = divmod(size >> (HEIGHT * level), WIDTH)
        for number in range(full):
            yield Tile(level, number)
        if width:
            yield Tile(level, full, width)


def nodes_of(read: Callable[[int, int], bytes]) -> Nodes:
    """Return the subtrees of a tree by its tiles; `read` returns the hashes of a level's tile, or the first of them."""

    def node(height: int, index: int) -> bytes:
        level, above = divmod(height, HEIGHT)
        number, at = divmod(index << above, WIDTH)
        hashes = read(level, number)[at * HASH_BYTES : (at + (1 << above)) * HASH_BYTES]
        if len(hashes) != HASH_BYTES << above:
            raise Malformed("tile", f"{Tile(level, number).path()} ends before the subtree that is looked for")
        return perfect_root(split_hashes(hashes))

    return node


def split_hashes(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Raises Malformed: an entry that is too long for one."""
    pieces = list[bytes]()
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise Malformed("log entry", f"larger than {MAX_ENTRY_BYTES} bytes")
        pieces += (struct.pack(">H", len(entry)), entry)
    return b"".join(pieces)


def parse_bundle(data: bytes) -> tuple[bytes, ...]:
    """Raises Malformed: no bundle of 1 to 256 entries."""
    starts = [0]
    while starts[-1] < len(data) and len(starts) <= WIDTH:
        if len(data) - starts[-1] < 2:
            break
        starts.append(starts[-1] + 2 + int.from_bytes(data[starts[-1] : starts[-1] + 2]))
    if len(starts) == 1 or starts[-1] != len(data):
        raise Malformed("entry bundle", f"not 1 to {WIDTH} entries, each after its length")
    return tuple(data[start + 2 : end] for start, end in pairwise(starts))

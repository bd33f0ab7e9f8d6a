"""Goes over a whole log once, from its leaves: the roots that it had, and the tiles that are not its own.

Memory stays constant. That the heads are signed is for the caller to have verified.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.audit.tlog.growth import At, Growth
from shared.audit.tlog.tiles import WIDTH, Tile
from shared.audit.tlog.tree import HASH_BYTES


@dataclass(frozen=True)
class Walked:
    """`roots` are those at the sizes that were asked for and reached.

    `other_leaf` is the first leaf that differs from its tile, `other_tile` the first tile that differs at all.
    """

    size: int
    root: bytes
    roots: dict[int, bytes]
    other_leaf: int | None
    other_tile: Tile | None


def walk(leaves: Iterable[bytes], sizes: Iterable[int], stored: Callable[[int, int], bytes | None] | None) -> Walked:
    """Return what a log of `leaves` is. `stored` returns a tile by level and number; without it none is compared."""
    wanted, roots, growth = sorted(set(sizes), reverse=True), dict[int, bytes](), Growth()
    compared = _Compared(stored)
    chunk = list[bytes]()

    def grow() -> None:
        growth.append(chunk)
        chunk.clear()
        for at, hashes in growth.take_full():
            compared.compare(at, hashes)
        while wanted and wanted[-1] == growth.range.size:
            roots[wanted.pop()] = growth.range.root()

    grow()
    for leaf in leaves:
        chunk.append(leaf)
        size = growth.range.size + len(chunk)
        if size % WIDTH == 0 or (wanted and wanted[-1] == size):
            grow()
    grow()
    for at, hashes in sorted(growth.partial.items()):
        compared.compare(at, hashes)
    return Walked(growth.range.size, growth.range.root(), roots, compared.leaf, compared.tile)


class _Compared:
    def __init__(self, stored: Callable[[int, int], bytes | None] | None) -> None:
        self._stored = stored
        self.leaf: int | None = None
        self.tile: Tile | None = None

    def compare(self, at: At, hashes: bytes) -> None:
        if self._stored is None or self.tile is not None:
            return
        held = self._stored(*at) or b""
        if held == hashes:
            return
        level, number = at
        self.tile = Tile(level, number, len(hashes) // HASH_BYTES)
        if level == 0:
            pieces = range(0, len(hashes), HASH_BYTES)
            first = next((n for n in pieces if held[n : n + HASH_BYTES] != hashes[n : n + HASH_BYTES]), len(hashes))
            self.leaf = number * WIDTH + first // HASH_BYTES

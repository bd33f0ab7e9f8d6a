"""A tree while it grows: its compact range, and the tiles that have to be written for it."""

from collections.abc import Callable, Sequence

from shared.audit.tlog.tiles import HEIGHT, WIDTH
from shared.audit.tlog.tree import HASH_BYTES, CompactRange

At = tuple[int, int]
"""Level and number of a tile."""


class Growth:
    """`read` returns what is stored of a tile that is there in part; of a tree that began here nothing is."""

    def __init__(self, grown: CompactRange | None = None, read: Callable[[int, int], bytes] | None = None) -> None:
        self.range, self._read = grown or CompactRange(), read
        self._full = list[tuple[At, bytes]]()
        self.partial = dict[At, bytes]()

    def append(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes."""
        size = self.range.size
        for level, hashes in enumerate(self.range.append(leaves)[::HEIGHT]):
            self._add(level, size >> (HEIGHT * level), b"".join(hashes))

    def take_full(self) -> list[tuple[At, bytes]]:
        """Return the tiles that became full since the last time."""
        full, self._full = self._full, []
        return full

    def _add(self, level: int, held: int, hashes: bytes) -> None:
        number, width = divmod(held, WIDTH)
        if width:
            before = self.partial.pop((level, number), None)
            hashes = (self._stored(level, number) if before is None else before) + hashes
        tile = WIDTH * HASH_BYTES
        while len(hashes) >= tile:
            self._full.append(((level, number), hashes[:tile]))
            number, hashes = number + 1, hashes[tile:]
        if hashes:
            self.partial[level, number] = hashes

    def _stored(self, level: int, number: int) -> bytes:
        return b"" if self._read is None else self._read(level, number)

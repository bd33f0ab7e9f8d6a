"""Collects sectors, by rising number, into runs: all are counted, the first runs are listed."""

from shared.sanitization.report import MAX_RANGES, NOWHERE, Extent, Extents


class Runs:
    def __init__(self, so_far: Extents = NOWHERE) -> None:
        self._sectors, self._listed = so_far.sectors, list(so_far.listed)

    def add(self, first: int, count: int = 1) -> None:
        is_listed = self._sectors == sum(one.count for one in self._listed)
        self._sectors += count
        last = self._listed[-1] if self._listed else None
        if is_listed and last and last.first + last.count == first:
            self._listed[-1] = Extent(last.first, last.count + count)
        elif is_listed and len(self._listed) < MAX_RANGES:
            self._listed.append(Extent(first, count))

    @property
    def sectors(self) -> int:
        return self._sectors

    def extents(self) -> Extents:
        return Extents(self._sectors, tuple(self._listed))

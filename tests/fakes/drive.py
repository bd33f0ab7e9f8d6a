"""A drive in memory that fails as told: bad sectors, a cache that a power cut empties, writes that it only pretends."""

import errno
import os
from dataclasses import dataclass, field


@dataclass
class MemoryDrive:
    """What was written and not flushed is lost by `cut_power`, but for what `survives` says of it.

    `bad_writes` and `bad_reads` say how often a sector fails yet, and with what.
    """

    size_bytes: int
    sector_bytes: int = 512
    bad_writes: dict[int, tuple[int, int]] = field(default_factory=dict)
    bad_reads: dict[int, tuple[int, int]] = field(default_factory=dict)
    takes_bytes: int | None = None  # it is pulled once it took so many
    drops_writes: bool = False
    fails_flush: bool = False
    largest_write: int = 0

    def __post_init__(self) -> None:
        self.durable = bytearray(b"PATIENT." * (self.size_bytes // 8))
        self.content = bytearray(self.durable)
        self._taken = 0

    def write(self, at: int, data: memoryview) -> None:
        self._use(at, len(data), self.bad_writes)
        self._taken += len(data)
        if self.takes_bytes is not None and self._taken > self.takes_bytes:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self.largest_write = max(self.largest_write, len(data))
        if not self.drops_writes:
            self.content[at : at + len(data)] = data

    def read(self, at: int, into: memoryview) -> None:
        self._use(at, len(into), self.bad_reads)
        into[:] = self.content[at : at + len(into)]

    def flush(self) -> None:
        if self.fails_flush:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.durable[:] = self.content

    def cut_power(self) -> None:
        self.content[:] = self.durable
        self.takes_bytes = None

    def _use(self, at: int, size: int, bad: dict[int, tuple[int, int]]) -> None:
        assert at % self.sector_bytes == size % self.sector_bytes == 0
        assert at + size <= self.size_bytes
        for sector in range(at // self.sector_bytes, (at + size) // self.sector_bytes):
            times, why = bad.get(sector, (0, 0))
            if times:
                bad[sector] = (times - 1, why)
                raise OSError(why, os.strerror(why))

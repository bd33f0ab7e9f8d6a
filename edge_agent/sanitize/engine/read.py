"""Reads a drive back and holds it against what belongs there, sector by sector.

It reads the drive and not this machine's memory of it (O_DIRECT). What a drive has in a cache of its own it may give
from there; a read back of the whole reads far more than a drive can cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from edge_agent import SOFTWARE
from edge_agent.sanitize.drive import Watch
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.direct import CHUNK_BYTES
from edge_agent.sanitize.engine.narrowing import Stopped
from edge_agent.sanitize.engine.reading import Piece, Place, all_of, pieces, these
from edge_agent.sanitize.engine.runs import Runs
from shared.clock import Clock
from shared.policy.wipe import ReadBack
from shared.sanitization.report import Checked, Expected
from shared.sanitization.sampling import places, sampled_bytes
from shared.sanitization.stream import Content

MOST_UNREADABLE_SECTORS = 1 << 16


@dataclass
class Tally:
    """What a read back has found so far."""

    sector_bytes: int
    bytes_read: int = 0
    bytes_equal: int = 0
    different: Runs = field(default_factory=Runs)
    unreadable: Runs = field(default_factory=Runs)

    def count(self, piece: Piece, differing: list[int]) -> None:
        """`differing` sectors from the piece's start, none of them unreadable."""
        first, sector = piece.start // self.sector_bytes, self.sector_bytes
        read = len(piece.data) - len(piece.unreadable) * sector
        self.bytes_read += read
        self.bytes_equal += read - len(differing) * sector
        for one in differing:
            self.different.add(first + one)
        for one in piece.unreadable:
            self.unreadable.add(first + one)


def read_back(
    device: Device, content: Content, amount: ReadBack, sample_seed: bytes, watch: Watch, clock: Clock
) -> Checked:
    """Hold what is on the drive against `content`. Where the drive goes away, or a person stops it, it has no end.

    `sample_seed` is drawn for this read back alone, and not used where the whole is read.
    """
    is_whole, started, tally = amount is ReadBack.WHOLE, clock.now(), Tally(device.sector_bytes)
    size = device.size_bytes
    total = size if is_whole else sampled_bytes(size, device.sector_bytes)
    where = all_of(size) if is_whole else these(places(sample_seed, size, device.sector_bytes), device.sector_bytes)
    ended = _compared(device, where, content, tally, total, watch, clock)
    return Checked(
        amount=amount,
        expected=Expected.PATTERN if content.seed is None else Expected.STREAM,
        pattern=content.pattern,
        stream_seed=content.seed,
        sample_seed=None if is_whole else sample_seed,
        bytes_to_read=total,
        bytes_read=tally.bytes_read,
        bytes_equal=tally.bytes_equal,
        different=tally.different.extents(),
        unreadable=tally.unreadable.extents(),
        tool=SOFTWARE,
        started=started,
        ended=ended,
    )


def _compared(
    device: Device, where: Iterator[Place], content: Content, tally: Tally, total: int, watch: Watch, clock: Clock
) -> datetime | None:
    source, wanted, done = content.source(), bytearray(CHUNK_BYTES), 0
    try:
        for piece in pieces(device, where, lambda: watch.is_stopped):
            size = len(piece.data)
            # Comparing with a bytearray is memcmp; comparing two memoryviews goes byte by byte.
            belongs = wanted if size == CHUNK_BYTES else bytearray(size)
            source.fill(piece.start, memoryview(belongs))
            tally.count(piece, differing(belongs, piece, tally.sector_bytes))
            done += size
            watch.at(done, total)
            if tally.unreadable.sectors > MOST_UNREADABLE_SECTORS:
                break
    except (OSError, Stopped):
        return None
    return clock.now() if done == total else None


def differing(belongs: bytearray, piece: Piece, sector_bytes: int) -> list[int]:
    """Return which sectors of `piece` differ, from its start, without those that could not be read."""
    if not piece.unreadable and belongs == piece.data:
        return []
    unreadable = set(piece.unreadable)
    return [
        number
        for number, start in enumerate(range(0, len(belongs), sector_bytes))
        if number not in unreadable
        and belongs[start : start + sector_bytes] != piece.data[start : start + sector_bytes]
    ]

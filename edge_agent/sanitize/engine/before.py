"""Samples of what a drive held before, to be held against it after a command that leaves nothing known to compare with.

Kept are digests and no content. A sample that was one byte all over may be empty room, and counts for nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from edge_agent import SOFTWARE
from edge_agent.sanitize.drive import Watch
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.narrowing import Stopped
from edge_agent.sanitize.engine.read import Tally
from edge_agent.sanitize.engine.reading import Piece, pieces, these
from shared import canonical
from shared.clock import Clock
from shared.errors import Malformed, Unavailable
from shared.fields import Fields
from shared.policy.wipe import ReadBack
from shared.sanitization.report import SEED_BYTES, Checked, Expected, Extent
from shared.sanitization.sampling import places, sampled_bytes

SAMPLE_BYTES = 4096
_DIGEST_BYTES = 16
_NOTHING = bytes(_DIGEST_BYTES)
_MAX_BYTES = 256 << 10


class NotSampled(Unavailable):
    """The drive gave no samples; without them a command that only its own word speaks for proves nothing."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the drive was not sampled: {why}")
        self.why = why


@dataclass(frozen=True)
class Before:
    """A digest of each sample that held something, in the order of their places; None of one that says nothing."""

    seed: bytes
    size_bytes: int
    sector_bytes: int
    digests: tuple[bytes | None, ...]

    def held(self) -> Iterator[tuple[Extent, bytes]]:
        """Yield places that held something, and the digest of it."""
        for place, digest in zip(_places(self.seed, self.size_bytes, self.sector_bytes), self.digests, strict=True):
            if digest is not None:
                yield place, digest

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "seed": self.seed.hex(),
                "size_bytes": self.size_bytes,
                "sector_bytes": self.sector_bytes,
                "digests": b"".join(one or _NOTHING for one in self.digests).hex(),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Before":
        """Raises Malformed."""
        what = "samples of a drive"
        if len(data) > _MAX_BYTES:
            raise Malformed(what, f"larger than {_MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, what), what)
        fields.version()
        seed, size = fields.hex("seed", SEED_BYTES), fields.integer("size_bytes")
        sector = fields.integer("sector_bytes", least=512, most=1 << 20)
        digests = fields.hex("digests", _DIGEST_BYTES * sum(1 for _ in _places(seed, size, sector)))
        fields.done()
        each = (digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
        return cls(seed, size, sector, tuple(None if one == _NOTHING else one for one in each))


def sample_before(device: Device, seed: bytes, watch: Watch) -> Before:
    """Raises NotSampled."""
    where = list(_places(seed, device.size_bytes, device.sector_bytes))
    digests: list[bytes | None] = []
    try:
        for piece in pieces(device, these(where, device.sector_bytes), lambda: watch.is_stopped):
            digests.append(_digest(piece))
            watch.at(len(digests), len(where))
    except (OSError, Stopped) as exc:
        raise NotSampled(str(exc) or "stopped by a person") from exc
    return Before(seed, device.size_bytes, device.sector_bytes, tuple(digests))


def read_changed(device: Device, before: Before, watch: Watch, clock: Clock) -> Checked:
    """Hold the samples that held something against what is there now; those that differ from it count as equal."""
    started, tally, sector = clock.now(), Tally(device.sector_bytes), before.sector_bytes
    held = list(before.held())
    total = sum(place.count for place, _ in held) * sector
    ended = None
    try:
        where = these((place for place, _ in held), sector)
        for (place, digest), piece in zip(held, pieces(device, where, lambda: watch.is_stopped), strict=True):
            is_as_before = not piece.unreadable and sha256(piece.data).digest()[:_DIGEST_BYTES] == digest
            tally.count(piece, [*range(place.count)] if is_as_before else [])
            watch.at(tally.bytes_read, total)
        ended = clock.now()
    except (OSError, Stopped):
        ended = None
    return Checked(
        amount=ReadBack.SAMPLES,
        expected=Expected.CHANGED,
        pattern="",
        stream_seed=None,
        sample_seed=before.seed,
        bytes_to_read=total,
        bytes_read=tally.bytes_read,
        bytes_equal=tally.bytes_equal,
        different=tally.different.extents(),
        unreadable=tally.unreadable.extents(),
        tool=SOFTWARE,
        started=started,
        ended=ended,
    )


def _places(seed: bytes, size_bytes: int, sector_bytes: int) -> Iterator[Extent]:
    """Yield samples of a fixed size; of a small medium, where that would be more than other samples are, those."""
    fixed = list(places(seed, size_bytes, sector_bytes, max(1, SAMPLE_BYTES // sector_bytes)))
    is_too_much = sum(one.count for one in fixed) * sector_bytes > sampled_bytes(size_bytes, sector_bytes)
    yield from places(seed, size_bytes, sector_bytes) if is_too_much else fixed


def _digest(piece: Piece) -> bytes | None:
    data = bytes(piece.data)
    if piece.unreadable or data == data[:1] * len(data):
        return None
    return sha256(data).digest()[:_DIGEST_BYTES]

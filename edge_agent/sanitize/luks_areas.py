"""Where on a drive LUKS headers and key slots lie, and whether all its data lies behind them.

    LUKS2  two headers of up to 4 MiB, then key slots of up to 128 MiB, then the data   On-Disk Format 1.1, section 2
    LUKS1  a header of 592 bytes, eight key slots, then the data from the payload offset  specification 1.2

What is erased is at least as long as the longest default (16 MiB), for all of the drive is to go: an older and shorter
header, or a second one that a shorter first one left behind, lies within it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.media.head import Head, Kind
from edge_agent.media.judge import StorageState, judge
from edge_agent.media.survey import Survey

_MIB = 1 << 20
_LEAST_BYTES = 16 * _MIB
_MOST_BYTES = 2 * 4 * _MIB + 128 * _MIB
_LUKS = {Kind.LUKS1, Kind.LUKS2}


@dataclass(frozen=True)
class Area:
    """`start` and `size_bytes` count bytes of the whole drive; `partition` is 0 where the volume is all of it."""

    partition: int
    kind: Kind
    start: int
    size_bytes: int


def areas(looked_at: Survey, sector_bytes: int) -> tuple[Area, ...]:
    """Return the area of each volume that has any LUKS header, also a damaged one, in rising order."""
    volumes = [(0, 0, looked_at.size_bytes, looked_at.head)]
    volumes += [(each.number, each.start, each.size_bytes, each.head) for each in looked_at.volumes]
    return tuple(sorted(_areas(volumes, sector_bytes), key=lambda area: area.start))


def all_inside(looked_at: Survey) -> bool:
    """Return whether the whole drive, or every partition of it, is LUKS that encrypts, as far as a look can tell."""
    heads = [looked_at.head, *(volume.head for volume in looked_at.volumes)]
    if any(
        found.kind is Kind.LUKS1 and "null" in found.what.partition(",")[0] for head in heads for found in head.found
    ):
        return False
    return judge(looked_at).state in {StorageState.LUKS2, StorageState.LUKS1} and not looked_at.outside


def _areas(volumes: list[tuple[int, int, int, Head]], sector_bytes: int) -> Iterator[Area]:
    for number, start, size, head in volumes:
        kinds = sorted(head.kinds & _LUKS)
        if kinds:
            length = min(size, _length(head))
            yield Area(number, kinds[-1], start, length - length % sector_bytes)


def _length(head: Head) -> int:
    """Return how far headers and key slots reach at the most, as far as the header can be believed."""
    if Kind.LUKS2 not in head.kinds:
        return _LEAST_BYTES
    data_at = min(head.luks2.data_offsets, default=0) if head.luks2 is not None else 0
    return max(_LEAST_BYTES, min(data_at, _MOST_BYTES)) if data_at else _MOST_BYTES

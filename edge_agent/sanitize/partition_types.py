"""What lies on a drive, by count: the kind of each partition's beginning, and no name, label or content of any."""

from collections import Counter

from edge_agent.media.answer import Answer
from edge_agent.media.head import Head, Kind
from shared.sanitization.medium import PartitionCount

NOT_READ = "not read"
_WITHOUT_PARTITIONS = "whole disk"
_TABLES = {Kind.MBR, Kind.GPT}


def counted(answer: Answer) -> tuple[PartitionCount, ...]:
    """Return the counts by rising name of the kind; what lies on the disk without partitions is named so."""
    looked_at = answer.looked_at
    if looked_at is None:
        return (PartitionCount(NOT_READ, max(1, len(answer.read_only) - 1)),)
    kinds = Counter(_kind(volume.head) for volume in looked_at.volumes)
    if not looked_at.head.kinds <= {*_TABLES, Kind.EMPTY}:
        kinds[f"{_WITHOUT_PARTITIONS}: {_kind(looked_at.head)}"] += 1
    return tuple(PartitionCount(kind, count) for kind, count in sorted(kinds.items()))


def _kind(head: Head) -> str:
    return " and ".join(sorted(kind.value for kind in head.kinds - _TABLES)) or "none"

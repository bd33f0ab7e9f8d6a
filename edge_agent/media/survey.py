"""Everything that was looked at on one disk: its beginning, its partitions, and samples of what lies between.

What is not looked at, so that nobody takes it for proved: the rest of each partition behind its beginning, gaps of up
to ALIGNMENT_BYTES, and of larger ones all but the beginning of each MiB, MAX_SAMPLES of them, and the end.
"""

from dataclasses import dataclass

from edge_agent.media.head import Head, Kind, ReadAt
from edge_agent.media.header import read_head
from edge_agent.media.partitions import MAX_PARTITIONS, Partition, Table, read_table
from shared.canonical import Json
from shared.fields import Fields

ALIGNMENT_BYTES = 1 << 20
MAX_SAMPLES, SAMPLE_BYTES = 64, 4096
MAX_NOTES, MAX_NOTE_CHARS = 16, 200
MAX_BYTES = 512 * 1024  # of its JSON


@dataclass(frozen=True)
class Volume:
    """A partition, and what its beginning says."""

    number: int
    start: int
    size_bytes: int
    head: Head

    def json(self) -> dict[str, Json]:
        return {
            "number": self.number, "start": self.start, "size_bytes": self.size_bytes, "head": self.head.json(),
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "Volume":
        fields = Fields(value, "volume")
        volume = cls(
            fields.integer("number"),
            fields.integer("start"),
            fields.integer("size_bytes"),
            Head.parse(fields.mapping("head", most=2)),
        )
        fields.done()
        return volume


@dataclass(frozen=True)
class Survey:
    """`problems`: why it may be read in two ways. `outside`: offsets of data that lies in no partition."""

    size_bytes: int
    head: Head
    volumes: tuple[Volume, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    outside: tuple[int, ...] = ()

    def json(self) -> dict[str, Json]:
        return {
            "size_bytes": self.size_bytes, "head": self.head.json(),
            "volumes": [volume.json() for volume in self.volumes],
            "problems": list(self.problems), "notes": list(self.notes), "outside": list(self.outside),
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "Survey":
        """Raises Malformed."""
        fields = Fields(value, "survey of a medium")
        survey = cls(
            fields.integer("size_bytes"),
            Head.parse(fields.mapping("head", most=2)),
            tuple(map(Volume.parse, fields.items("volumes", most=MAX_PARTITIONS))),
            _texts(fields, "problems"),
            _texts(fields, "notes"),
            tuple(Fields({"at": at}, "survey").integer("at") for at in fields.items("outside", most=MAX_NOTES)),
        )
        fields.done()
        return survey


@dataclass(frozen=True)
class KernelPartition:
    """A partition as the kernel has it, in bytes."""

    number: int
    start: int
    size_bytes: int


def survey(read_at: ReadAt, size_bytes: int, sector_bytes: int, kernel: tuple[KernelPartition, ...] = ()) -> Survey:
    """Look at a disk of `size_bytes`; `kernel` is what the kernel made of its table."""
    table = read_table(read_at, size_bytes, sector_bytes)
    head = read_head(read_at, size_bytes, () if table is None else (table.found,))
    problems = [*(table.problems if table else ()), *_seen_by_kernel_only(table, kernel)]
    if table is None or Kind.LUKS2 in head.kinds:
        return Survey(size_bytes, head, (), tuple(problems[:MAX_NOTES]))
    volumes = tuple(
        _volume(read_at, partition, size_bytes) for partition in table.partitions if not partition.is_container
    )
    outside, notes = _outside(read_at, table, size_bytes)
    return Survey(
        size_bytes, head, volumes, tuple(problems[:MAX_NOTES]), (*table.notes, *notes)[:MAX_NOTES], outside[:MAX_NOTES]
    )


def _volume(read_at: ReadAt, partition: Partition, size_bytes: int) -> Volume:
    end = min(partition.start + partition.size_bytes, size_bytes)

    def within(at: int, size: int) -> bytes:
        first = partition.start + at
        return read_at(first, min(size, end - first)) if first < end else b""

    return Volume(
        partition.number, partition.start, partition.size_bytes, read_head(within, max(0, end - partition.start))
    )


def _seen_by_kernel_only(table: Table | None, kernel: tuple[KernelPartition, ...]) -> list[str]:
    """Name partitions that the kernel has and our reading of the table does not: of a table we cannot read, say."""
    ours = {(p.start, p.size_bytes) for p in table.partitions} if table else set()
    containers = {p.start for p in table.partitions if p.is_container} if table else set()
    return [
        f"the kernel has a partition {p.number} from {p.start} that the table, as it is read here, has not"
        for p in kernel
        if (p.start, p.size_bytes) not in ours and p.start not in containers
    ]


def _outside(read_at: ReadAt, table: Table, size_bytes: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return where samples of the larger gaps are not zero, and what of them was not looked at."""
    outside, notes, samples = [], [], 0
    for start, end in _gaps(table, size_bytes):
        places = [*range(start, end, ALIGNMENT_BYTES), max(start, end - SAMPLE_BYTES)]
        taken = places[: max(0, MAX_SAMPLES - samples)]
        samples += len(taken)
        outside += [at for at in taken if any(read_at(at, min(SAMPLE_BYTES, end - at)))]
        if len(taken) < len(places):
            notes.append(f"the gap from {start} to {end} was looked at in {len(taken)} places only")
    return tuple(outside), tuple(notes)


def _gaps(table: Table, size_bytes: int) -> list[tuple[int, int]]:
    """Return what lies between partitions and is larger than alignment, without the copy of a GPT at the end."""
    last = size_bytes - (ALIGNMENT_BYTES if table.kind is Kind.GPT else 0)
    gaps, at = [], ALIGNMENT_BYTES
    for partition in sorted((p for p in table.partitions if not p.is_container), key=lambda p: p.start):
        gaps.append((at, min(partition.start, last)))
        at = max(at, partition.start + partition.size_bytes)
    gaps.append((at, last))
    return [(start, end) for start, end in gaps if end - start > ALIGNMENT_BYTES]


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    items = fields.items(name, most=MAX_NOTES)
    return tuple(Fields({name: item}, "survey").text(name, max_chars=MAX_NOTE_CHARS) for item in items)

"""Partition tables: MBR with its chain of logical partitions, and GPT. All numbers in them are hostile.

    MBR  sector 0: four entries at 446, 55 AA at 510. Extended partitions hold a chain of such sectors.
    GPT  sector 1: header (UEFI 2.10 section 5.3.2), CRC-32 over header and entries, a copy in the last sector.

A problem makes a table one that two systems may read in two ways; a note does not.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from struct import Struct
from uuid import UUID

from edge_agent.media.head import Found, Kind, ReadAt

MAX_PARTITIONS = 128
_MBR_ENTRY = Struct("<B3xB3xII")
_EXTENDED, _PROTECTIVE = (0x05, 0x0F, 0x85), 0xEE
_GPT_HEADER = Struct("<8sIIIIQQQQ16sQIII")
_GPT_SIGNATURE, _GPT_HEADER_BYTES, _GPT_ENTRY = b"EFI PART", 92, Struct("<16s16sQQ")
_MOST_GPT_BYTES = 1 << 20
_MOST_ENTRIES = 4096


@dataclass(frozen=True)
class Partition:
    number: int
    start: int  # bytes, as all that follow
    size_bytes: int
    type: str
    is_container: bool = False  # an extended partition: others lie within, and it holds nothing itself


@dataclass(frozen=True)
class Table:
    kind: Kind
    at: int
    partitions: tuple[Partition, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> Found:
        return Found(self.kind, self.at, "; ".join((f"{len(self.partitions)} partitions", *self.problems))[:200])


class _Damaged(Exception):
    """A GPT header or its entries are not whole; the text says why."""


def read_table(read_at: ReadAt, size_bytes: int, sector_bytes: int) -> Table | None:
    """Return the table at the beginning of a disk; None: there is none."""
    first = read_at(0, 512)
    entries = _mbr_entries(first, size_bytes, sector_bytes)
    gpt = _gpt(read_at, size_bytes, sector_bytes, must_be=any(kind == _PROTECTIVE for _, kind, _, _ in entries))
    if gpt is not None:
        others = [slot for slot, kind, _, _ in entries if kind != _PROTECTIVE]
        beside = (f"the MBR beside it has a partition {slot} of its own" for slot in others)
        return _checked(replace(gpt, problems=(*gpt.problems, *beside)), size_bytes)
    if not entries:
        return None
    partitions, faults = _mbr_partitions(read_at, entries, sector_bytes)
    return _checked(Table(Kind.MBR, 510, tuple(partitions), tuple(faults)), size_bytes)


def _checked(table: Table, size_bytes: int) -> Table:
    """Return it with what does not fit: partitions over each other, too many, or beyond the end, where they end."""
    kept = [p for p in table.partitions[:MAX_PARTITIONS] if p.start < size_bytes]
    problems = [*table.problems]
    if len(table.partitions) > len(kept):
        problems.append(f"{len(table.partitions) - len(kept)} partitions are too many, or begin beyond the end")
    problems += [f"partition {p.number} reaches beyond the end" for p in kept if p.start + p.size_bytes > size_bytes]
    lying = sorted((p for p in kept if not p.is_container), key=lambda p: p.start)
    problems += [
        f"partitions {one.number} and {other.number} overlap"
        for one, other in pairwise(lying)
        if one.start + one.size_bytes > other.start
    ]
    ending = tuple(replace(p, size_bytes=min(p.size_bytes, size_bytes - p.start)) for p in kept)
    return replace(table, partitions=ending, problems=tuple(problems[:8]))


# ---- MBR


def _mbr_entries(sector: bytes, size_bytes: int, sector_bytes: int) -> list[tuple[int, int, int, int]]:
    """Return slot, type, first and number of sectors of the entries that are used; none where it is no MBR."""
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa":
        return []
    entries = [(slot, *_MBR_ENTRY.unpack_from(sector, 446 + 16 * (slot - 1))) for slot in (1, 2, 3, 4)]
    # As the kernel has it: a boot sector that is no table has code or text there.
    if any(flag not in (0x00, 0x80) for _, flag, *_ in entries):
        return []
    used = [(slot, kind, first, count) for slot, _, kind, first, count in entries if kind and count]
    return [entry for entry in used if entry[2] * sector_bytes < size_bytes]


def _mbr_partitions(
    read_at: ReadAt, entries: list[tuple[int, int, int, int]], sector_bytes: int
) -> tuple[list[Partition], list[str]]:
    partitions, problems = [], []
    for slot, kind, first, count in entries:
        start, size = first * sector_bytes, count * sector_bytes
        partitions.append(Partition(slot, start, size, f"{kind:02x}", is_container=kind in _EXTENDED))
        if kind in _EXTENDED:
            try:
                partitions += _logical(read_at, first, count, sector_bytes, 5)
            except _Damaged as why:
                problems.append(str(why))
        elif kind == _PROTECTIVE:
            problems.append("a protective MBR without a GPT")
    if sum(p.is_container for p in partitions) > 1:
        problems.append("more than one extended partition")
    return partitions, problems


def _logical(read_at: ReadAt, base: int, extent: int, sector_bytes: int, number: int) -> Iterator[Partition]:
    """Follow the chain; each link has one partition, counted from itself, and the next link, counted from `base`."""
    at = base
    for _ in range(MAX_PARTITIONS):
        sector = read_at(at * sector_bytes, 512)
        if len(sector) < 512 or sector[510:512] != b"\x55\xaa":
            raise _Damaged("the chain of logical partitions is cut off")
        following = None
        for slot in range(4):
            _, kind, first, count = _MBR_ENTRY.unpack_from(sector, 446 + 16 * slot)
            if not kind or not count:
                continue
            if kind in _EXTENDED:
                following = base + first if following is None else following
            else:
                if at + first + count > base + extent:
                    raise _Damaged("a logical partition reaches beyond the extended one")
                yield Partition(number, (at + first) * sector_bytes, count * sector_bytes, f"{kind:02x}")
                number += 1
        if following is None:
            return
        if not at < following < base + extent:
            raise _Damaged("the chain of logical partitions leads back, or out of the extended one")
        at = following
    raise _Damaged(f"more than {MAX_PARTITIONS} logical partitions")


# ---- GPT


def _gpt(read_at: ReadAt, size_bytes: int, sector_bytes: int, *, must_be: bool) -> Table | None:
    last = size_bytes // sector_bytes - 1
    primary = ""
    try:
        table = _read_gpt(read_at, 1, sector_bytes, last)
    except _Damaged as why:
        primary = str(why)
    else:
        try:
            copy = _read_gpt(read_at, last, sector_bytes, last)
        except _Damaged as why:
            return replace(table, notes=(f"its copy at the end: {why}",))
        differs = copy.partitions != table.partitions
        return replace(table, problems=("it and its copy at the end differ",)) if differs else table
    if not must_be and read_at(sector_bytes, 8) != _GPT_SIGNATURE:
        return None
    try:
        table = _read_gpt(read_at, last, sector_bytes, last)
    except _Damaged:
        return None if read_at(sector_bytes, 8) != _GPT_SIGNATURE else Table(Kind.GPT, sector_bytes, (), (primary,))
    return replace(table, problems=(f"only its copy at the end is whole: {primary}",))


def _read_gpt(read_at: ReadAt, lba: int, sector_bytes: int, last: int) -> Table:
    header = read_at(lba * sector_bytes, sector_bytes)
    if len(header) < _GPT_HEADER_BYTES or header[:8] != _GPT_SIGNATURE:
        raise _Damaged("it has no signature")
    _, _, size, crc, _, mine, _, first, last_usable, _, entries_at, count, entry_bytes, entries_crc = (
        _GPT_HEADER.unpack_from(header)
    )
    if not _GPT_HEADER_BYTES <= size <= sector_bytes or mine != lba or not first <= last_usable <= last:
        raise _Damaged("its numbers do not fit the disk")
    if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != crc:
        raise _Damaged("its CRC does not hold")
    if entry_bytes < _GPT_ENTRY.size or entry_bytes % 8 or not 0 < count <= _MOST_ENTRIES or entries_at > last:
        raise _Damaged("its entries have no possible size")
    if count * entry_bytes > _MOST_GPT_BYTES:
        raise _Damaged("its entries are more than are looked at")
    entries = read_at(entries_at * sector_bytes, count * entry_bytes)
    if zlib.crc32(entries) != entries_crc or len(entries) < count * entry_bytes:
        raise _Damaged("the CRC of its entries does not hold")
    return Table(Kind.GPT, lba * sector_bytes, tuple(_gpt_partitions(entries, entry_bytes, sector_bytes)))


def _gpt_partitions(entries: bytes, entry_bytes: int, sector_bytes: int) -> Iterator[Partition]:
    for number, at in enumerate(range(0, len(entries), entry_bytes), 1):
        kind, _, first, last = _GPT_ENTRY.unpack_from(entries, at)
        if any(kind) and last >= first:
            size = (last - first + 1) * sector_bytes
            yield Partition(number, first * sector_bytes, size, str(UUID(bytes_le=kind)))

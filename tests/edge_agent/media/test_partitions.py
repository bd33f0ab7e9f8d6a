"""Partition tables: those that sfdisk writes, and those that two systems would read in two ways."""

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.head import Kind
from edge_agent.media.partitions import MAX_PARTITIONS, Table, read_table
from tests.edge_agent.media import made
from tests.edge_agent.media.made import MIB, SECTOR, image, mbr, of_bytes

SIZE = 24 * MIB


def table(data: bytes, size_bytes: int = SIZE) -> Table | None:
    return read_table(of_bytes(data), size_bytes, SECTOR)


def partitioned(folder: Path, script: str, maker: str = "sfdisk -q") -> bytes:
    path = image(folder, SIZE)
    made.run(f"{maker} {path}", script.encode())
    return path.read_bytes()


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return partitioned(tmp_path_factory.mktemp("gpt"), "label: gpt\n,8M\n")


def described(found: Table | None) -> list[tuple[int, int, int, str]]:
    assert found is not None
    return [(p.number, p.start // MIB, p.size_bytes // MIB, p.type) for p in found.partitions]


def test_reads_an_mbr_with_its_logical_partitions(tmp_path: Path) -> None:
    found = table(partitioned(tmp_path, "label: dos\n,4M,c\n,1M,83\n,1M,83\n,12M,E\n,4M\n,4M\n"))

    assert found is not None
    assert (found.kind, found.problems) == (Kind.MBR, ())
    assert described(found) == [
        (1, 1, 4, "0c"), (2, 5, 1, "83"), (3, 6, 1, "83"), (4, 7, 12, "05"), (5, 8, 4, "83"), (6, 13, 4, "83"),
    ]  # fmt: skip
    assert [p.number for p in found.partitions if p.is_container] == [4]


def test_reads_a_gpt_and_the_copy_at_its_end(tmp_path: Path) -> None:
    found = table(partitioned(tmp_path, "label: gpt\n,8M,U\n,8M\n"))

    assert found is not None
    assert (found.kind, found.at, found.problems, found.notes) == (Kind.GPT, SECTOR, (), ())
    assert described(found) == [
        (1, 1, 8, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
        (2, 9, 8, "0fc63daf-8483-4772-8e79-3d69d8477de4"),
    ]


def test_reads_a_gpt_of_a_disk_whose_sectors_are_larger(tmp_path: Path) -> None:
    data = partitioned(tmp_path, "g\nn\n1\n\n+8M\nw\n", "fdisk -b 4096")

    found = read_table(of_bytes(data), len(data), 4096)
    assert found is not None
    assert (found.kind, found.at, found.problems, found.notes) == (Kind.GPT, 4096, (), ())
    assert described(found) == [(1, 1, 8, "0fc63daf-8483-4772-8e79-3d69d8477de4")]


def test_a_gpt_whose_beginning_is_damaged_is_read_from_its_end_and_that_is_a_problem(gpt: bytes) -> None:
    data = bytearray(gpt)
    data[SECTOR + 40] ^= 1

    found = table(bytes(data))
    assert described(found)[0][:3] == (1, 1, 8)
    assert found is not None
    assert found.problems == ("only its copy at the end is whole: its CRC does not hold",)


def test_a_gpt_without_its_copy_is_read_and_noted(gpt: bytes) -> None:
    data = bytearray(gpt)
    data[-SECTOR:] = bytes(SECTOR)

    found = table(bytes(data))
    assert found is not None
    assert (found.problems, found.notes) == ((), ("its copy at the end: it has no signature",))


def test_a_gpt_whose_copy_says_something_else_is_a_problem(tmp_path: Path, gpt: bytes) -> None:
    one = bytearray(gpt)
    other = partitioned(tmp_path, "label: gpt\n,16M\n")
    one[-33 * SECTOR :] = other[-33 * SECTOR :]

    found = table(bytes(one))
    assert found is not None
    assert found.problems == ("it and its copy at the end differ",)


def test_a_gpt_damaged_at_both_ends_has_no_partitions_and_says_so(gpt: bytes) -> None:
    data = bytearray(gpt)
    data[SECTOR + 40] ^= 1
    data[-SECTOR:] = bytes(SECTOR)

    found = table(bytes(data))
    assert found is not None
    assert (found.kind, found.partitions, found.problems) == (Kind.GPT, (), ("its CRC does not hold",))


def test_a_protective_mbr_without_a_gpt_is_a_problem() -> None:
    found = table(mbr((0xEE, 1, 1000)))

    assert found is not None
    assert found.problems == ("a protective MBR without a GPT",)


def test_an_mbr_partition_beside_a_gpt_is_a_problem(gpt: bytes) -> None:
    # Old systems see the MBR's partition and new ones the GPT's.
    data = bytearray(gpt)
    data[446 + 16 : 446 + 32] = struct.pack("<B3xB3xII", 0, 0x0C, 40_000, 8_000)

    found = table(bytes(data))
    assert found is not None
    assert found.problems == ("the MBR beside it has a partition 2 of its own",)


@pytest.mark.parametrize(
    "entries, problem",
    [
        (((0x83, 2048, 4096), (0x83, 4096, 4096)), "partitions 1 and 2 overlap"),
        (((0x83, 2048, 2**32 - 1),), "partition 1 reaches beyond the end"),
        (((0x05, 2048, 4096),), "the chain of logical partitions is cut off"),
        (((0x05, 2048, 4096), (0x0F, 8192, 4096)), "more than one extended partition"),
    ],
)
def test_what_does_not_fit_is_a_problem(entries: tuple[tuple[int, int, int], ...], problem: str) -> None:
    found = table(mbr(*entries))

    assert found is not None
    assert problem in found.problems
    assert all(p.start + p.size_bytes <= SIZE for p in found.partitions)


def chain(*links: tuple[tuple[int, int, int], ...]) -> bytes:
    """Return a disk whose extended partition holds these sectors, one after the other."""
    return mbr((0x05, 1, 1000)) + b"".join(mbr(*link) for link in links)


@pytest.mark.parametrize(
    "data, problem",
    [
        (chain(((0x05, 0, 10),)), "leads back"),
        (chain(((0x05, 1, 10),), ((0x05, 0, 10),)), "leads back"),
        (chain(((0x05, 5000, 10),)), "out of the extended one"),
        (chain(((0x83, 1, 5000),)), "reaches beyond the extended one"),
        (chain(*(((0x83, 1, 1), (0x05, n, 1)) for n in range(1, 300))), "more than 128 logical partitions"),
    ],
)
def test_a_chain_that_never_ends_or_leads_away_is_followed_no_further(data: bytes, problem: str) -> None:
    found = table(data)

    assert found is not None
    assert any(problem in each for each in found.problems)


@pytest.mark.parametrize(
    "sector",
    [
        made.fat_sector(),
        mbr(),
        mbr((0x83, 2048, 4096), flag=0x55),
        mbr((0x83, 2048, 4096))[:510] + b"\0\0",
        mbr((0x83, 2**31, 4096)),
        bytes(512),
        b"",
    ],
)
def test_what_the_kernel_takes_for_no_table_is_none(sector: bytes) -> None:
    assert table(sector) is None


@pytest.mark.parametrize(
    "at, value",
    [(12, 0), (12, 2**32 - 1), (12, 513), (24, 7), (40, 2**63), (48, 2**64 - 1), (72, 2**62), (80, 0), (80, 2**32 - 1),
     (84, 0), (84, 127), (84, 2**31)],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_though_the_crc_holds(gpt: bytes, at: int, value: int) -> None:
    data = bytearray(gpt)
    size = 8 if at in (24, 40, 48, 72) else 4
    header = data[SECTOR : SECTOR + 92]
    header[at : at + size] = value.to_bytes(size, "little")
    header[16:20] = bytes(4)
    header[16:20] = zlib.crc32(header).to_bytes(4, "little")
    data[SECTOR : SECTOR + 92] = header

    found = table(bytes(data))
    assert found is not None
    assert found.problems


def test_a_gpt_of_more_partitions_than_are_looked_at_says_so() -> None:
    entries = b"".join(
        struct.pack("<16s16sQQ80x", b"\x01" * 16, bytes([n % 256]) * 16, 2048 + n, 2048 + n) for n in range(200)
    )
    fields = ("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92)
    rest = (1, 4000, 40, 3000, bytes(16), 2, 200, 128, zlib.crc32(entries))
    crc = zlib.crc32(struct.pack(*fields, 0, 0, *rest))
    header = struct.pack(*fields, crc, 0, *rest).ljust(SECTOR, b"\0")

    found = table(mbr((0xEE, 1, 4000)) + header + entries, 4001 * SECTOR)
    assert found is not None
    assert len(found.partitions) == MAX_PARTITIONS
    assert found.problems == ("72 partitions are too many, or begin beyond the end",)


ENTRY = st.tuples(st.sampled_from([0x05, 0x0F, 0x83, 0xEE]), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(ENTRY, min_size=1, max_size=4), st.integers(512, 1 << 40), st.sampled_from([512, 4096]))
def test_whatever_an_mbr_says_no_partition_reaches_beyond_the_disk(
    entries: list[tuple[int, int, int]], size_bytes: int, sector_bytes: int
) -> None:
    found = read_table(of_bytes(mbr(*entries)), size_bytes, sector_bytes)

    for partition in found.partitions if found else ():
        assert 0 < partition.start + partition.size_bytes <= size_bytes

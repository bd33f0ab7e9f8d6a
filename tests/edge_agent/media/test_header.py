"""What the first bytes of media say: of those that the usual tools make, and of those made to be taken for others."""

import gzip
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media import signatures
from edge_agent.media.head import Head, Kind
from edge_agent.media.header import read_head
from tests.edge_agent.media import made
from tests.edge_agent.media.made import MIB, image, of_bytes


def kinds(data: bytes) -> frozenset[Kind]:
    return read_head(of_bytes(data), len(data)).kinds


def padded(start: bytes, at: int = 0, size_bytes: int = 0x20000) -> bytes:
    return (bytes(at) + start).ljust(size_bytes, b"\0")


@pytest.mark.parametrize(
    "command, size_mib, expected, evidence",
    [
        ("mkfs.vfat -F 12 -n SCANS {}", 8, Kind.FAT, "label 'SCANS'"),
        ("mkfs.vfat -F 16 {}", 32, Kind.FAT, "label 'NO NAME'"),
        ("mkfs.vfat -F 32 -n SCANS {}", 64, Kind.FAT, "label 'SCANS'"),
        ("mkfs.vfat -F 32 -S 4096 {}", 300, Kind.FAT, "boot sector of a FAT"),
        ("mkfs.exfat {}", 8, Kind.EXFAT, "EXFAT"),
        ("mkfs.ntfs -q -F {}", 16, Kind.NTFS, "NTFS"),
        ("mke2fs -q -t ext2 -L SCANS {}", 8, Kind.EXT, "ext2 or ext3, label 'SCANS'"),
        ("mke2fs -q -t ext4 {}", 8, Kind.EXT, "ext4"),
        ("mkfs.xfs -q {}", 320, Kind.XFS, "XFSB"),
        ("mkfs.btrfs -q {}", 128, Kind.BTRFS, "_BHRfS_M"),
        ("mkudffs {}", 16, Kind.UDF, "NSR0"),
        ("mkudffs --blocksize=4096 {}", 16, Kind.UDF, "NSR0"),
        ("mkswap {}", 8, Kind.SWAP, "SWAPSPACE2"),
        ("genisoimage -quiet -o {} /etc/hostname", 1, Kind.ISO9660, "CD001"),
    ],
)
def test_knows_what_the_usual_tools_make(
    tmp_path: Path, command: str, size_mib: int, expected: Kind, evidence: str
) -> None:
    head = made.surveyed(image(tmp_path, size_mib * MIB, command)).head

    assert head.kinds == {expected}
    assert evidence in head.found[0].what


@pytest.mark.parametrize(
    "data, expected",
    [
        (padded(b"NXSB", 32), Kind.APFS),
        (padded(b"H+\x00\x04", 1024), Kind.HFS_PLUS),
        (padded(b"HX\x00\x05", 1024), Kind.HFS_PLUS),
        (padded(b"BD" + bytes(16) + b"\x01\x00\x00\x00\x10\x00", 1024), Kind.HFS),
        (padded(b"\xebv\x90ReFS\0\0\0\0"), Kind.REFS),
        (padded(b"hsqs"), Kind.SQUASHFS),
        (padded(b"\x10\x20\xf5\xf2", 1024), Kind.F2FS),
        (padded(b"LABELONE" + bytes(16) + b"LVM2 001", 512), Kind.LVM),
        (padded(b"\xfc\x4e\x2b\xa9\x01\0\0\0", 4096), Kind.MD_RAID),
        (padded(made.fat_sector()), Kind.FAT),
        (padded(made.bitlocker()), Kind.BITLOCKER),
        (padded(made.bitlocker(guid="3b4da89280dd0e4d9e4eb1e3284eaed8")), Kind.BITLOCKER),
        (padded(made.bitlocker(guid="00" * 16)), Kind.BITLOCKER),  # as Windows Vista wrote it
        (padded(made.bitlocker(b"MSWIN4.1", 424)), Kind.BITLOCKER_TO_GO),
    ],
)
def test_knows_what_is_written_by_hand(data: bytes, expected: Kind) -> None:
    assert kinds(data) == {expected}


def test_bitlocker_to_go_is_told_from_the_fat_that_stands_in_front_of_it() -> None:
    fat = bytearray(padded(made.fat_sector()))
    assert kinds(bytes(fat)) == {Kind.FAT}

    fat[424:440] = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
    assert kinds(bytes(fat)) == {Kind.BITLOCKER_TO_GO}


def test_all_that_was_found_is_told_and_not_the_first() -> None:
    both = bytearray(padded(made.fat_sector()))
    both[0x8001:0x8006] = b"CD001"

    assert kinds(bytes(both)) == {Kind.FAT, Kind.ISO9660}


@pytest.mark.parametrize("size_bytes", [4096, 1 << 16, 1 << 20])
def test_random_bytes_are_unknown_with_high_entropy_and_nothing_else(size_bytes: int) -> None:
    # As VeraCrypt leaves a medium: no byte of it tells what it is.
    for seed in range(20):
        assert kinds(Random(seed).randbytes(size_bytes)) == {Kind.HIGH_ENTROPY}


def test_compressed_data_may_look_random_too() -> None:
    assert kinds(gzip.compress(Random(1).randbytes(1 << 18))) == {Kind.HIGH_ENTROPY}


@pytest.mark.parametrize("data", [b"\x01".ljust(1 << 17, b"\0"), b"text and more " * 9000, os.urandom(100), b"\xff"])
def test_what_is_neither_known_nor_random_is_unknown(data: bytes) -> None:
    assert kinds(data) == {Kind.UNKNOWN}


@pytest.mark.parametrize("size_bytes", [1, 512, 1 << 16, 4 << 20])
def test_zeros_at_both_ends_are_empty(size_bytes: int) -> None:
    assert kinds(bytes(size_bytes)) == {Kind.EMPTY}


def test_a_byte_at_either_end_is_not_nothing() -> None:
    assert kinds(bytes((4 << 20) - 1) + b"\x01") == {Kind.UNKNOWN}


def test_says_what_it_did_not_look_at_of_an_empty_medium() -> None:
    data = bytes(1 << 20) + b"PATIENT" + bytes(3 << 20)
    head = read_head(of_bytes(data), len(data))

    assert head.kinds == {Kind.EMPTY}
    assert head.found[0].what == "the first 131072 bytes and the last 65536 are zero"


@given(st.binary(max_size=4096), st.integers(0, 0x12000))
def test_whatever_is_written_a_head_is_told_and_prints_back(data: bytes, at: int) -> None:
    written = padded(data, at)
    head = read_head(of_bytes(written), len(written))

    assert head.found
    assert Head.parse(head.json()) == head
    assert all(found.what.isprintable() for found in head.found)


@given(st.sampled_from([Kind.LUKS2, Kind.FAT, Kind.EXT, Kind.BITLOCKER]), st.integers(0, 4095), st.integers(1, 255))
def test_a_changed_byte_never_makes_two_things_of_one(kind: Kind, at: int, change: int) -> None:
    data = {
        Kind.LUKS2: made.luks2_bytes(),
        Kind.FAT: padded(made.fat_sector()),
        Kind.EXT: padded(_ext(), 1024),
        Kind.BITLOCKER: padded(made.bitlocker()),
    }[kind]
    changed = bytearray(data)
    changed[at] ^= change

    assert kinds(bytes(changed)) <= {kind, Kind.UNKNOWN, Kind.FAT}
    assert len(kinds(bytes(changed))) == 1


def _ext() -> bytes:
    superblock = bytearray(1024)
    superblock[0x18:0x1C], superblock[0x28:0x2C], superblock[0x38:0x3A] = bytes(4), b"\x00\x20\0\0", b"\x53\xef"
    return bytes(superblock)


def test_a_label_that_would_forge_a_line_is_made_fit() -> None:
    sector = bytearray(padded(made.fat_sector()))
    sector[43:54] = b"A\n\x1b[31m\x07\x9f \xff"

    what = read_head(of_bytes(bytes(sector)), len(sector)).found[0].what
    assert what.isprintable()
    assert "\ufffd" in what


def test_the_signatures_lie_within_what_is_read() -> None:
    assert all(at + len(magic) <= signatures.HEAD_BYTES for at, magic, _ in signatures._MAGICS)

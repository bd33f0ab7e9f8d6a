"""Whole disks judged for `only-encrypted`, and disks made to pass for encrypted."""

from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from edge_agent.media import survey
from edge_agent.media.head import Found, Head, Kind
from edge_agent.media.judge import StorageJudgement, StorageState, StorageVerdict, judge, unreadable
from edge_agent.media.survey import KernelPartition, Survey
from tests.edge_agent.media import made
from tests.edge_agent.media.made import DATA_AT, MIB, SECTOR, image, luks, luks2_bytes, mbr, surveyed, surveyed_bytes

KIB_SECTORS = MIB // SECTOR


def judged(data: bytes) -> StorageJudgement:
    return judge(surveyed_bytes(data))


def disk(*volumes: bytes, size_mib: int = 4, gap: bytes = b"") -> bytes:
    """Return an MBR disk with these partitions of 1 MiB each from the first MiB on, and `gap` behind them."""
    table = mbr(*((0x83, (1 + n) * KIB_SECTORS, KIB_SECTORS) for n in range(len(volumes))))
    body = b"".join(volume.ljust(MIB, b"\0") for volume in volumes)
    return (table.ljust(MIB, b"\0") + body + gap).ljust(size_mib * MIB, b"\0")


ENCRYPTED, CLEAR = luks2_bytes(), made.fat_sector()


def test_a_disk_that_is_luks2_as_a_whole_is_allowed(tmp_path: Path) -> None:
    found = judge(surveyed(luks(tmp_path, 20 * MIB)))

    assert (found.state, found.verdict) == (StorageState.LUKS2, StorageVerdict.ALLOWED)
    assert found.reason == "the whole disk is LUKS2, aes-xts-plain64, key of 512 bit"
    assert found.evidence == (
        "disk: LUKS2 at 0: header, its checksum holds",
        "disk: LUKS2 at 16384: second header, its checksum holds",
    )


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_disk_whose_every_partition_is_luks2_is_allowed(tmp_path: Path, label: str) -> None:
    path = image(tmp_path, 44 * MIB)
    made.run(f"sfdisk -q {path}", f"label: {label}\n,20M\n,20M\n".encode())
    for at in (1, 21):
        made.put(path, at * MIB, luks(tmp_path, 20 * MIB).read_bytes())

    found = judge(surveyed(path))
    assert (found.state, found.reason) == (StorageState.LUKS2, "each of 2 partitions is LUKS2")


@pytest.mark.parametrize(
    "data, state, reason",
    [
        (CLEAR.ljust(MIB, b"\0"), StorageState.IN_CLEAR, "the whole disk holds FAT in clear"),
        (made.bitlocker().ljust(MIB, b"\0"), StorageState.BITLOCKER, "the whole disk is BitLocker, not LUKS2"),
        (made.bitlocker(b"MSWIN4.1", 424).ljust(MIB, b"\0"), StorageState.BITLOCKER_TO_GO, "is BitLocker To Go"),
        (Random(3).randbytes(MIB), StorageState.HIGH_ENTROPY, "is unknown, high entropy"),
        (bytes(MIB), StorageState.EMPTY, "the whole disk is empty"),
        (b"?" * MIB, StorageState.UNKNOWN, "the whole disk is unknown"),
        (mbr((0x05, 1, 100)).ljust(SECTOR, b"\0") + mbr() + bytes(MIB), StorageState.EMPTY, "no partition in it"),
        (disk(ENCRYPTED, CLEAR), StorageState.PARTLY, "partition 2 holds FAT in clear"),
        (disk(ENCRYPTED, b""), StorageState.PARTLY, "partition 2 is empty"),
        (disk(CLEAR, CLEAR), StorageState.IN_CLEAR, "partition 1 holds FAT in clear"),
        (disk(mbr((0x0C, 2048, 4096))), StorageState.UNKNOWN, "partition 1 is unknown"),
        (disk(ENCRYPTED, gap=b"PATIENT", size_mib=8), StorageState.OUTSIDE, "lies at 2097152, in no partition"),
        (disk(ENCRYPTED, gap=bytes(6 * MIB - 1) + b"P", size_mib=8), StorageState.OUTSIDE, "in no partition"),
        (luks2_bytes(padding=bytes(512) + b"NXSB"), StorageState.LUKS2, "is LUKS2"),
    ],
)
def test_anything_else_has_a_name_of_its_own(data: bytes, state: StorageState, reason: str) -> None:
    found = judged(data)

    assert (found.state, reason in found.reason) == (state, True), found
    assert (found.verdict is StorageVerdict.ALLOWED) == (state is StorageState.LUKS2)
    assert found.evidence


def test_luks1_is_named_and_refused(tmp_path: Path) -> None:
    found = judge(surveyed(luks(tmp_path, 8 * MIB, "luks1")))

    assert (found.state, found.verdict) == (StorageState.LUKS1, StorageVerdict.REFUSED)


def test_a_luks2_header_that_encrypts_nothing_is_refused() -> None:
    members = made.members()
    members["segments"]["0"]["encryption"] = "cipher_null-ecb"

    found = judged(luks2_bytes(members))
    assert found.state is StorageState.LUKS2_WEAK
    assert found.reason == "the whole disk is LUKS2 and does not encrypt all: cipher cipher_null-ecb"


@pytest.mark.parametrize("at", [40, 4096 + 20])
def test_a_luks2_header_that_is_damaged_is_refused_also_where_the_second_one_is_whole(at: int) -> None:
    data = bytearray(luks2_bytes())
    data[at] ^= 0xFF

    found = judged(bytes(data))
    assert (found.state, found.verdict) == (StorageState.LUKS2_DAMAGED, StorageVerdict.REFUSED)


def with_mbr_inside(*entries: tuple[int, int, int]) -> bytes:
    """Return a LUKS2 medium whose checksum holds and whose sector 0 is a partition table as well.

    The field of the checksum has 64 bytes, of which SHA-256 takes 32: room for the last two entries of a table.
    """
    data = bytearray(luks2_bytes(size_bytes=4 * MIB))
    for copy in (0, made.HEADER_BYTES):
        data[copy + 480 : copy + 512] = mbr((0, 0, 0), (0, 0, 0), *entries)[480:]
    return bytes(data)


def test_a_luks2_header_with_a_partition_table_inside_is_refused() -> None:
    data = bytearray(with_mbr_inside((0, 0, 0), (0x0C, 2 * KIB_SECTORS, KIB_SECTORS)))
    data[2 * MIB : 2 * MIB + 512] = CLEAR
    # What stands where the first two entries would be is the checksum; the kernel takes the table if their flags fit.
    found = judged(bytes(_with_flags_that_fit(data)))

    assert (found.state, found.verdict) == (StorageState.CONTRADICTORY, StorageVerdict.REFUSED)
    assert found.reason == "the whole disk is LUKS2 and MBR at once"


def _with_flags_that_fit(data: bytearray) -> bytearray:
    """Change the salt, and so the checksum, until the flags of the first two entries are those of a table."""
    header = bytearray(data[: made.HEADER_BYTES])
    kept = header[480:512]
    for counter in range(1 << 22):
        header[104:108] = counter.to_bytes(4, "big")
        header[448:512] = bytes(64)
        digest = sha256(header).digest()
        # Flags stand at 446 (zero already), 462, 478 and 494; the checksum covers 448 to 480.
        if digest[14] in (0, 0x80) and digest[30] in (0, 0x80):
            header[448:480], header[480:512] = digest, kept
            return bytearray(header) + data[made.HEADER_BYTES :]
    raise AssertionError("no salt fits")


def test_a_partition_that_only_the_kernel_sees_is_refused() -> None:
    # As of a table of another system, which the kernel knows and this does not.
    found = judge(surveyed_bytes(luks2_bytes(size_bytes=4 * MIB), (KernelPartition(1, 2 * MIB, MIB),)))

    assert (found.state, found.verdict) == (StorageState.CONTRADICTORY, StorageVerdict.REFUSED)
    assert found.reason == "the kernel has a partition 1 from 2097152 that the table, as it is read here, has not"


def test_the_kernels_partitions_may_be_those_of_the_table() -> None:
    found = judge(surveyed_bytes(disk(ENCRYPTED), (KernelPartition(1, MIB, MIB),)))

    assert found.state is StorageState.LUKS2


@pytest.mark.parametrize("other", [b"CD001", b"BEA01"])
def test_a_luks2_medium_that_is_a_disc_as_well_is_refused(other: bytes) -> None:
    data = bytearray(luks2_bytes(size_bytes=MIB))
    data[0x8001:0x8006] = other
    data[0x8801:0x8806] = b"NSR02"

    assert judged(bytes(data)).state is StorageState.CONTRADICTORY


def test_data_in_clear_behind_a_luks2_header_is_refused() -> None:
    data = luks2_bytes() + CLEAR.ljust(MIB, b"\0")
    found = judged(data)

    assert found.state is StorageState.CONTRADICTORY
    assert found.reason == "the whole disk is FAT and LUKS2 at once"
    assert f"disk: FAT at {DATA_AT + 11}: in clear within LUKS2 data: " in found.evidence[-1]


def test_what_policy_lists_is_asserted_and_never_called_measured() -> None:
    looked_at = surveyed_bytes(CLEAR.ljust(MIB, b"\0"))
    found = judge(looked_at, asserted=True)

    assert (found.state, found.verdict) == (StorageState.ASSERTED, StorageVerdict.ALLOWED)
    assert "asserted by list, not measured" in found.reason
    assert found.evidence == judge(looked_at).evidence
    assert judge(looked_at).verdict is StorageVerdict.REFUSED


def test_what_cannot_be_read_is_not_evaluated() -> None:
    assert unreadable("it did not answer within 5 s").verdict is StorageVerdict.NOT_EVALUATED
    assert judge(made.with_size(surveyed_bytes(bytes(SECTOR)), 0)).verdict is StorageVerdict.NOT_EVALUATED


def test_a_logical_partition_that_is_in_clear_is_found(tmp_path: Path) -> None:
    path = image(tmp_path, 24 * MIB)
    made.run(f"sfdisk -q {path}", b"label: dos\n,2M\n,2M\n,1M\n,12M,E\n,4M\n,4M\n")
    for at, data in ((1, ENCRYPTED), (3, ENCRYPTED), (5, ENCRYPTED), (7, ENCRYPTED), (12, CLEAR)):
        made.put(path, at * MIB, data)

    seen = surveyed(path)
    assert [v.number for v in seen.volumes] == [1, 2, 3, 5, 6]
    assert judge(seen).state is StorageState.PARTLY


def test_a_survey_prints_back_and_says_what_it_did_not_look_at() -> None:
    data = disk(ENCRYPTED, size_mib=200)
    seen = surveyed_bytes(data)

    assert Survey.parse(seen.json()) == seen
    assert seen.notes == ("the gap from 2097152 to 209715200 was looked at in 64 places only",)
    assert judge(seen).state is StorageState.LUKS2


def test_a_gap_of_alignment_is_not_looked_at() -> None:
    data = bytearray(disk(ENCRYPTED))
    data[SECTOR : 2 * SECTOR] = b"G" * SECTOR  # a boot loader, say

    assert survey.ALIGNMENT_BYTES == MIB
    assert judged(bytes(data)).state is StorageState.LUKS2


def test_evidence_of_a_disk_of_many_partitions_is_bounded_and_counts_the_rest(tmp_path: Path) -> None:
    path = image(tmp_path, 60 * MIB)
    made.run(f"sfdisk -q {path}", b"label: gpt\n" + b",1M\n" * 50)

    found = judge(surveyed(path))
    assert len(found.evidence) == 16
    assert found.evidence[-1] == "and 36 more"
    assert found.state is StorageState.EMPTY


@pytest.mark.parametrize("kind", Kind)
def test_nothing_but_a_luks2_header_that_was_read_is_allowed(kind: Kind) -> None:
    found = judge(Survey(4096, Head((Found(kind, 0, ""),))))

    assert found.verdict is StorageVerdict.REFUSED

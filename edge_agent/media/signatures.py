"""Signatures of file systems, of BitLocker and of what carries volumes, each with what makes it more than chance.

    BitLocker        -FVE-FS- at 3; its GUID at 160, except in the form that Windows Vista wrote
    BitLocker To Go  MSWIN4.1 at 3 and the GUID at 424: a FAT of readers' programs in front of the encrypted volume
    FAT              what the kernel's vfat asks of a boot sector before it mounts it
    others           their magic number where their format has it, checked further where it is short

A file system that is not in this list is unknown, never encrypted.
"""

from collections.abc import Iterator
from struct import Struct

from edge_agent.media.head import Found, Kind, ReadAt
from shared.devices.printable import printable

HEAD_BYTES = 0x20000  # as far as any signature here lies, and what one read brings
# 4967d63b-2e29-4ad8-8399-f6a339e3d001 and, for used space only, 92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8
_FVE_GUIDS = (
    bytes.fromhex("3bd66749292ed84a8399f6a339e3d001"),
    bytes.fromhex("3b4da89280dd0e4d9e4eb1e3284eaed8"),
)
_FVE_AT, _TO_GO_AT = 160, 424
_U16, _U32, _BE16, _BE32 = Struct("<H"), Struct("<I"), Struct(">H"), Struct(">I")

# (offset, magic, what it is)
_MAGICS = (
    (0, b"XFSB", Kind.XFS),
    (0, b"hsqs", Kind.SQUASHFS),
    (3, b"EXFAT   ", Kind.EXFAT),
    (3, b"NTFS    ", Kind.NTFS),
    (3, b"ReFS\0\0\0\0", Kind.REFS),
    (32, b"NXSB", Kind.APFS),
    (1024, b"\x10\x20\xf5\xf2", Kind.F2FS),
    (1024, b"H+\x00\x04", Kind.HFS_PLUS),
    (1024, b"HX\x00\x05", Kind.HFS_PLUS),
    (0xFF6, b"SWAPSPACE2", Kind.SWAP),
    (0x10040, b"_BHRfS_M", Kind.BTRFS),
    (0x8001, b"CD001", Kind.ISO9660),
)
_LVM_SECTORS = 4
_UDF_FROM, _UDF_STEPS, _UDF_NAMES = 0x8000, (0x800, 0x1000), (b"NSR02", b"NSR03")
_MD_MAGIC, _MD_AT = b"\xfc\x4e\x2b\xa9", (0, 0x1000)


def find(read_at: ReadAt) -> list[Found]:
    """Return every signature in the first HEAD_BYTES."""
    data = read_at(0, HEAD_BYTES)
    found = [Found(kind, at, _shown(magic)) for at, magic, kind in _MAGICS if data[at : at + len(magic)] == magic]
    for look in (_bitlocker, _ext, _hfs, _udf, _lvm, _md_raid):
        found += look(data)
    # To Go is a FAT in front, and NTFS and its kin have a boot sector of the same form: each is itself, and once.
    if not {each.kind for each in found} & {Kind.BITLOCKER, Kind.BITLOCKER_TO_GO, Kind.NTFS, Kind.EXFAT, Kind.REFS}:
        found += _fat(data)
    return found


def _bitlocker(data: bytes) -> Iterator[Found]:
    if data[3:11] == b"-FVE-FS-":
        how = (
            "with its GUID at 160" if _has_guid(data, _FVE_AT) else "in the form of Windows Vista, or without its GUID"
        )
        yield Found(Kind.BITLOCKER, 3, f"-FVE-FS- {how}")
    elif data[3:11] == b"MSWIN4.1" and _has_guid(data, _TO_GO_AT):
        yield Found(Kind.BITLOCKER_TO_GO, 3, f"MSWIN4.1 with the GUID of BitLocker at {_TO_GO_AT}")


def _has_guid(data: bytes, at: int) -> bool:
    return data[at : at + 16] in _FVE_GUIDS


def _fat(data: bytes) -> Iterator[Found]:
    if len(data) < 512:
        return
    (sector,), cluster, (reserved,), fats, media = (
        _U16.unpack_from(data, 11), data[13], _U16.unpack_from(data, 14), data[16], data[21],
    )  # fmt: skip
    if sector in (512, 1024, 2048, 4096) and _is_power_of_2(cluster) and reserved and fats and _is_fat_media(media):
        label = data[71:82] if data[82:87] == b"FAT32" else data[43:54]
        yield Found(Kind.FAT, 11, f"boot sector of a FAT, label {_shown(label)}")


def _is_fat_media(media: int) -> bool:
    return media == 0xF0 or media >= 0xF8


def _is_power_of_2(number: int) -> bool:
    return number > 0 and not number & (number - 1)


def _ext(data: bytes) -> Iterator[Found]:
    if data[1080:1082] != b"\x53\xef":
        return
    (block_size,), (revision,), (per_group,), (features,) = (
        _U32.unpack_from(data, 1024 + at) for at in (0x18, 0x4C, 0x28, 0x60)
    )
    if block_size <= 6 and revision <= 1 and per_group:
        kind = "ext4" if features & 0x40 else "ext2 or ext3"
        yield Found(Kind.EXT, 1080, f"{kind}, label {_shown(data[1024 + 0x78 : 1024 + 0x88])}")


def _hfs(data: bytes) -> Iterator[Found]:
    if data[1024:1026] == b"BD":
        (blocks,), (size,) = _BE16.unpack_from(data, 1024 + 18), _BE32.unpack_from(data, 1024 + 20)
        if blocks and size and size % 512 == 0:
            yield Found(Kind.HFS, 1024, "BD")


def _udf(data: bytes) -> Iterator[Found]:
    for step in _UDF_STEPS:
        for at in range(_UDF_FROM, _UDF_FROM + 8 * step, step):
            if data[at + 1 : at + 6] in _UDF_NAMES:
                yield Found(Kind.UDF, at + 1, _shown(data[at + 1 : at + 6]))
                return


def _lvm(data: bytes) -> Iterator[Found]:
    for at in range(0, _LVM_SECTORS * 512, 512):
        if data[at : at + 8] == b"LABELONE" and data[at + 24 : at + 29] == b"LVM2 ":
            yield Found(Kind.LVM, at, "LABELONE, LVM2")


def _md_raid(data: bytes) -> Iterator[Found]:
    for at in _MD_AT:
        if data[at : at + 8] == _MD_MAGIC + b"\x01\0\0\0":
            yield Found(Kind.MD_RAID, at, "superblock of version 1")


def _shown(text: bytes) -> str:
    return repr(printable(text.decode("latin-1").rstrip(" \0"), 32))

"""The one form of ZIP file that an archive has, so that no byte of it says nothing.

    archive = { local header, name, content } for each file, then the central directory and its end (APPNOTE 6.3.10)

Every file is stored as it is, without extra fields, comments, dates or anything between. A reader makes the headers
again from names, sizes and CRC-32 and compares: what differs anywhere is refused, and nothing is ever inflated.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from zlib import crc32

from shared.errors import IntegrityFailure, Malformed

SIGNATURE = b"PK\x03\x04"
MAX_FILES = 65_000
MAX_BYTES = 256 << 20
_PIECE_BYTES = 1 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_STORED, _NO_FLAGS, _MIDNIGHT, _1980, _VERSION, _UNIX = 0, 0, 0, 0x21, 20, 3 << 8 | 20
_ATTRIBUTES = 0o100600 << 16
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,79})(?:/[a-z0-9][A-Za-z0-9._-]{0,79})?")


class ContainerAltered(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the archive is not as it was made: {why}")
        self.why = why


@dataclass(frozen=True)
class Member:
    """A file in an archive: where its content begins, how long it is, and its CRC-32."""

    name: str
    start: int
    size_bytes: int
    crc: int

    @property
    def _header_at(self) -> int:
        return self.start - _LOCAL.size - len(self.name)

    def local(self) -> bytes:
        return (
            _LOCAL.pack(
                SIGNATURE, _VERSION, _NO_FLAGS, _STORED, _MIDNIGHT, _1980,
                self.crc, self.size_bytes, self.size_bytes, len(self.name), 0,
            )
            + self.name.encode()
        )  # fmt: skip

    def central(self) -> bytes:
        return (
            _CENTRAL.pack(
                b"PK\x01\x02", _UNIX, _VERSION, _NO_FLAGS, _STORED, _MIDNIGHT, _1980,
                self.crc, self.size_bytes, self.size_bytes, len(self.name), 0, 0, 0, 0, _ATTRIBUTES, self._header_at,
            )
            + self.name.encode()
        )  # fmt: skip


class ArchiveWriter:
    """Writes files one after another, and what ends the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self._members, self._names = list[Member](), set[str]()

    def add(self, name: str, data: bytes) -> None:
        """Raises Malformed: no name for a file of an archive, one that is there, or it grows too large."""
        start = self._at + _LOCAL.size + len(name)
        if not _NAME.fullmatch(name) or name in self._names:
            raise Malformed("archive", f"{name[:80]!r} is no name in one")
        if len(self._members) >= MAX_FILES or start + len(data) > MAX_BYTES:
            raise Malformed("archive", "it grows too large; ask for less")
        member = Member(name, start, len(data), crc32(data))
        self._file.write(member.local() + data)
        self._members.append(member)
        self._names.add(name)
        self._at = start + len(data)

    def end(self) -> None:
        self._file.write(_directory(self._members, self._at))


def read_members(file: BinaryIO) -> tuple[Member, ...]:
    """Return what is in an archive once every byte that is not content is what it has to be, and each CRC-32 too.

    Raises Malformed: no ZIP file at all; ContainerAltered.
    """
    file.seek(0)
    members, at = dict[str, Member](), 0
    while (head := file.read(_LOCAL.size))[:4] == SIGNATURE and len(head) == _LOCAL.size:
        member = _member(file, head, at)
        if member.name in members or len(members) >= MAX_FILES:
            raise ContainerAltered(f"{member.name} stands in it twice, or there are too many files")
        members[member.name] = member
        at = member.start + member.size_bytes
        if at > MAX_BYTES or _crc(file, member) != member.crc:
            raise ContainerAltered(f"{member.name} is cut off, or not what was put in")
    if not members:
        raise Malformed("archive", "it does not begin as a ZIP file")
    expected = _directory(tuple(members.values()), at)
    if head + file.read(len(expected)) != expected:
        raise ContainerAltered("its directory is another one, or something stands before or behind it")
    return tuple(members.values())


def content(file: BinaryIO, member: Member, most: int) -> bytes:
    """Return a file's bytes. Raises ContainerAltered: more than `most`."""
    if member.size_bytes > most:
        raise ContainerAltered(f"{member.name} is larger than {most} bytes")
    file.seek(member.start)
    return file.read(member.size_bytes)


def pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.start)
    left = member.size_bytes
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _member(file: BinaryIO, head: bytes, at: int) -> Member:
    *_, crc, size, _, name_bytes, _ = _LOCAL.unpack(head)
    name = file.read(min(name_bytes, 255)).decode("ascii", errors="replace")
    member = Member(name, at + _LOCAL.size + len(name), size, crc)
    if not _NAME.fullmatch(name) or member.local() != head + name.encode():
        raise ContainerAltered(f"what stands before {name[:80]!r} is not what has to")
    return member


def _crc(file: BinaryIO, member: Member) -> int:
    found, size = 0, 0
    for piece in pieces(file, member):
        found, size = crc32(piece, found), size + len(piece)
    return found if size == member.size_bytes else ~member.crc


def _directory(members: Sequence[Member], at: int) -> bytes:
    directory = b"".join(member.central() for member in members)
    count = len(members)
    return directory + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)

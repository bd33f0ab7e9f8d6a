"""Finds the dataset in a DICOM Part 10 file (PS3.10 section 7.1), and nothing more.

    file    = preamble (128) || "DICM" || group 0002 || dataset
    group   = elements in Explicit VR Little Endian, the first (0002,0000) with the number of bytes that follow it
    element = u16 group || u16 element || VR (2) || u16 length || value
            | u16 group || u16 element || VR (2) || 0x0000 || u32 length || value      for the VRs of _LONG

The digest of a capture covers the dataset only, because whoever forwards an image may rewrite group 0002.
"""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from shared.errors import Malformed
from shared.identity import UID_PATTERN

_PREAMBLE_BYTES = 128
_SHORT = struct.Struct("<HH2sH")
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_FIRST_BYTES = _SHORT.size + 4
_MAX_META_BYTES = 1 << 20
_TRANSFER_SYNTAX = 0x0010


class Source(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class SeekableSource(Source, Protocol):
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


@dataclass(frozen=True)
class Meta:
    """`dataset_offset` is where the dataset begins in the file."""

    transfer_syntax: str
    dataset_offset: int


@dataclass(frozen=True)
class Split:
    """Where the dataset begins in a file, and what is before it; a dataset alone names no transfer syntax."""

    dataset_offset: int
    transfer_syntax: str | None
    form: str


def split(source: SeekableSource) -> Split:
    """Find the dataset in whatever an archive made of a file. Raises Malformed.

    Taken as well: no preamble, no group length or a wrong one, elements in any order. What is read too kindly here
    cannot make another dataset pass: its digest is what proves it.
    """
    source.seek(0)
    start = source.read(_MAX_META_BYTES)
    offset = _PREAMBLE_BYTES + 4 if start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM" else 0
    if offset == 0 and not _begins_group_2(start, 0):
        return Split(0, None, "neither DICM nor group 0002, so taken as a data set alone")
    form = "a Part 10 file" if offset else "group 0002 and a dataset, without preamble"
    stated = _stated_end(start, offset)
    if stated is not None:
        with suppress(Malformed):
            return Split(stated, _named_syntax(start[:stated], offset), form)
    end = offset
    while _begins_group_2(start, end):
        end = _element(start, end)[2]
    return Split(end, _named_syntax(start[:end], offset), form)


def _stated_end(start: bytes, offset: int) -> int | None:
    """Return where group 0002 ends by its own word, None where it has none or says what cannot be."""
    element, value, after = _element(start, offset)
    if element != 0 or len(value) != 4:
        return None
    end = after + int.from_bytes(value, "little")
    return end if end <= len(start) else None


def _named_syntax(group: bytes, offset: int) -> str:
    found = ""
    while offset < len(group):
        element, value, offset = _element(group, offset)
        if element == _TRANSFER_SYNTAX:
            found = value.decode("latin-1").rstrip("\x00 ")
    return _checked_syntax(found)


def _begins_group_2(data: bytes, offset: int) -> bool:
    vr = data[offset + 4 : offset + 6]
    return data[offset : offset + 2] == b"\x02\x00" and vr.isalpha() and vr.isupper()


def read_meta(source: Source) -> Meta:
    """Read up to the first byte of the dataset. Raises Malformed."""
    start = source.read(_PREAMBLE_BYTES + 4)
    if start[_PREAMBLE_BYTES:] != b"DICM":
        raise Malformed("Part 10 file", "no DICM after its preamble; give --bare if it is a dataset alone")
    first = source.read(_FIRST_BYTES)
    if len(first) < _FIRST_BYTES or _SHORT.unpack_from(first) != (0x0002, 0x0000, b"UL", 4):
        raise Malformed("Part 10 file", "group 0002 does not begin with its length")
    group_bytes = int.from_bytes(first[_SHORT.size :], "little")
    if group_bytes > _MAX_META_BYTES:
        raise Malformed("Part 10 file", f"group 0002 is larger than {_MAX_META_BYTES} bytes")
    group = source.read(group_bytes)
    if len(group) < group_bytes:
        raise Malformed("Part 10 file", "cut off within group 0002")
    return Meta(_transfer_syntax(group), len(start) + len(first) + group_bytes)


def _transfer_syntax(group: bytes) -> str:
    """Return (0002,0010) once every element of the group was walked over and filled it exactly."""
    found, offset, last = "", 0, 0
    while offset < len(group):
        element, value, offset = _element(group, offset)
        if element <= last:
            raise Malformed("Part 10 file", "elements of group 0002 are not in rising order")
        last = element
        if element == _TRANSFER_SYNTAX:
            found = value.decode("latin-1").removesuffix("\x00")
    return _checked_syntax(found)


def _checked_syntax(found: str) -> str:
    if not re.fullmatch(UID_PATTERN, found):
        raise Malformed("Part 10 file", "group 0002 names no transfer syntax")
    return found


def _element(group: bytes, offset: int) -> tuple[int, bytes, int]:
    if len(group) - offset < _SHORT.size:
        raise Malformed("Part 10 file", "an element of group 0002 is cut off")
    number, element, vr, size = _SHORT.unpack_from(group, offset)
    offset += _SHORT.size
    if number != 0x0002 or not (vr.isalpha() and vr.isupper()):
        raise Malformed("Part 10 file", "the length of group 0002 does not fit its elements")
    if vr in _LONG:
        if size != 0 or len(group) - offset < 4:
            raise Malformed("Part 10 file", "an element of group 0002 has no proper length")
        size = int.from_bytes(group[offset : offset + 4], "little")
        offset += 4
    if size > len(group) - offset:
        raise Malformed("Part 10 file", "an element of group 0002 is longer than the group")
    return element, group[offset : offset + size], offset + size

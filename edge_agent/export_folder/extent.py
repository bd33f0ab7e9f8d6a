"""Judges from the headers of its elements whether a data set reaches its own end. No value is read.

The headers are hostile bytes. Where they make no sense, or are too many, the answer is that nobody can tell, and the
file is taken as whole: waiting would not make it any clearer.
"""

from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import TypeAlias

from edge_agent.export_folder.part10 import LONG_VRS

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns up to so many bytes (second) from an offset (first); fewer only at the end of the file."""

MAX_ELEMENTS = 100_000
_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# PS3.5 A.5 to A.7: deflated as a whole, so there are no headers to see.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_UNDEFINED = 0xFFFFFFFF


class Extent(Enum):
    WHOLE = "its last element ends where the file ends"
    CUT = "an element, or a sequence, is longer than what is there"
    UNKNOWN = "cannot be told"


def judge(read_at: ReadAt, start: int, end: int, transfer_syntax: str) -> Extent:
    """Walk the elements between the offsets `start` and `end` (PS3.5 section 7)."""
    if transfer_syntax in _DEFLATED:
        return Extent.UNKNOWN
    order = ">" if transfer_syntax == _EXPLICIT_BIG_ENDIAN else "<"
    walk = _Walk(order, implicit=transfer_syntax == _IMPLICIT_LITTLE_ENDIAN)
    position = start
    for _ in range(MAX_ELEMENTS):
        if position == end and position > start:
            return Extent.CUT if walk.depth else Extent.WHOLE
        header = read_at(position, 12) if position < end else b""
        length = walk.step(header)
        if isinstance(length, Extent):
            return length
        position += length
    return Extent.UNKNOWN


class _Walk:
    """`depth` counts the sequences, items and fragments of undefined length that are open."""

    def __init__(self, order: str, *, implicit: bool) -> None:
        self._tag, self._u32, self._u16 = Struct(f"{order}HH"), Struct(f"{order}I"), Struct(f"{order}H")
        self._implicit = implicit
        self.depth = 0

    def step(self, header: bytes) -> int | Extent:
        """Return how far it is from this header to the next one, or what the walk ends with."""
        if len(header) < 8:
            return Extent.CUT
        group, element = self._tag.unpack_from(header)
        if group == 0xFFFE:
            return self._delimiter(element, self._u32.unpack_from(header, 4)[0])
        if self._implicit:
            return self._sized(8, self._u32.unpack_from(header, 4)[0])
        vr = header[4:6]
        if not (vr.isalpha() and vr.isupper()):
            return Extent.UNKNOWN
        if vr not in LONG_VRS:
            return 8 + int(self._u16.unpack_from(header, 6)[0])
        if len(header) < 12:
            return Extent.CUT
        length = int(self._u32.unpack_from(header, 8)[0])
        # PS3.5 section 6.2.2: what is inside is in implicit VR.
        return Extent.UNKNOWN if vr == b"UN" and length == _UNDEFINED else self._sized(12, length)

    def _sized(self, header_bytes: int, length: int) -> int:
        if length == _UNDEFINED:
            self.depth += 1
            return header_bytes
        return header_bytes + length

    def _delimiter(self, element: int, length: int) -> int | Extent:
        if element == _ITEM:
            return self._sized(8, length)
        if element not in (_ITEM_END, _SEQUENCE_END) or not self.depth:
            return Extent.UNKNOWN
        self.depth -= 1
        return 8

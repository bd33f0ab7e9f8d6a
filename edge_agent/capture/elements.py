"""Reads chosen top-level elements from the encoded bytes of a dataset while they pass, up to the last one wanted.

    element  = tag || VR || u16 length || value                    a VR of PS3.5 table 7.1-2
             | tag || VR || u16 reserved || u32 length || value    any other VR
             | tag || u32 length || value                          implicit VR
    sequence = item*, ended by its length, or where that is FFFFFFFF by a delimiter: PS3.5 section 7.5

Never decodes pixels or re-encodes, holds one header or one wanted value, and walks through nested sequences without
nesting itself. The bytes are hostile, and may end anywhere: what was read says how far it was understood, and nothing
behind that point is taken for absent.
"""

import zlib
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct

from pydicom.datadict import dictionary_has_tag

MAX_BYTES = 8 << 20
"""No more of a dataset is looked at, inflated or not: a deflate bomb is not followed further."""
# What the sealed index takes of an attribute; no character set uses more bytes for one character than eight.
MAX_CHARS = 324
MAX_VALUE_BYTES = 8 * MAX_CHARS

CHARACTER_SET = 0x00080005
_BEHIND_EVERY_TAG = 1 << 32
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# PS3.5 A.5, and JPIP Referenced Deflate of A.6 and A.7: the dataset as a whole is deflated.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
# At a time. A block that cannot be inflated gives nothing; which bytes are in it must not depend on how they came.
_DEFLATED_BYTES, _INFLATED_BYTES = 4096, 64 << 10

_HEADER_BYTES, _LENGTH_AT, _LENGTH_BYTES = 8, 4, 4
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITER_GROUP = 0xFFFE
_REPEATING_GROUPS = (0x5000, 0x6000)  # curves and overlays, with the even groups up to 501E and 601E: PS3.5 7.6
_SHORT_VRS = frozenset(
    (
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
        b"ST", b"TM", b"UI", b"UL", b"US",
    )
)  # fmt: skip
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)  # fmt: skip
_MAY_BE_UNDEFINED = (b"OB", b"OW", b"SQ", b"UN")  # and then hold items, or the fragments of encapsulated pixel data


@dataclass(frozen=True, slots=True)
class Element:
    vr: str  # "": implicit
    value: bytes


@dataclass
class Elements:
    """What was read. Every element with a tag under `below` has been seen: one in neither collection is not there."""

    found: dict[int, Element] = field(default_factory=dict)
    spoiled: set[int] = field(default_factory=set)  # there, and too long or a sequence
    below: int = 0

    def value(self, tag: int) -> bytes:
        element = self.found.get(tag)
        return b"" if element is None else element.value


class ElementReader:
    """Fed with a dataset in pieces of any size. It is `done` once nothing that comes can tell it more.

    The transfer syntax says whether the bytes are big endian or deflated. Whether they are of explicit VR, their first
    element shows: senders get that wrong, and private transfer syntaxes do not tell.
    """

    def __init__(self, transfer_syntax: str, wanted: Collection[int]) -> None:
        self.elements = Elements()
        self.done = False
        self._wanted, self._last = {*wanted, CHARACTER_SET}, max(wanted)
        order = ">" if transfer_syntax == _EXPLICIT_BIG_ENDIAN else "<"
        self._tag, self._u16, self._u32 = Struct(order + "HH"), Struct(order + "H"), Struct(order + "I")
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if transfer_syntax in _DEFLATED else None
        self._deflated = bytearray()
        self._left_bytes, self._explicit = MAX_BYTES, False
        self._gathered, self._to_skip, self._between = bytearray(), 0, False
        self._steps = self._top_level()
        self._due = next(self._steps)

    def update(self, data: memoryview) -> None:
        if self._inflate is None:
            self._take(data)
            return
        while data and not self.done:
            taken = data[: _DEFLATED_BYTES - len(self._deflated)]
            self._deflated += taken
            data = data[len(taken) :]
            if len(self._deflated) == _DEFLATED_BYTES:
                self._take_inflated(self._inflate)

    def finish(self) -> Elements:
        """Return what was read; nothing comes any more."""
        if self._inflate is not None:
            self._take_inflated(self._inflate)
        whole = self._between and not self._gathered and not self._to_skip
        if not self.done and whole and (self._inflate is None or self._inflate.eof):
            self.elements.below = _BEHIND_EVERY_TAG
        self.done = True
        return self.elements

    def _take_inflated(self, inflate: "zlib._Decompress") -> None:
        left = bytes(self._deflated)
        self._deflated.clear()
        more = True
        while more and not (self.done or inflate.eof):
            try:
                inflated = inflate.decompress(left, _INFLATED_BYTES)
            except zlib.error:
                self.done = True
                return
            left = inflate.unconsumed_tail
            more = bool(left) or len(inflated) == _INFLATED_BYTES
            self._take(memoryview(inflated))

    def _take(self, data: memoryview) -> None:
        data = data[: self._left_bytes]
        self._left_bytes -= len(data)
        position, end = 0, len(data)
        while position < end and not self.done:
            if self._to_skip:
                passed = min(self._to_skip, end - position)
                self._to_skip -= passed
                position += passed
                continue
            taken = data[position : position + self._due - len(self._gathered)]
            position += len(taken)
            if not self._gathered and len(taken) == self._due:
                self._step(bytes(taken))
                continue
            self._gathered += taken
            if len(self._gathered) == self._due:
                gathered = bytes(self._gathered)
                self._gathered.clear()
                self._step(gathered)
        if not self._left_bytes:
            self.done = True

    def _step(self, data: bytes) -> None:
        try:
            self._due = self._steps.send(data)
        except StopIteration:
            self.done = True

    # Each of these yields how many bytes it needs next, at least one, and is sent them, once those of `_to_skip` have
    # passed.

    def _top_level(self) -> Generator[int, bytes, None]:
        """Return behind the last element that is wanted, or where the bytes are not understood."""
        elements, previous = self.elements, -1
        while True:
            self._between = True
            header = yield _HEADER_BYTES
            self._between = False
            if previous < 0:
                self._explicit = _is_vr(header[4:6])
            tag = self._tag_of(header)
            vr, length = yield from self._vr_and_length(header)
            if length is None or tag <= previous or tag >> 16 == _DELIMITER_GROUP:
                return
            previous = tag
            # Behind a wrong length stands anything, mostly of a high tag, which must not pass for the end.
            if _is_usual(tag):
                elements.below = tag  # all elements before it have been there whole
                if tag > self._last:
                    return
            if tag in self._wanted and (length > MAX_VALUE_BYTES or vr == "SQ"):
                if tag == CHARACTER_SET:
                    return
                elements.spoiled.add(tag)
            elif tag in self._wanted:
                elements.found[tag] = Element(vr, (yield length) if length else b"")
                continue
            if length != _UNDEFINED:
                self._to_skip = length
            elif not (yield from self._items()):
                return

    def _items(self) -> Generator[int, bytes, bool]:
        """Pass over the items of a sequence, and of those within it, up to its delimiter; return whether it came."""
        # Sequences and items that end by delimiters, and so take turns: odd within a sequence, even within an item.
        depth = 1
        while depth:
            header = yield _HEADER_BYTES
            tag, in_item = self._tag_of(header), depth % 2 == 0
            if tag == (_ITEM_END if in_item else _SEQUENCE_END):
                depth -= 1
                continue
            length: int | None = None
            if not in_item and tag == _ITEM:
                (length,) = self._u32.unpack_from(header, _LENGTH_AT)
            elif in_item and tag >> 16 != _DELIMITER_GROUP:
                _, length = yield from self._vr_and_length(header)
            if length is None:
                return False
            if length == _UNDEFINED:
                depth += 1
            else:
                self._to_skip = length
        return True

    def _tag_of(self, header: bytes) -> int:
        group, number = self._tag.unpack_from(header)
        return int(group) << 16 | int(number)

    def _vr_and_length(self, header: bytes) -> Generator[int, bytes, tuple[str, int | None]]:
        """Return VR and length of an element; the length is None where it has one that its VR cannot have.

        Among elements of explicit VR one without is of implicit VR. In sequences some writers fall into that, and for
        those of UN it is the rule: PS3.5 section 6.2.2.
        """
        vr = header[4:6]
        if not (self._explicit and _is_vr(vr)):
            return "", self._u32.unpack_from(header, _LENGTH_AT)[0]
        # The standard gives every VR that it may add a long length; what others add has a short one.
        if vr in _SHORT_VRS or (vr not in _LONG_VRS and header[6:8] != b"\x00\x00"):
            return vr.decode(), self._u16.unpack_from(header, 6)[0]
        (length,) = self._u32.unpack((yield _LENGTH_BYTES))
        may_be = length != _UNDEFINED or vr in _MAY_BE_UNDEFINED
        return vr.decode(), length if may_be else None


def _is_vr(two: bytes) -> bool:
    return two.isalpha() and two.isupper()


@lru_cache(maxsize=1024)
def _is_usual(tag: int) -> bool:
    """Whether a tag is in the dictionary of PS3.6, or that of a group's length or of a private creator (PS3.5 7.8.1).

    Of the tags that chance makes, one in four hundred is.
    """
    group, number = divmod(tag, 1 << 16)
    if number == 0 or (group % 2 and 0x10 <= number <= 0xFF) or group & 0xFFE1 in _REPEATING_GROUPS:
        return True
    return dictionary_has_tag(tag)

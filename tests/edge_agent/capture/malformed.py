"""Data sets with something wrong in them, each named for it and built from bytes.

Nearly all are images of a breast clinic, which a policy may want kept closer: one of them that is graded as if it named
no department was not read but guessed at. `READ`: the department can be read all the same. `UNREAD`: nobody can say
what it is, so only the strictest grade is right.
"""

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tests.edge_agent.capture.test_attributes import BIG, DEFLATED, EXPLICIT, IMPLICIT
from tests.fakes.host import CT

READ, UNREAD = True, False
UNDEFINED = 0xFFFFFFFF
RLE = "1.2.840.10008.1.2.5"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"  # a maker's: implicit VR, with pixels in big endian
Cases: TypeAlias = dict[str, tuple[bool, bytes]]


@dataclass(frozen=True)
class Malformed:
    transfer_syntax: str
    is_read: bool
    dataset: Callable[[], bytes]  # those that are large are made when they are sent


# ---- what they are made of

_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    """Return one element in explicit VR little endian; `length` is what it claims."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", *divmod(tag, 1 << 16), vr)
    return head + (struct.pack("<2xI", size) if vr in _LONG else struct.pack("<H", size)) + value


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", *divmod(tag, 1 << 16), len(value) if length is None else length) + value


def big(tag: int, vr: bytes, value: bytes) -> bytes:
    """Return one element of a short VR in explicit VR big endian."""
    return struct.pack(">HH2sH", *divmod(tag, 1 << 16), vr, len(value)) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length)


STATION, CODES, DEPARTMENT_NAME, PIXEL_DATA = 0x00081010, 0x00081032, 0x00081040, 0x7FE00010
CLASS = (0x00080016, b"UI", CT.encode() + b"\x00")
INSTANCE = (0x00080018, b"UI", b"1.2.34")
MODALITY = (0x00080060, b"CS", b"MG")
REST = (
    (0x00100020, b"LO", b"4711"),
    (0x0020000D, b"UI", b"1.2.3\x00"),
    (0x0020000E, b"UI", b"1.2.3.1\x00"),
    (0x00280010, b"US", b"\x04\x00"),
)
START = explicit(*CLASS) + explicit(*INSTANCE) + explicit(*MODALITY)
DEPARTMENT = explicit(DEPARTMENT_NAME, b"LO", b"BREAST")
END = b"".join(explicit(*element) for element in REST)
PIXELS = explicit(PIXEL_DATA, b"OW", bytes(range(64)))
WHOLE = START + DEPARTMENT + END + PIXELS

ITEM_END, SEQUENCE_END = implicit(0xFFFEE00D), implicit(0xFFFEE0DD)
OPEN_SEQUENCE, OPEN_ITEM = explicit(CODES, b"SQ", length=UNDEFINED), item(length=UNDEFINED)
CODE = explicit(0x00080100, b"SH", b"CODE")
IMPLICIT_ITEM = OPEN_ITEM + implicit(0x00080100, b"CODE") + ITEM_END


def with_trouble(trouble: bytes) -> bytes:
    """Return an image with `trouble` in front of its department."""
    return START + trouble + DEPARTMENT + END + PIXELS


def with_department(element: bytes, character_set: bytes = b"") -> bytes:
    before = explicit(0x00080005, b"CS", character_set) if character_set else b""
    return before + START + element + END + PIXELS


def department(value: bytes, character_set: bytes = b"") -> bytes:
    return with_department(explicit(DEPARTMENT_NAME, b"LO", value), character_set)


def with_instance(element: bytes) -> bytes:
    return explicit(*CLASS) + element + explicit(*MODALITY) + DEPARTMENT + END + PIXELS


def with_pixels(element: bytes) -> bytes:
    return START + DEPARTMENT + END + element


def with_private(element: bytes) -> bytes:
    creator = explicit(0x00090010, b"LO", b"MAKER ")
    return START + DEPARTMENT + creator + element + END + PIXELS


def in_implicit(trouble: bytes = b"") -> bytes:
    front = b"".join(implicit(tag, value) for tag, _, value in (CLASS, INSTANCE, MODALITY))
    rest = b"".join(implicit(tag, value) for tag, _, value in REST)
    return front + trouble + implicit(DEPARTMENT_NAME, b"BREAST") + rest + implicit(PIXEL_DATA, bytes(64))


def in_big_endian() -> bytes:
    return b"".join(big(*element) for element in (CLASS, INSTANCE, (DEPARTMENT_NAME, b"LO", b"BREAST"), *REST))


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def nested(depth: int, tag: int = CODES) -> bytes:
    """Return a sequence `depth` deep, without a single length."""
    inner = explicit(tag, b"SQ", length=UNDEFINED) + OPEN_ITEM
    return inner * depth + CODE + (ITEM_END + SEQUENCE_END) * depth


def nested_with_lengths(depth: int) -> bytes:
    inner = CODE
    for _ in range(depth):
        inner = explicit(CODES, b"SQ", item(inner))
    return inner


def encapsulated(*fragments: bytes, end: bytes = SEQUENCE_END) -> bytes:
    return with_pixels(explicit(PIXEL_DATA, b"OB", length=UNDEFINED) + b"".join(fragments) + end)


def with_preamble() -> bytes:
    syntax = explicit(0x00020010, b"UI", EXPLICIT.encode() + b"\x00")
    return bytes(128) + b"DICM" + explicit(0x00020000, b"UL", struct.pack("<I", len(syntax))) + syntax + WHOLE


# ---- explicit VR little endian

NO_DATA_SET: Cases = {
    "nothing at all": (UNREAD, b""),
    "one byte": (UNREAD, b"\x08"),
    "zeros": (UNREAD, bytes(100_000)),
    "ones": (UNREAD, b"\xff" * 100_000),
    "a whole file with preamble": (UNREAD, with_preamble()),
    "a web page": (UNREAD, b"<!DOCTYPE html><html><body>504 Gateway Time-out</body></html>"),
    "big endian where little was agreed": (UNREAD, in_big_endian()),
    "deflated where nothing was": (UNREAD, deflated(WHOLE)),
    "implicit where explicit was agreed": (READ, in_implicit()),
}
CUT_OFF: Cases = {
    "cut in its first tag": (UNREAD, START[:3]),
    "cut in its first length": (UNREAD, START[:7]),
    "cut in the value that rules look at": (UNREAD, START + DEPARTMENT[:-3]),
    "cut in a tag behind it": (UNREAD, START + DEPARTMENT + END[:2]),
    "cut in a sequence": (UNREAD, START + nested(1)[:-9]),
    "cut in the length of a sequence": (UNREAD, START + OPEN_SEQUENCE[:-2]),
    "cut in the length of its pixels": (UNREAD, with_pixels(PIXELS[:10])),
    "cut in its pixels": (READ, with_pixels(PIXELS[:-30])),
}
LENGTHS: Cases = {
    "an odd length": (READ, with_trouble(explicit(STATION, b"SH", b"CT ONE."))),
    "an odd length where rules look": (READ, department(b"BREAST   ")),
    "a length of two bytes less": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 4))),
    "a length of one byte less": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 5))),
    "a length of two bytes more": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 8))),
    "a length over the department": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 9 + len(DEPARTMENT)))),
    "a length of zero over a value": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 0))),
    "the longest short length": (UNREAD, with_trouble(explicit(STATION, b"SH", b"CT ONE", 0xFFFF))),
    "the longest length": (UNREAD, with_trouble(explicit(STATION, b"UT", b"CT ONE", 0xFFFFFFFE))),
    "pixels longer than what follows": (READ, with_pixels(explicit(PIXEL_DATA, b"OW", bytes(64), 1 << 31))),
    "pixels shorter than what follows": (READ, with_pixels(explicit(PIXEL_DATA, b"OW", bytes(64), 2))),
    "pixels of odd length": (READ, with_pixels(explicit(PIXEL_DATA, b"OW", bytes(63)))),
    "bytes behind its end": (READ, WHOLE + b"\xde\xad\xbe\xef"),
}
DELIMITERS: Cases = {
    "a sequence without end": (UNREAD, with_trouble(OPEN_SEQUENCE + item(CODE))),
    "an item without end": (UNREAD, with_trouble(OPEN_SEQUENCE + OPEN_ITEM + CODE + SEQUENCE_END)),
    "an unknown value without end": (UNREAD, with_trouble(explicit(STATION, b"UN", b"CT ONE", UNDEFINED))),
    "a text of undefined length": (UNREAD, with_trouble(explicit(STATION, b"UT", b"CT ONE", UNDEFINED) + SEQUENCE_END)),
    "an item outside of a sequence": (UNREAD, with_trouble(item(CODE))),
    "an end of an item outside of one": (UNREAD, with_trouble(ITEM_END)),
    "an end of a sequence outside of one": (UNREAD, with_trouble(SEQUENCE_END)),
    "an end of a sequence in an open item": (UNREAD, with_trouble(OPEN_SEQUENCE + OPEN_ITEM + SEQUENCE_END + ITEM_END)),
    "an end of an item in a sequence": (UNREAD, with_trouble(OPEN_SEQUENCE + ITEM_END + SEQUENCE_END)),
    "an item in an item": (UNREAD, with_trouble(OPEN_SEQUENCE + OPEN_ITEM + item(CODE) + ITEM_END + SEQUENCE_END)),
    "an element in a sequence": (UNREAD, with_trouble(OPEN_SEQUENCE + CODE + SEQUENCE_END)),
    "an item longer than what follows": (UNREAD, with_trouble(OPEN_SEQUENCE + item(CODE, 1 << 30) + SEQUENCE_END)),
    "an icon in fragments without end": (
        UNREAD,
        with_trouble(explicit(STATION, b"OB", length=UNDEFINED) + item() + item(bytes(64))),
    ),
    "a delimiter with a length": (
        READ,
        with_trouble(OPEN_SEQUENCE + item(CODE) + implicit(0xFFFEE0DD, length=0x1234)),
    ),
    "a sequence of no items": (READ, with_trouble(OPEN_SEQUENCE + SEQUENCE_END)),
    "a sequence with a length around an item without": (
        READ,
        with_trouble(explicit(CODES, b"SQ", OPEN_ITEM + CODE + ITEM_END)),
    ),
    "an unknown value that is a sequence": (
        READ,
        with_trouble(explicit(CODES, b"UN", length=UNDEFINED) + IMPLICIT_ITEM + SEQUENCE_END),
    ),
    "a sequence that falls into implicit VR": (READ, with_trouble(OPEN_SEQUENCE + IMPLICIT_ITEM + SEQUENCE_END)),
    "nested 100 deep": (READ, with_trouble(nested(100))),
    "nested 100 deep with lengths": (READ, with_trouble(nested_with_lengths(100))),
    "nested 5000 deep": (READ, with_trouble(nested(5000))),
    "nested 5000 deep and never closed": (UNREAD, START + (OPEN_SEQUENCE + OPEN_ITEM) * 5000),
    "nested 5000 deep in its frames": (READ, with_pixels(nested(5000, 0x52009229) + PIXELS)),
}
REPRESENTATIONS: Cases = {
    "a department of bytes": (UNREAD, with_department(explicit(DEPARTMENT_NAME, b"OB", b"BREAST"))),
    "a department of numbers": (UNREAD, with_department(explicit(DEPARTMENT_NAME, b"US", b"BREAST"))),
    "a department that is a sequence": (UNREAD, with_department(explicit(DEPARTMENT_NAME, b"SQ", item(CODE)))),
    "a department without a length": (
        UNREAD,
        with_department(explicit(DEPARTMENT_NAME, b"SQ", length=UNDEFINED) + item(CODE) + SEQUENCE_END),
    ),
    "a department of unknown kind": (READ, with_department(explicit(DEPARTMENT_NAME, b"UN", b"BREAST"))),
    "a text that says it is a number": (READ, with_trouble(explicit(STATION, b"DS", b"CT ONE"))),
    "an instance of bytes": (READ, with_instance(explicit(0x00080018, b"OB", b"1.2.34"))),
    "a VR that may be added": (READ, with_trouble(explicit(STATION, b"ZZ", b"\x06\x00\x00\x00CT ONE", 0))),
    "a VR that is none, with a short length": (READ, with_trouble(explicit(STATION, b"ZZ", b"CT ONE"))),
    "a VR in small letters": (UNREAD, with_trouble(explicit(STATION, b"sh", b"CT ONE"))),
    "a VR of spaces": (UNREAD, with_trouble(explicit(STATION, b"  ", b"CT ONE"))),
    "no VR in one element": (READ, with_trouble(implicit(STATION, b"CT ONE"))),
}
TAGS: Cases = {
    "a department twice": (UNREAD, with_trouble(explicit(DEPARTMENT_NAME, b"LO", b"CHEST "))),
    "an instance twice": (UNREAD, with_instance(explicit(*INSTANCE) * 2)),
    "a patient before the department": (UNREAD, with_trouble(explicit(0x00100010, b"PN", b"DOE^JANE"))),
    "everything twice": (UNREAD, START + END + WHOLE),
    "in falling order": (UNREAD, PIXELS + END + DEPARTMENT + START),
    "the highest tag in front": (UNREAD, with_trouble(explicit(0xFFFFFFFF, b"LO", b"LAST"))),
    "a private element without its creator": (READ, with_pixels(explicit(0x00291008, b"CS", b"ORPHAN") + PIXELS)),
    "a private creator of nothing": (READ, with_private(b"")),
    "a private value of undefined length": (
        READ,
        with_private(explicit(0x00091001, b"UN", item(b"\xff" * 30) + SEQUENCE_END, UNDEFINED)),
    ),
    "a group length that is wrong": (READ, explicit(0x00080000, b"UL", b"\xff\xff\xff\x7f") + WHOLE),
    "group 0002 in front": (READ, explicit(0x00020010, b"UI", b"1.2.840.10008.1.2\x00") + WHOLE),
    "group 0002 in the middle": (UNREAD, with_trouble(explicit(0x00020010, b"UI", b"1.2.840.10008.1.2\x00"))),
    "a command in front": (READ, explicit(0x00000100, b"US", b"\x01\x00") + WHOLE),
}
TEXTS: Cases = {
    "bytes that are no UTF-8": (UNREAD, department(b"BR\xc9AST", b"ISO_IR 192")),
    "UTF-8 that says it is Latin-1": (UNREAD, department("BRÉAST ".encode(), b"ISO_IR 100")),
    "a character set that is none": (UNREAD, department(b"BR\xc9AST", b"KLINGON ")),
    "a character set that is none, and not needed": (READ, department(b"BREAST", b"KLINGON ")),
    "an escape to a set that was not named": (UNREAD, department(b"\x1b$B4I9B ", b"ISO_IR 100")),
    "an escape to nothing": (UNREAD, department(b"BREAST \x1b")),
    "a zero byte in a text": (UNREAD, department(b"BRE\x00AST ")),
    "three thousand character sets": (UNREAD, department(b"BREAST", b"\\".join([b"ISO 2022 IR 87"] * 3000))),
    "a character set that is a sequence": (
        UNREAD,
        explicit(0x00080005, b"SQ", length=UNDEFINED) + SEQUENCE_END + WHOLE,
    ),
    "an instance that is no UID": (READ, with_instance(explicit(0x00080018, b"UI", b"hello "))),
    "an instance of other bytes": (READ, with_instance(explicit(0x00080018, b"UI", b"\xff\xfe\x01\x02"))),
    "an instance of 400 digits": (UNREAD, with_instance(explicit(0x00080018, b"UI", b"1" * 400))),
    "an instance without a value": (UNREAD, with_instance(explicit(0x00080018, b"UI"))),
    "no instance": (UNREAD, with_instance(b"")),
}

# ---- other transfer syntaxes

IN_IMPLICIT: Cases = {
    "a length of two bytes less, in implicit VR": (UNREAD, in_implicit(implicit(STATION, b"CT ONE", 4))),
    "a length of two bytes more, in implicit VR": (UNREAD, in_implicit(implicit(STATION, b"CT ONE", 8))),
    "a length of one byte less, in implicit VR": (UNREAD, in_implicit(implicit(STATION, b"CT ONE", 5))),
    "an end of a sequence outside of one, in implicit VR": (UNREAD, in_implicit(SEQUENCE_END)),
    "undefined and no sequence, in implicit VR": (UNREAD, in_implicit(implicit(STATION, b"CT ONE", UNDEFINED))),
    "explicit where implicit was agreed": (READ, WHOLE),
}
IN_DEFLATED: Cases = {
    "plain where deflated was agreed": (UNREAD, WHOLE),
    "deflated with a header of zlib": (UNREAD, zlib.compress(WHOLE)),
    "deflated as a file of gzip": (UNREAD, gzip.compress(WHOLE, mtime=0)),
    "a deflated stream that is cut off": (UNREAD, deflated(WHOLE)[:40]),
    "a deflated stream with a broken middle": (UNREAD, deflated(WHOLE)[:30] + b"\xff\xff\xff" + deflated(WHOLE)[33:]),
    "a deflated stream with more behind its end": (READ, deflated(WHOLE) + b"\x00more"),
    "a deflated stream of nothing": (UNREAD, deflated(b"")),
}
IN_FRAGMENTS: Cases = {
    "encapsulated without a fragment": (READ, encapsulated()),
    "encapsulated without an offset table": (READ, encapsulated(item(bytes(64)))),
    "encapsulated without end": (READ, encapsulated(item(), item(bytes(64)), end=b"")),
    "a fragment longer than what follows": (READ, encapsulated(item(), item(bytes(64), 0xFFFFFFF0))),
    "a fragment of odd length": (READ, encapsulated(item(), item(bytes(63)))),
    "a fragment that is an open item": (READ, encapsulated(item(), OPEN_ITEM + bytes(64) + ITEM_END)),
    "an offset table of odd length": (READ, encapsulated(item(bytes(3)), item(bytes(64)))),
    "an offset table that points outside": (READ, encapsulated(item(b"\xff" * 4), item(bytes(64)))),
    "an offset table of 4000 frames for one": (READ, encapsulated(item(bytes(16_000)), item(bytes(64)))),
    "ten thousand empty fragments": (READ, encapsulated(*[item()] * 10_000)),
    "pixels with a length where fragments were agreed": (READ, WHOLE),
}

# ---- what would use up memory or time

_TINY = implicit(0x00080F00)


def _sequence_of(elements: bytes) -> bytes:
    return implicit(CODES, length=UNDEFINED) + OPEN_ITEM + elements + ITEM_END + SEQUENCE_END


LARGE = {
    "8 MiB of empty items": Malformed(
        EXPLICIT, UNREAD, lambda: with_trouble(OPEN_SEQUENCE + item() * (1 << 20) + SEQUENCE_END)
    ),
    "1 MiB of empty elements": Malformed(IMPLICIT, READ, lambda: in_implicit(_sequence_of(_TINY * (1 << 17)))),
    "9 MiB of empty elements": Malformed(IMPLICIT, UNREAD, lambda: in_implicit(_sequence_of(_TINY * (9 << 17)))),
    "a bomb in front of the department": Malformed(
        DEFLATED, UNREAD, lambda: deflated(with_trouble(explicit(STATION, b"UT", bytes(64 << 20))))
    ),
    "a bomb of nested sequences": Malformed(
        DEFLATED, UNREAD, lambda: deflated(START + (OPEN_SEQUENCE + OPEN_ITEM) * (1 << 21))
    ),
    "a bomb of pixels": Malformed(
        DEFLATED, READ, lambda: deflated(with_pixels(explicit(PIXEL_DATA, b"OW", bytes(64 << 20))))
    ),
}


def _in(transfer_syntax: str, *groups: Cases) -> dict[str, Malformed]:
    return {
        name: Malformed(transfer_syntax, is_read, partial(bytes, data))
        for group in groups
        for name, (is_read, data) in group.items()
    }


CORPUS = {
    **_in(EXPLICIT, NO_DATA_SET, CUT_OFF, LENGTHS, DELIMITERS, REPRESENTATIONS, TAGS, TEXTS),
    **_in(IMPLICIT, IN_IMPLICIT),
    **_in(DEFLATED, IN_DEFLATED),
    **_in(RLE, IN_FRAGMENTS),
    **_in(BIG, {"little endian where big was agreed": (UNREAD, WHOLE)}),
    **_in(PRIVATE_SYNTAX, {"a private transfer syntax in implicit VR": (READ, in_implicit())}),
    **LARGE,
}

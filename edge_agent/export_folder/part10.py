"""The head of a DICOM file (PS3.10 section 7.1), read from bytes and never past group 0002.

    file    = preamble (128) || "DICM" || element of group 0002* || data set
    element = u16 group || u16 element || VR (2) || length || value         explicit VR little endian

PS3.10 requires preamble, prefix and File Meta Information; without them nothing says in which transfer syntax the data
set is, so a bare data set is not a file that can be captured. The data set begins where the elements of group 0002 end.
Their Group Length (0002,0000) has to be there, and what it says is not relied on: writers get it wrong.
"""

import re
from dataclasses import dataclass
from struct import Struct

from shared.errors import Malformed
from shared.identity import UID_PATTERN

PREAMBLE_BYTES = 128
MAX_HEAD_BYTES = 256 << 10  # preamble and group 0002 together; Private Information (0002,0102) can be long
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_PREFIX = b"DICM"
_GROUP = 0x0002
_GROUP_LENGTH, _SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0000, 0x0002, 0x0003, 0x0010
_MAX_UID_BYTES = 64
_HEADER = Struct("<HH2sH")
_U32 = Struct("<I")
# PS3.5 section 7.1.2: two reserved bytes, then a length of 32 bits.
LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)  # fmt: skip
_UNDEFINED = 0xFFFFFFFF


class HeadCut(Malformed):
    """What is there is the beginning of a head; the rest may follow."""

    def __init__(self) -> None:
        super().__init__("DICOM file", "it ends within its File Meta Information")


class NotDicom(Malformed):
    def __init__(self, why: str) -> None:
        super().__init__("DICOM file", why)


@dataclass(frozen=True)
class Head:
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset_start: int  # offset of the first byte behind group 0002

    @property
    def is_directory(self) -> bool:
        """Whether the file is the DICOMDIR of a File-set (PS3.10 section 8.6) and no image."""
        return self.sop_class_uid == MEDIA_STORAGE_DIRECTORY


def parse(data: bytes, *, whole: bool) -> Head:
    """Read the head from the first bytes of a file; `whole` says that they are all it has.

    Raises HeadCut: more bytes are needed to tell. Raises NotDicom: they would not help.
    """
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != _PREFIX[: max(len(data) - PREAMBLE_BYTES, 0)]:
        raise NotDicom("no DICM prefix behind a preamble of 128 bytes")
    if len(data) < PREAMBLE_BYTES + 4:
        raise HeadCut
    values, position = _elements(data, whole=whole)
    if _GROUP_LENGTH not in values:
        raise NotDicom("its File Meta Information does not begin with its length")
    sop_class, sop_instance = _uid(values, _SOP_CLASS), _uid(values, _SOP_INSTANCE)
    return Head(sop_class, sop_instance, _uid(values, _TRANSFER_SYNTAX), position)


def _elements(data: bytes, *, whole: bool) -> tuple[dict[int, tuple[bytes, bytes]], int]:
    """Return VR and value of every element of group 0002, and where the next group begins."""
    values: dict[int, tuple[bytes, bytes]] = {}
    position, previous = PREAMBLE_BYTES + 4, -1
    while True:
        if whole and position == len(data):
            return values, position
        if len(data) - position < _HEADER.size:
            raise _short(data, whole=whole)
        group, element, vr, length = _HEADER.unpack_from(data, position)
        if group != _GROUP:
            return values, position
        if not (vr.isalpha() and vr.isupper()):
            raise NotDicom("its File Meta Information is not in explicit VR little endian")
        if element <= previous:
            raise NotDicom("the elements of its File Meta Information are not in ascending order")
        position += _HEADER.size
        if vr in LONG_VRS:
            if len(data) - position < _U32.size:
                raise _short(data, whole=whole)
            (length,) = _U32.unpack_from(data, position)
            position += _U32.size
        if length == _UNDEFINED or position + length > MAX_HEAD_BYTES:
            raise NotDicom(f"its File Meta Information is longer than {MAX_HEAD_BYTES} bytes or of undefined length")
        if length > len(data) - position:
            raise _short(data, whole=whole)
        values[element], previous = (vr, data[position : position + length]), element
        position += length


def _short(data: bytes, *, whole: bool) -> Malformed:
    if not whole and len(data) >= MAX_HEAD_BYTES:
        return NotDicom(f"its File Meta Information is longer than {MAX_HEAD_BYTES} bytes")
    return HeadCut()


def _uid(values: dict[int, tuple[bytes, bytes]], element: int) -> str:
    vr, value = values.get(element, (b"", b""))
    text = value.rstrip(b"\x00 ").decode("latin-1")
    if vr != b"UI" or len(text) > _MAX_UID_BYTES or not re.fullmatch(UID_PATTERN, text):
        raise NotDicom(f"element (0002,{element:04x}) is missing or not a UID")
    return text

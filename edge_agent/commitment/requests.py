"""What a modality asks to be committed: the data set of its N-ACTION (DICOM PS3.4 table J.3-1).

    (0008,1195) Transaction UID
    (0008,1199) Referenced SOP Sequence > (0008,1150) Referenced SOP Class UID, (0008,1155) Referenced SOP Instance UID

Everything else in it is passed over. The bytes are hostile: each is looked at once, and nesting is bounded.
"""

from dataclasses import dataclass
from struct import Struct

from shared.errors import Malformed, Refused
from shared.sealing.binding import checked_uid

MAX_BYTES = 4 << 20
MAX_REFERENCES = 10_000
_MAX_DEPTH = 8

_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_TRANSACTION_UID = 0x00081195
_REFERENCES, _CLASS, _INSTANCE = 0x00081199, 0x00081150, 0x00081155
_WANTED = {_TRANSACTION_UID, _CLASS, _INSTANCE}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = {_ITEM, _ITEM_END, _SEQUENCE_END}
_UNDEFINED = 0xFFFFFFFF
# Explicit VR with two reserved bytes and a length of four: PS3.5 table 7.1-1.
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


@dataclass(frozen=True)
class Reference:
    """One instance, as the modality names it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class CommitmentRequest:
    transaction_uid: str
    references: tuple[Reference, ...]  # each once, in the order in which they came


class TooManyReferences(Refused):
    def __init__(self) -> None:
        super().__init__(f"a commitment of more than {MAX_REFERENCES} instances was asked for at once")


def parse(data: bytes, transfer_syntax: str) -> CommitmentRequest:
    """Read the data set of a request. Raises Malformed, TooManyReferences."""
    if len(data) > MAX_BYTES:
        raise TooManyReferences
    found = _Reader(data, transfer_syntax).data_set()
    references = dict.fromkeys(
        Reference(_uid(item.values, _CLASS), _uid(item.values, _INSTANCE)) for item in found.references
    )
    if not references:
        raise Malformed("commitment request", "it names no instances")
    return CommitmentRequest(_uid(found.values, _TRANSACTION_UID), tuple(references))


def _uid(values: dict[int, bytes], tag: int) -> str:
    value = values.get(tag, b"").rstrip(b"\x00 ")
    return checked_uid(value.decode("latin-1"))


@dataclass(frozen=True)
class _DataSet:
    values: dict[int, bytes]
    references: list["_DataSet"]


class _Reader:
    def __init__(self, data: bytes, transfer_syntax: str) -> None:
        self._data, self._position = data, 0
        self._implicit = transfer_syntax == _IMPLICIT_LITTLE_ENDIAN
        order = ">" if transfer_syntax == _EXPLICIT_BIG_ENDIAN else "<"
        self._tag, self._u16, self._u32 = Struct(order + "HH"), Struct(order + "H"), Struct(order + "I")

    def data_set(self) -> _DataSet:
        return self._elements(len(self._data), 0)

    def _elements(self, end: int | None, depth: int) -> _DataSet:
        """Read elements up to `end`, or to the delimiter of an item without a length. Values are kept if wanted."""
        if depth > _MAX_DEPTH:
            raise Malformed("commitment request", f"nested more than {_MAX_DEPTH} deep")
        found = _DataSet({}, [])
        while end is None or self._position < end:
            tag = self._read_tag()
            if tag in _DELIMITERS:
                self._read(self._u32)
                if tag == _ITEM_END and end is None:
                    return found
                raise Malformed("commitment request", "an item or its end where an element was due")
            vr, length = self._header(tag)
            if tag == _REFERENCES or vr == b"SQ" or length == _UNDEFINED:
                if length == _UNDEFINED and vr not in (b"", b"SQ", b"UN"):
                    raise Malformed("commitment request", "a value without a length that is no sequence")
                items = self._items(length, depth)
                if tag == _REFERENCES and depth == 0:
                    found.references.extend(items)
            else:
                value = self._take(length)
                if tag in _WANTED:
                    found.values[tag] = value
        if self._position != end:
            raise Malformed("commitment request", "an element reaches beyond what holds it")
        return found

    def _items(self, length: int, depth: int) -> list[_DataSet]:
        end = None if length == _UNDEFINED else self._end(length)
        items: list[_DataSet] = []
        while end is None or self._position < end:
            tag, size = self._read_tag(), self._read(self._u32)
            if tag == _SEQUENCE_END and end is None:
                return items
            if tag != _ITEM:
                raise Malformed("commitment request", "a sequence holds something that is no item")
            if len(items) == MAX_REFERENCES:
                raise TooManyReferences
            items.append(self._elements(None if size == _UNDEFINED else self._end(size), depth + 1))
        if self._position != end:
            raise Malformed("commitment request", "an item reaches beyond its sequence")
        return items

    def _header(self, tag: int) -> tuple[bytes, int]:
        if self._implicit:
            return b"", self._read(self._u32)
        vr = self._take(2)
        if not (vr.isalpha() and vr.isupper()):
            raise Malformed("commitment request", f"element {tag:08x} has no value representation")
        if vr in _LONG_VRS:
            self._take(2)
            return vr, self._read(self._u32)
        return vr, self._read(self._u16)

    def _read_tag(self) -> int:
        group, element = self._tag.unpack(self._take(4))
        return int(group) << 16 | int(element)

    def _read(self, number: Struct) -> int:
        return int(number.unpack(self._take(number.size))[0])

    def _end(self, length: int) -> int:
        if length > len(self._data) - self._position:
            raise Malformed("commitment request", "it ends within an element")
        return self._position + length

    def _take(self, size: int) -> bytes:
        end = self._end(size)
        taken = self._data[self._position : end]
        self._position = end
        return taken

"""Reads from the encoded bytes of a dataset what people look an image up by. Never decodes pixels or re-encodes.

Reads top-level elements in order and stops after the last one it needs, far in front of the pixel data. No more of a
passing dataset is held than that takes. The bytes are hostile: a dataset that cannot be read that far gives an entry
that says so, and is captured all the same.
"""

import io
import struct
import zlib

from pydicom.charset import decode_bytes, python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from shared.errors import Malformed
from shared.sealing.index import IndexEntry

_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# PS3.5 A.5, and JPIP Referenced Deflate of A.6 and A.7: the dataset as a whole is deflated.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
# The attributes we need lie in front of this many bytes; a deflate bomb is not followed further.
_MAX_BYTES = 8 << 20
# A passing dataset is looked at when this much of it has come, and each time it has grown by `_GROWTH`.
_FIRST_LOOK_BYTES, _GROWTH = 16 << 10, 4
# What the sealed index takes of each attribute; no character set uses more bytes for one than this.
_MAX_CHARS = 324
_MAX_VALUE_BYTES = 8 * _MAX_CHARS

_CHARACTER_SET = 0x00080005
_TAGS = {
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080050: "accession_number",
    0x00080060: "modality",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
}
_ALWAYS_THERE = (0x00080016, 0x00080018)
_LAST = max(_TAGS)
_NAME_DELIMITERS = {0x5C, 0x5E, 0x3D}  # backslash, ^ and =: PS3.5 section 6.1.2.5.3
_UNREADABLE = IndexEntry(False, *[""] * 9)
# What pydicom raises on bytes that are no dataset; found by fuzzing, see tests/edge_agent/capture.
_PYDICOM_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RecursionError, struct.error,
    TypeError, ValueError,
)  # fmt: skip


class IndexReader:
    """Reads the index from a dataset that passes in pieces; holds at most 8 MiB of it, and nothing once it has it."""

    def __init__(self, transfer_syntax: str) -> None:
        self._transfer_syntax = transfer_syntax
        self._gathered = bytearray()
        self._next_look = _FIRST_LOOK_BYTES
        self._entry: IndexEntry | None = None

    def update(self, data: memoryview) -> None:
        while self._entry is None and data:
            taken = data[: self._next_look - len(self._gathered)]
            self._gathered += taken
            data = data[len(taken) :]
            if len(self._gathered) == self._next_look:
                self._look()

    def finish(self) -> IndexEntry:
        """Return the index attributes; `evaluated` is False when they could not be read."""
        if self._entry is None:
            self._entry = _read(self._gathered, self._transfer_syntax, whole=True) or _UNREADABLE
            self._gathered = bytearray()
        return self._entry

    def _look(self) -> None:
        at_most = self._next_look == _MAX_BYTES
        self._entry = _read(self._gathered, self._transfer_syntax, whole=False)
        if self._entry is None and at_most:
            self._entry = _UNREADABLE
        if self._entry is not None:
            self._gathered = bytearray()
        self._next_look = min(self._next_look * _GROWTH, _MAX_BYTES)


def _read(dataset: bytearray, transfer_syntax: str, *, whole: bool) -> IndexEntry | None:
    """Return the entry if `dataset`, or what has come of it, holds all that one needs."""
    try:
        window, all_of_it = _plain(dataset, transfer_syntax)
        found = _read_elements(window, transfer_syntax, whole=whole and all_of_it)
        encodings = _encodings(found.get(_CHARACTER_SET, b""))
        values = {name: _text(found.get(tag, b""), encodings) for tag, name in _TAGS.items()}
    except (Malformed, zlib.error, *_PYDICOM_ERRORS):
        return None
    return IndexEntry(evaluated=True, **values)


class _Window(io.BytesIO):
    """The dataset as a stream that notices when it ends in the middle of something."""

    cut_off = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and 0 < len(data) < size:
            self.cut_off = True
        return data


def _plain(dataset: bytearray, transfer_syntax: str) -> tuple[_Window, bool]:
    """Return the elements of `dataset`, and whether that is all of them."""
    if transfer_syntax not in _DEFLATED:
        return _Window(dataset), True
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    return _Window(inflate.decompress(dataset, _MAX_BYTES)), inflate.eof


def _read_elements(window: _Window, transfer_syntax: str, *, whole: bool) -> dict[int, bytes]:
    previous = -1
    passed = False

    def stop_when(tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal previous, passed
        if tag <= previous:
            raise Malformed("dataset", "elements are not in ascending order")
        if tag in _TAGS and length > _MAX_VALUE_BYTES:
            raise Malformed("dataset", "an attribute is longer than its value representation allows")
        previous, passed = int(tag), bool(tag > _LAST)
        return passed

    elements = data_element_generator(
        window,
        is_implicit_VR=transfer_syntax == _IMPLICIT_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax != _EXPLICIT_BIG_ENDIAN,
        stop_when=stop_when,
        specific_tags=[*_TAGS],
    )
    raw = [element for element in elements if isinstance(element, RawDataElement)]
    found = {int(element.tag): element.value or b"" for element in raw}
    values_whole = all(len(element.value or b"") == element.length for element in raw)
    at_the_end = whole and window.tell() == len(window.getbuffer())
    if window.cut_off or not values_whole or not (passed or at_the_end):
        raise Malformed("dataset", "it ends before its index attributes do")
    if not all(found.get(tag) for tag in _ALWAYS_THERE):
        # PS3.3 C.12.1: type 1 in every composite object. Bytes in which they are missing were not understood.
        raise Malformed("dataset", "it does not say which instance it is")
    return found


def _encodings(value: bytes) -> list[str]:
    """Return the Python codecs of a Specific Character Set value, none if one of its terms is unknown to us."""
    terms = [term.strip(b" \x00").decode("ascii", "replace") for term in value.split(b"\\")]
    codecs = [python_encoding.get(term, "") for term in terms]
    return codecs if all(codecs) else []


def _text(value: bytes, encodings: list[str]) -> str:
    text = decode_bytes(value, encodings, _NAME_DELIMITERS) if encodings else "�"
    if "�" in text:
        # Not in the character set it claims. ISO 8859-1 reads every byte, and is what such devices mostly mean.
        text = value.decode("iso8859-1")
    text = text.strip(" \x00")
    if len(text) > _MAX_CHARS:
        raise Malformed("dataset", "an attribute is longer than the sealed index takes")
    return text

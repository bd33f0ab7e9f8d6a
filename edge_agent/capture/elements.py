"""Reads chosen top-level elements from the encoded bytes of a dataset, in order, up to the last one that is wanted.

Never decodes pixels or re-encodes. The bytes are hostile, and may be only the beginning of a dataset: what comes back
says how far it was understood, and nothing behind that point is taken for absent.
"""

import io
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from shared.errors import Malformed

MAX_BYTES = 8 << 20
"""No more of a dataset is looked at, inflated or not: a deflate bomb is not followed further."""
# What the sealed index takes of an attribute; no character set uses more bytes for one character than eight.
MAX_CHARS = 324
MAX_VALUE_BYTES = 8 * MAX_CHARS

CHARACTER_SET = 0x00080005
_BEHIND_EVERY_TAG = 1 << 32
_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# PS3.5 A.5, and JPIP Referenced Deflate of A.6 and A.7: the dataset as a whole is deflated.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
# What pydicom raises on bytes that are no dataset; found by fuzzing, see tests/edge_agent/capture.
PYDICOM_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RecursionError, struct.error,
    TypeError, ValueError,
)  # fmt: skip


@dataclass
class Elements:
    """What was read. Every element with a tag under `below` has been seen: one in neither collection is not there."""

    found: dict[int, RawDataElement] = field(default_factory=dict)
    spoiled: set[int] = field(default_factory=set)  # there, and too long or a sequence
    below: int = 0

    def value(self, tag: int) -> bytes:
        element = self.found.get(tag)
        return b"" if element is None else element.value or b""


def read_elements(dataset: bytearray, transfer_syntax: str, wanted: Collection[int], *, whole: bool) -> Elements:
    """Return the elements in `wanted`, and Specific Character Set; `whole`: nothing comes after `dataset`."""
    elements = Elements()
    try:
        window, all_of_it = _plain(dataset, transfer_syntax)
        _read(window, transfer_syntax, wanted, elements, whole=whole and all_of_it)
    except (Malformed, zlib.error, *PYDICOM_ERRORS):
        # Not an outcome to hide: `below` says that it went no further.
        return elements
    return elements


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
    return _Window(inflate.decompress(dataset, MAX_BYTES)), inflate.eof


def _read(window: _Window, transfer_syntax: str, wanted: Collection[int], elements: Elements, *, whole: bool) -> None:
    last, previous = max(wanted), -1

    def stop_when(base_tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal previous
        tag = int(base_tag)  # which compares in a fraction of the time
        if tag <= previous:
            raise Malformed("dataset", "elements are not in ascending order")
        if tag == CHARACTER_SET and length > MAX_VALUE_BYTES:
            raise Malformed("dataset", "its character sets are more than there are")
        # This is called with an element's header, so all elements before it have been there whole.
        previous = elements.below = tag
        return tag > last

    generator = data_element_generator(
        window,
        is_implicit_VR=transfer_syntax == _IMPLICIT_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax != _EXPLICIT_BIG_ENDIAN,
        stop_when=stop_when,
        defer_size=MAX_VALUE_BYTES,  # a longer value is passed over and not held
        specific_tags=[*wanted],
    )
    cut_off = False
    for element in generator:
        if not isinstance(element, RawDataElement) or element.length > MAX_VALUE_BYTES:
            elements.spoiled.add(int(element.tag))
        elif len(element.value or b"") != element.length:
            cut_off = True
        else:
            elements.found[int(element.tag)] = element
    if whole and not cut_off and not window.cut_off and window.tell() == len(window.getbuffer()):
        elements.below = _BEHIND_EVERY_TAG

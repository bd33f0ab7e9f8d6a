"""Reads from a passing dataset what people look an image up by, and what the rules of a policy look at.

Reads top-level elements in order and stops after the last one that it needs, far in front of the pixel data. No more
of a passing dataset is held than that takes. A dataset that cannot be read that far gives an entry that says so, and is
captured all the same; the two purposes are judged apart, so that an image can be found that cannot be graded.
"""

from collections.abc import Collection, Sequence

from pydicom.charset import decode_bytes, python_encoding

from edge_agent.capture.elements import (
    CHARACTER_SET,
    MAX_BYTES,
    MAX_CHARS,
    PYDICOM_ERRORS,
    Elements,
    read_elements,
)
from shared.errors import Malformed
from shared.policy.grading import CALLING_AE_TITLE
from shared.sealing.index import IndexEntry

# A passing dataset is looked at when this much of it has come, and each time it has grown by `_GROWTH`.
_FIRST_LOOK_BYTES, _GROWTH = 16 << 10, 4

_INDEX_TAGS = {
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
_NAME_DELIMITERS = {0x5C, 0x5E, 0x3D}  # backslash, ^ and =: PS3.5 section 6.1.2.5.3
_UNREADABLE = IndexEntry(False, *[""] * 9)

GRADING_TAGS = {
    "sop_class_uid": 0x00080016,
    "modality": 0x00080060,
    "institution_name": 0x00080080,
    "referring_physician": 0x00080090,
    "station_name": 0x00081010,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "department_name": 0x00081040,
    "patient_name": 0x00100010,
    "patient_id": 0x00100020,
    "body_part": 0x00180015,
    "protocol_name": 0x00181030,
    "burned_in_annotation": 0x00280301,
}
# None: the transfer syntax has none. UN: the text is the same bytes. Anything else is no text, whatever it holds.
_TEXT_VRS = (None, "AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UN", "UT")


class IndexReader:
    """Reads from a dataset that passes in pieces; holds at most 8 MiB of it, and nothing once it has what it needs.

    `looked_at` are the attributes of a policy's rules; how far is read depends on them.
    """

    def __init__(self, transfer_syntax: str, looked_at: Collection[str] = ()) -> None:
        self._transfer_syntax = transfer_syntax
        self._looked_at = {name: GRADING_TAGS[name] for name in looked_at if name != CALLING_AE_TITLE}
        self._wanted = {*_INDEX_TAGS, *self._looked_at.values()}
        self._gathered = bytearray()
        self._next_look = _FIRST_LOOK_BYTES
        self._entry: IndexEntry | None = None
        self._attributes: dict[str, str] | None = None
        self._done = False

    @property
    def attributes(self) -> dict[str, str] | None:
        """What the rules look at, empty text for what is not there; None if not all of it could be read.

        It is there once `finish` has returned.
        """
        return self._attributes

    def update(self, data: memoryview) -> None:
        while not self._done and data:
            taken = data[: self._next_look - len(self._gathered)]
            self._gathered += taken
            data = data[len(taken) :]
            if len(self._gathered) == self._next_look:
                self._look(whole=False)
                self._next_look = min(self._next_look * _GROWTH, MAX_BYTES)

    def finish(self) -> IndexEntry:
        """Return the index attributes; `evaluated` is False when they could not be read."""
        if not self._done:
            self._look(whole=True)
        return self._entry or _UNREADABLE

    def _look(self, *, whole: bool) -> None:
        elements = read_elements(self._gathered, self._transfer_syntax, self._wanted, whole=whole)
        if self._entry is None and elements.below > max(_INDEX_TAGS):
            self._entry = _index(elements)
        if elements.below > max(self._wanted):
            self._attributes = _looked_at(elements, self._looked_at)
            self._done = True
        if self._entry is not None and not self._entry.evaluated:
            # Bytes that were not understood so far are not understood further on.
            self._attributes, self._done = None, True
        if whole or len(self._gathered) == MAX_BYTES:
            self._done = True
        if self._done:
            self._gathered = bytearray()


def _index(elements: Elements) -> IndexEntry:
    # PS3.3 C.12.1: type 1 in every composite object. Bytes in which they are missing were not understood.
    if not all(elements.value(tag) for tag in _ALWAYS_THERE) or not elements.spoiled.isdisjoint(_INDEX_TAGS):
        return _UNREADABLE
    try:
        encodings = _encodings(elements.value(CHARACTER_SET))
        values = {name: _text(elements.value(tag), encodings) for tag, name in _INDEX_TAGS.items()}
    except (Malformed, *PYDICOM_ERRORS):
        return _UNREADABLE
    return IndexEntry(evaluated=True, **values)


def _looked_at(elements: Elements, tags: dict[str, int]) -> dict[str, str] | None:
    if not elements.spoiled.isdisjoint(tags.values()):
        return None
    if any(elements.found[tag].VR not in _TEXT_VRS for tag in tags.values() if tag in elements.found):
        return None
    try:
        encodings = _encodings(elements.value(CHARACTER_SET))
        return {name: _certain_text(elements.value(tag), encodings) for name, tag in tags.items()}
    except (Malformed, *PYDICOM_ERRORS):
        return None


def _encodings(value: bytes) -> list[str]:
    """Return the Python codecs of a Specific Character Set value, none if one of its terms is unknown to us."""
    terms = [term.strip(b" \x00").decode("ascii", "replace") for term in value.split(b"\\")]
    codecs = [python_encoding.get(term, "") for term in terms]
    return codecs if all(codecs) else []


def _text(value: bytes, encodings: Sequence[str]) -> str:
    text = decode_bytes(value, encodings, _NAME_DELIMITERS) if encodings else "�"
    if "�" in text:
        # Not in the character set it claims. ISO 8859-1 reads every byte, and is what such devices mostly mean.
        text = value.decode("iso8859-1")
    text = text.strip(" \x00")
    if len(text) > MAX_CHARS:
        raise Malformed("dataset", "an attribute is longer than the sealed index takes")
    return text


def _certain_text(value: bytes, encodings: Sequence[str]) -> str:
    """Return a value for rules to look at, which grade by what it says. Raises Malformed rather than guess."""
    if value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
    else:
        text = decode_bytes(value, encodings, _NAME_DELIMITERS) if encodings else "�"
    text = text.strip(" \x00")
    if any(char == "�" or char < " " for char in text):
        raise Malformed("dataset", "an attribute is not in the character set it claims")
    return text

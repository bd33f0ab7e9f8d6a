"""Reads from a passing dataset what people look an image up by, and what the rules of a policy look at.

Reads top-level elements in order and stops after the last one that it needs, far in front of the pixel data. Of a
passing dataset it holds the values that it wants and nothing else. A dataset that cannot be read that far gives an
entry that says so, and is captured all the same; the two purposes are judged apart, so that an image can be found that
cannot be graded.
"""

from collections.abc import Collection, Sequence
from unicodedata import category

from pydicom.charset import decode_bytes, python_encoding

from edge_agent.capture.elements import CHARACTER_SET, MAX_CHARS, ElementReader, Elements
from shared.errors import Malformed
from shared.policy.grading import CALLING_AE_TITLE
from shared.sealing.index import IndexEntry

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
_DECODING_ERRORS = (LookupError, ValueError)  # of pydicom and Python's codecs
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
# Empty: implicit VR. UN: the text is the same bytes. Anything else is no text, whatever it holds.
_TEXT_VRS = ("", "AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UN", "UT")


class IndexReader:
    """Reads from a dataset that passes in pieces.

    `looked_at` are the attributes of a policy's rules; how far is read depends on them.
    """

    def __init__(self, transfer_syntax: str, looked_at: Collection[str] = ()) -> None:
        self._looked_at = {name: GRADING_TAGS[name] for name in looked_at if name != CALLING_AE_TITLE}
        self._last = max(*_INDEX_TAGS, *self._looked_at.values())
        self._reader = ElementReader(transfer_syntax, {*_INDEX_TAGS, *self._looked_at.values()})
        self._attributes: dict[str, str] | None = None

    @property
    def attributes(self) -> dict[str, str] | None:
        """What the rules look at, empty text for what is not there; None if not all of it could be read.

        It is there once `finish` has returned.
        """
        return self._attributes

    def update(self, data: memoryview) -> None:
        self._reader.update(data)

    def finish(self) -> IndexEntry:
        """Return the index attributes; `evaluated` is False when they could not be read."""
        elements = self._reader.finish()
        entry = _index(elements) if elements.below > max(_INDEX_TAGS) else _UNREADABLE
        # Bytes that were not understood so far are not understood further on.
        if entry.evaluated and elements.below > self._last:
            self._attributes = _looked_at(elements, self._looked_at)
        return entry


def _index(elements: Elements) -> IndexEntry:
    # PS3.3 C.12.1: type 1 in every composite object. Bytes in which they are missing were not understood.
    if not all(elements.value(tag) for tag in _ALWAYS_THERE) or not elements.spoiled.isdisjoint(_INDEX_TAGS):
        return _UNREADABLE
    try:
        encodings = _encodings(elements.value(CHARACTER_SET))
        values = {name: _text(elements.value(tag), encodings) for tag, name in _INDEX_TAGS.items()}
    except (Malformed, *_DECODING_ERRORS):
        return _UNREADABLE
    return IndexEntry(evaluated=True, **values)


def _looked_at(elements: Elements, tags: dict[str, int]) -> dict[str, str] | None:
    if not elements.spoiled.isdisjoint(tags.values()):
        return None
    if any(elements.found[tag].vr not in _TEXT_VRS for tag in tags.values() if tag in elements.found):
        return None
    try:
        encodings = _encodings(elements.value(CHARACTER_SET))
        return {name: _certain_text(elements.value(tag), encodings) for name, tag in tags.items()}
    except (Malformed, *_DECODING_ERRORS):
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
    if any(char == "�" or category(char) == "Cc" for char in text):
        raise Malformed("dataset", "an attribute is not in the character set it claims")
    return text

"""Identifiers of C-FIND, Study Root (DICOM PS3.4 annex C): what is asked, and what a stranger answers.

    identifier = element*, ascending tags; explicit or implicit VR little endian (PS3.5 section 7.1)
    explicit   = u16 group || u16 element || VR || u16 length || value
               | u16 group || u16 element || VR || 0x0000 || u32 length || value      for the VRs in `_LONG`
    implicit   = u16 group || u16 element || u32 length || value

Only flat elements are read: nothing is asked whose answer is a sequence, and one that comes with a defined length is
skipped. No value stands in an error, for any may name a patient.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from struct import Struct

from shared.errors import Malformed

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
MAX_BYTES = 64 << 10  # of one answer; the few attributes that are asked for need less than one

_TAG, _U16, _U32 = Struct("<HH"), Struct("<H"), Struct("<I")
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UID = re.compile(r"[0-9.]{1,64}")
_COUNT = re.compile(r"[+]?[0-9]{1,9}")
_CHARACTER_SETS = {"ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1"}


class Tag(IntEnum):
    CHARACTER_SET = 0x0008_0005
    STUDY_DATE = 0x0008_0020
    LEVEL = 0x0008_0052
    SOP_INSTANCE_UID = 0x0008_0018
    MODALITY = 0x0008_0060
    MODALITIES_IN_STUDY = 0x0008_0061
    STATION_NAME = 0x0008_1010
    STUDY_INSTANCE_UID = 0x0020_000D
    SERIES_INSTANCE_UID = 0x0020_000E
    SERIES_IN_STUDY = 0x0020_1206
    INSTANCES_IN_SERIES = 0x0020_1209


_VR = {
    Tag.STUDY_DATE: b"DA",
    Tag.LEVEL: b"CS",
    Tag.SOP_INSTANCE_UID: b"UI",
    Tag.MODALITY: b"CS",
    Tag.MODALITIES_IN_STUDY: b"CS",
    Tag.STATION_NAME: b"SH",
    Tag.STUDY_INSTANCE_UID: b"UI",
    Tag.SERIES_INSTANCE_UID: b"UI",
    Tag.SERIES_IN_STUDY: b"IS",
    Tag.INSTANCES_IN_SERIES: b"IS",
}


@dataclass(frozen=True)
class Study:
    """`modalities` is empty where the archive does not say, or leaves out one; `series` is None where it does not."""

    uid: str
    modalities: frozenset[str]
    series: int | None


@dataclass(frozen=True)
class Series:
    """`station_name` is empty where the archive does not say, or the series has none; that cannot be told apart."""

    study: str
    uid: str
    modality: str
    station_name: str
    instances: int | None


@dataclass(frozen=True)
class Instance:
    study: str
    series: str
    uid: str


def of_day(day: date, syntax: str) -> bytes:
    """Ask for every study of a day, whatever its modalities.

    Both counts and modalities are asked for and not matched on: an archive that reads an optional matching key wrongly
    would leave studies out, and nobody would see it.
    """
    keys = {Tag.STUDY_DATE: f"{day:%Y%m%d}", Tag.STUDY_INSTANCE_UID: ""}
    return _encode({**keys, Tag.LEVEL: "STUDY", Tag.MODALITIES_IN_STUDY: "", Tag.SERIES_IN_STUDY: ""}, syntax)


def of_study(study: str, syntax: str) -> bytes:
    """Ask for every series of a study."""
    keys = {Tag.LEVEL: "SERIES", Tag.STUDY_INSTANCE_UID: study, Tag.SERIES_INSTANCE_UID: ""}
    return _encode({**keys, Tag.MODALITY: "", Tag.STATION_NAME: "", Tag.INSTANCES_IN_SERIES: ""}, syntax)


def of_series(study: str, series: str, syntax: str, instance: str = "") -> bytes:
    """Ask for every instance of a series, or for the one given."""
    keys = {Tag.LEVEL: "IMAGE", Tag.STUDY_INSTANCE_UID: study, Tag.SERIES_INSTANCE_UID: series}
    return _encode({**keys, Tag.SOP_INSTANCE_UID: instance}, syntax)


def parse_study(data: bytes, syntax: str) -> Study:
    """Raises Malformed."""
    values = _Values(data, syntax)
    listed = frozenset(one.strip() for one in values.text(Tag.MODALITIES_IN_STUDY).split("\\"))
    modalities = frozenset() if "" in listed else listed
    return Study(values.uid(Tag.STUDY_INSTANCE_UID), modalities, values.count(Tag.SERIES_IN_STUDY))


def parse_series(data: bytes, syntax: str, study: str) -> Series:
    """Read an answer about a series of `study`, whose UID an archive may leave out. Raises Malformed: it is another."""
    values = _Values(data, syntax)
    values.verify_same(Tag.STUDY_INSTANCE_UID, study)
    return Series(
        study,
        values.uid(Tag.SERIES_INSTANCE_UID),
        values.text(Tag.MODALITY),
        values.text(Tag.STATION_NAME),
        values.count(Tag.INSTANCES_IN_SERIES),
    )


def parse_instance(data: bytes, syntax: str, study: str, series: str) -> Instance:
    """Raises Malformed: also where it is an instance of something that was not asked about."""
    values = _Values(data, syntax)
    values.verify_same(Tag.STUDY_INSTANCE_UID, study)
    values.verify_same(Tag.SERIES_INSTANCE_UID, series)
    return Instance(study, series, values.uid(Tag.SOP_INSTANCE_UID))


class _Values:
    """The flat elements of one answer."""

    def __init__(self, data: bytes, syntax: str) -> None:
        if len(data) > MAX_BYTES:
            raise Malformed("C-FIND identifier", f"larger than {MAX_BYTES} bytes")
        self._values = dict(_elements(data, is_explicit=_is_explicit(syntax)))

    def text(self, tag: Tag) -> str:
        named = self._values.get(Tag.CHARACTER_SET, b"").decode("ascii", "replace").strip("\x00 ")
        return self._values.get(tag, b"").decode(_CHARACTER_SETS.get(named, "ascii"), "replace").strip("\x00 ")

    def uid(self, tag: Tag) -> str:
        uid = self.text(tag)
        if not _UID.fullmatch(uid):
            raise Malformed("C-FIND identifier", f"{_name(tag)} is missing or no UID")
        return uid

    def count(self, tag: Tag) -> int | None:
        text = self.text(tag)
        return int(text) if _COUNT.fullmatch(text) else None

    def verify_same(self, tag: Tag, asked: str) -> None:
        if self._values.get(tag, b"").strip(b"\x00 ") and self.text(tag) != asked:
            raise Malformed("C-FIND identifier", f"{_name(tag)} is not the one that was asked about")


def _encode(values: Mapping[Tag, str], syntax: str) -> bytes:
    is_explicit = _is_explicit(syntax)
    parts = []
    for tag in sorted(values):
        vr, value = _VR[tag], values[tag].encode("ascii")
        value += (b"\x00" if vr == b"UI" else b" ") * (len(value) % 2)
        length = vr + _U16.pack(len(value)) if is_explicit else _U32.pack(len(value))
        parts.append(_TAG.pack(tag >> 16, tag & 0xFFFF) + length + value)
    return b"".join(parts)


def _elements(data: bytes, *, is_explicit: bool) -> Iterator[tuple[int, bytes]]:
    position, previous = 0, -1
    while position < len(data):
        group, element = _unpack(_TAG, data, position)
        tag, position = group << 16 | element, position + _TAG.size
        length, position = _length(data, position, is_explicit=is_explicit)
        # An undefined length, 0xFFFFFFFF, is longer than any answer and so refused here too.
        if length > len(data) - position:
            raise Malformed("C-FIND identifier", f"{_name(tag)} is longer than what follows")
        if tag <= previous:
            raise Malformed("C-FIND identifier", "its elements are not in ascending order")
        yield tag, data[position : position + length]
        position, previous = position + length, tag


def _length(data: bytes, position: int, *, is_explicit: bool) -> tuple[int, int]:
    """Return the length of a value and where it begins."""
    if not is_explicit:
        return _unpack(_U32, data, position)[0], position + 4
    if data[position : position + 2] in _LONG:
        return _unpack(_U32, data, position + 4)[0], position + 8
    return _unpack(_U16, data, position + 2)[0], position + 4


def _unpack(form: Struct, data: bytes, position: int) -> tuple[int, ...]:
    if len(data) - position < form.size:
        raise Malformed("C-FIND identifier", "it ends within an element")
    return form.unpack_from(data, position)


def _is_explicit(syntax: str) -> bool:
    if syntax not in (EXPLICIT_LE, IMPLICIT_LE):
        raise Malformed("C-FIND identifier", f"transfer syntax {syntax} was not offered")
    return syntax == EXPLICIT_LE


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"

"""Identifiers as another implementation reads and writes them, and what must never be believed."""

from datetime import date
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from control_plane.coverage import identifier
from control_plane.coverage.identifier import EXPLICIT_LE, IMPLICIT_LE, Instance, Series, Study
from shared.errors import Malformed

SYNTAXES = [EXPLICIT_LE, IMPLICIT_LE]
both = pytest.mark.parametrize("syntax", SYNTAXES)


def written(made: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, syntax == IMPLICIT_LE
    write_dataset(file, made)
    return file.getvalue()


def read(data: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT_LE, True)


def answer(**values: object) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@both
def test_pydicom_reads_what_is_asked(syntax: str) -> None:
    study = read(identifier.of_day(date(2026, 3, 1), syntax), syntax)
    series = read(identifier.of_study("1.2.3", syntax), syntax)
    instance = read(identifier.of_series("1.2.3", "1.2.34", syntax), syntax)
    one = read(identifier.of_series("1.2.3", "1.2.34", syntax, "1.9"), syntax)

    assert (study.QueryRetrieveLevel, study.StudyDate, study.StudyInstanceUID) == ("STUDY", "20260301", "")
    assert (series.QueryRetrieveLevel, series.StudyInstanceUID, series.SeriesInstanceUID) == ("SERIES", "1.2.3", "")
    assert (series.Modality, series.StationName) == ("", "")
    assert (instance.QueryRetrieveLevel, instance.SeriesInstanceUID, instance.SOPInstanceUID) == (
        "IMAGE", "1.2.34", "",
    )  # fmt: skip
    assert one.SOPInstanceUID == "1.9"


@both
def test_answers_of_pydicom_are_read(syntax: str) -> None:
    study = answer(
        QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3", ModalitiesInStudy=["CT", "SR"],
        NumberOfStudyRelatedSeries="4",
    )  # fmt: skip
    series = answer(SeriesInstanceUID="1.2.34", Modality="CT", StationName="ROOM 1", NumberOfSeriesRelatedInstances="9")
    instance = answer(StudyInstanceUID="1.2.3", SOPInstanceUID="1.9")

    assert identifier.parse_study(written(study, syntax), syntax) == Study("1.2.3", frozenset({"CT", "SR"}), 4)
    study.ModalitiesInStudy = ["CT", ""]
    assert identifier.parse_study(written(study, syntax), syntax).modalities == frozenset()
    assert identifier.parse_series(written(series, syntax), syntax, "1.2.3") == Series(
        "1.2.3", "1.2.34", "CT", "ROOM 1", 9
    )
    assert identifier.parse_instance(written(instance, syntax), syntax, "1.2.3", "1.2.34") == Instance(
        "1.2.3", "1.2.34", "1.9"
    )


@both
def test_a_station_is_read_in_the_character_set_of_the_answer(syntax: str) -> None:
    series = answer(SpecificCharacterSet="ISO_IR 192", SeriesInstanceUID="1.2", Modality="CT", StationName="Röntgen")

    assert identifier.parse_series(written(series, syntax), syntax, "1").station_name == "Röntgen"


@both
def test_what_is_not_asked_for_is_skipped(syntax: str) -> None:
    made = answer(StudyInstanceUID="1.2.3", PatientName="Muster^Erika", AccessionNumber="A-1")
    made.ReferencedStudySequence = Sequence([answer(StudyInstanceUID="9.9")])

    assert identifier.parse_study(written(made, syntax), syntax) == Study("1.2.3", frozenset(), None)


@both
@pytest.mark.parametrize("uid", ["", "1.2.x", "Muster", "1" * 65])
def test_an_answer_without_a_uid_is_refused_and_not_quoted(syntax: str, uid: str) -> None:
    made = Dataset()
    made.add_new(0x00100010, "PN", "Muster^Erika")
    made.add_new(0x0020000D, "UT", uid)

    with pytest.raises(Malformed) as refused:
        identifier.parse_study(written(made, syntax), syntax)
    assert "Muster" not in str(refused.value)


@both
def test_an_answer_about_something_else_is_refused(syntax: str) -> None:
    other = written(answer(SOPInstanceUID="1.9", StudyInstanceUID="6.6.6"), syntax)

    with pytest.raises(Malformed, match="not the one that was asked about"):
        identifier.parse_instance(other, syntax, "1.2.3", "1.2.34")


@given(st.data(), st.sampled_from(SYNTAXES))
def test_any_cut_of_an_answer_is_read_or_refused(data: st.DataObject, syntax: str) -> None:
    whole = identifier.of_series("1.2.3", "1.2.34", syntax, "1.9")
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    with pytest.raises(Malformed):
        identifier.parse_series(cut, syntax, "9.9.9")


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_whatever_comes_is_read_or_refused(rubbish: bytes, syntax: str) -> None:
    try:
        identifier.parse_study(rubbish, syntax)
    except Malformed:
        return


@both
def test_more_than_is_ever_needed_is_refused(syntax: str) -> None:
    with pytest.raises(Malformed, match="larger than"):
        identifier.parse_study(bytes(identifier.MAX_BYTES + 1), syntax)


def test_undefined_lengths_are_refused() -> None:
    endless = b"\x08\x00\x10\x11SQ\x00\x00\xff\xff\xff\xff"

    with pytest.raises(Malformed, match="longer than what follows"):
        identifier.parse_study(endless, EXPLICIT_LE)

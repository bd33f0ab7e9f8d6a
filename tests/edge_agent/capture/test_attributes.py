"""The index attributes: read where they can be, and never a wrong "there is none"."""

import tracemalloc
import zlib

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from edge_agent.capture.attributes import IndexReader
from edge_agent.capture.elements import ElementReader
from shared.sealing.index import IndexEntry
from tests.edge_agent.capture.images import NAMES, load

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip
# pydicom warns about what it finds odd; the agent's process has warnings off, because they quote what was read.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

TAG_OF = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "accession_number": "AccessionNumber",
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "sop_instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
    "modality": "Modality",
}


def encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR = transfer_syntax == IMPLICIT
    stream.is_little_endian = transfer_syntax != BIG
    write_dataset(stream, dataset)
    if transfer_syntax != DEFLATED:
        return stream.getvalue()
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(stream.getvalue()) + deflate.flush()


def patient(**more: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    dataset.PatientID, dataset.PatientName = "4711", "Doe^Jane"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.InstanceNumber = "1"
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


def read(data: bytes, transfer_syntax: str = EXPLICIT) -> IndexEntry:
    return read_in_pieces(data, transfer_syntax, len(data))


def read_in_pieces(data: bytes, transfer_syntax: str, size: int) -> IndexEntry:
    reader = IndexReader(transfer_syntax)
    for start in range(0, len(data), max(size, 1)):
        reader.update(memoryview(data)[start : start + size])
    return reader.finish()


@pytest.mark.parametrize("name", NAMES)
def test_real_images_read_as_pydicom_reads_them(name: str) -> None:
    sent = load(name)
    whole = pydicom.dcmread(sent.path, stop_before_pixels=True)

    entry = read(sent.dataset, sent.transfer_syntax)
    assert entry.evaluated
    assert {k: getattr(entry, k) for k in TAG_OF} == {k: str(whole.get(t, "") or "").strip() for k, t in TAG_OF.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [997, 16_384, 65_536])
def test_what_passes_in_pieces_reads_as_the_whole_does(name: str, size: int) -> None:
    sent = load(name)

    assert read_in_pieces(sent.dataset, sent.transfer_syntax, size) == read(sent.dataset, sent.transfer_syntax)


@pytest.mark.parametrize("extra_bytes", [16_000, 16_384, 65_000, 300_000, (2 << 20) + 1])
@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, DEFLATED])
def test_attributes_behind_a_large_element_are_read_too(extra_bytes: int, transfer_syntax: str) -> None:
    dataset = patient()
    dataset.add_new(0x00090010, "LO", "LARGE")
    dataset.add_new(0x00091010, "OB", bytes(extra_bytes + extra_bytes % 2))

    entry = read_in_pieces(encoded(dataset, transfer_syntax), transfer_syntax, 50_000)
    assert (entry.evaluated, entry.patient_id, entry.series_instance_uid) == (True, "4711", "1.2.3.1")


def test_a_look_that_ends_between_two_elements_is_not_the_end_of_the_dataset() -> None:
    dataset = patient()
    del dataset.PatientID, dataset.InstanceNumber
    dataset.add_new(0x00090010, "LO", "LARGE")
    before = len(encoded(dataset[:0x00100000], EXPLICIT))
    dataset.add_new(0x00091010, "OB", bytes(16_384 - before - 12))
    data = encoded(dataset, EXPLICIT)
    assert len(encoded(dataset[:0x00100000], EXPLICIT)) == 16_384

    assert read_in_pieces(data, EXPLICIT, 16_384) == read(data)
    assert read(data).patient_name == "Doe^Jane"


def test_a_reader_holds_little_of_an_endless_dataset() -> None:
    reader = IndexReader(EXPLICIT)
    tracemalloc.start()
    for _ in range(64):
        reader.update(memoryview(bytes(1 << 20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 40 << 20
    assert not reader.finish().evaluated


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_reads_every_encoding(transfer_syntax: str) -> None:
    entry = read(encoded(patient(), transfer_syntax), transfer_syntax)

    assert (entry.evaluated, entry.patient_id, entry.patient_name) == (True, "4711", "Doe^Jane")


@pytest.mark.parametrize(
    "charset, name",
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Müller^Jörg=王^小東"),
        ("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001  (the name in DICOM PS3.5 annex H is Cyrillic)
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_are_read_in_their_character_set(charset: "str | list[str]", name: str) -> None:
    entry = read(encoded(patient(SpecificCharacterSet=charset, PatientName=name), EXPLICIT))

    assert (entry.evaluated, entry.patient_name) == (True, name)


def test_a_name_in_no_known_character_set_hides_nothing_else() -> None:
    data = encoded(patient(), EXPLICIT).replace(b"Doe^Jane", b"D\xf6e^J\xe4ne")

    entry = read(data)
    assert (entry.evaluated, entry.patient_id, entry.patient_name) == (True, "4711", "Döe^Jäne")


def test_values_inside_sequences_are_not_taken_for_the_image_s_own() -> None:
    other = Dataset()
    other.PatientID, other.SOPInstanceUID = "SOMEBODY ELSE", "9.9.9"
    entry = read(
        encoded(patient(ReferencedImageSequence=[other], RequestAttributesSequence=[other]), IMPLICIT), IMPLICIT
    )

    assert (entry.patient_id, entry.sop_instance_uid) == ("4711", "1.2.3.4")


def test_an_image_without_a_patient_number_is_evaluated_and_has_none() -> None:
    dataset = patient()
    del dataset.PatientID

    assert read(encoded(dataset, EXPLICIT)).evaluated
    assert read(encoded(dataset, EXPLICIT)).patient_id == ""


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_dataset_cut_anywhere_before_its_end_never_claims_to_have_been_read(transfer_syntax: str) -> None:
    dataset = patient()
    del dataset.InstanceNumber
    data = encoded(dataset, transfer_syntax)
    # Between two elements a shorter dataset is itself a whole one; everywhere else the cut shows.
    ends = {len(encoded(dataset[: element.tag], transfer_syntax)) for element in dataset}

    for cut in range(1, len(data)):
        if cut not in ends:
            assert not read(data[:cut], transfer_syntax).evaluated, cut


def test_elements_out_of_order_are_not_taken_for_a_missing_patient() -> None:
    late, early = Dataset(), patient()
    late.PatientID = early.PatientID
    del early.PatientID, early.InstanceNumber

    assert not read(encoded(early, EXPLICIT) + encoded(late, EXPLICIT)).evaluated


def test_a_deflate_bomb_is_not_followed() -> None:
    padding = patient()
    padding.add_new(0x00090010, "LO", "BOMB")
    padding.add_new(0x00091010, "OB", bytes(64 << 20))
    bomb = encoded(padding, DEFLATED)
    reader = ElementReader(DEFLATED, {0x00100020})
    reader.update(memoryview(bomb))

    assert len(bomb) < 100_000
    assert reader.done, "nothing of it is inflated any more"
    assert not read(bomb, DEFLATED).evaluated


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(64), b"\xff" * 64, b"DICM" * 100])
@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_what_is_no_dataset_is_not_evaluated(data: bytes, transfer_syntax: str) -> None:
    assert not read(data, transfer_syntax).evaluated


def test_a_value_too_long_for_the_index_is_not_cut_down_to_fit() -> None:
    data = encoded(patient(), EXPLICIT).replace(b"LO\x04\x004711", b"LO" + (400).to_bytes(2, "little") + b"4" * 400)

    assert not read(data).evaluated


def test_sequences_nested_beyond_reason_are_not_evaluated() -> None:
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000

    assert not read(nested).evaluated


@st.composite
def sequences(draw: st.DrawFn, depth: int = 4) -> Sequence:
    """Draw a sequence of a few items with sequences in them; some of the items say how long they are."""
    items = []
    for _ in range(draw(st.integers(0, 3))):
        dataset = Dataset()
        dataset.PatientID, dataset.SOPInstanceUID = "SOMEBODY ELSE", "9.9.9"
        if depth and draw(st.booleans()):
            dataset.ReferencedImageSequence = draw(sequences(depth - 1))
        dataset.is_undefined_length_sequence_item = draw(st.booleans())
        items.append(dataset)
    return Sequence(items)


@given(st.lists(st.tuples(sequences(), st.booleans()), min_size=1, max_size=3), st.data())
def test_whatever_well_formed_sequences_stand_before_it_an_attribute_is_read(
    before: list[tuple[Sequence, bool]], data: st.DataObject
) -> None:
    dataset = patient()
    for number, (sequence, has_no_length) in enumerate(before):
        tag = 0x00081110 + 5 * number  # Referenced Study, Referenced Series and another
        dataset.add_new(tag, "SQ", sequence)
        dataset[tag].is_undefined_length = has_no_length
    transfer_syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))

    entry = read_in_pieces(encoded(dataset, transfer_syntax), transfer_syntax, data.draw(st.integers(1, 200)))
    assert (entry.evaluated, entry.patient_id, entry.sop_instance_uid) == (True, "4711", "1.2.3.4")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
def test_no_bytes_make_it_raise(data: bytes, transfer_syntax: str) -> None:
    assert isinstance(read(data, transfer_syntax), IndexEntry)


REAL = [load(name) for name in NAMES]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_a_real_image_makes_it_raise_or_breaks_the_entry(data: st.DataObject) -> None:
    sent = data.draw(st.sampled_from(REAL))
    damaged = bytearray(sent.dataset[:3000])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    entry = read(bytes(damaged), data.draw(st.sampled_from([sent.transfer_syntax, IMPLICIT, EXPLICIT, BIG])))
    assert IndexEntry.parse(entry.encode()) == entry

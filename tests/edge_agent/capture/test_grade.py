"""Grades: by rules where the image can be read, and the strictest where it cannot."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from edge_agent.capture import grade
from edge_agent.capture.attributes import GRADING_TAGS, IndexReader
from shared.policy.document import ORGANISATION, KeyPurpose, PolicyDocument, SealingKey
from shared.policy.grading import ATTRIBUTES, CALLING_AE_TITLE, Grading, Rule
from shared.policy.routes import Peer, Route, Via
from shared.sealing import object_file
from shared.sealing.hpke import SealedBox, SealingPrivateKey
from shared.sealing.record import CaptureRecord
from tests.edge_agent.capture.images import NAMES, load
from tests.edge_agent.capture.test_attributes import BIG, DEFLATED, EXPLICIT, IMPLICIT, encoded, patient
from tests.fakes.host import Host
from tests.fakes.signers import document

# pydicom warns about what it finds odd; the agent's process has warnings off, because they quote what was read.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

KEYS = {
    name: SealingPrivateKey(bytes([number]) * 32) for number, name in enumerate(("general", "restricted", "secret"))
}
ROUTES = tuple(Route(name, Via.CENTRE, "LEADGLASS", Peer("PACS", "127.0.0.1", 104)) for name in ("pacs", "unread"))
BREAST = Rule((("department_name", ("*BREAST*",)), ("modality", ("MG",))), "secret", ("pacs",))
BURNED = Rule((("burned_in_annotation", ("YES",)),), "restricted")
PHANTOM = Rule((("calling_ae_title", ("PHANTOM*",)),), "restricted", ("unread",))
RULES = (BREAST, BURNED, PHANTOM)


def graded_by(*rules: Rule) -> Grading:
    return Grading("general", ("general", "restricted", "secret"), rules, ("pacs",), ("unread",))


def policy_with(host: Host, grading: Grading, version: int = 1) -> PolicyDocument:
    keys = [SealingKey(KeyPurpose.DATA, name, 1, key.public) for name, key in KEYS.items()]
    base = document(version, host.keys, host.receipts.public)
    others = [key for key in base.keys if key.purpose is not KeyPurpose.DATA]
    return replace(base, grading=grading, keys=(*keys, *others), routes=ROUTES)


def in_force(host: Host, grading: Grading) -> None:
    policy = policy_with(host, grading)
    assert PolicyDocument.parse(policy.encode()) == policy
    host.act_by(policy)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    in_force(host, graded_by(*RULES))
    return host


def captured(host: Host, data: bytes, transfer_syntax: str = EXPLICIT) -> tuple[CaptureRecord, str]:
    """Return what the record says, and the grade of the key that the image was sealed to."""
    host.capture(data, transfer_syntax)
    oldest = host.spool.oldest()
    assert oldest is not None
    with host.spool.open(oldest) as file:
        parts = object_file.parse(BytesIO(file.read()))
    key_id = SealedBox.parse(parts.wrap).key_id
    (sealed_to,) = [name for name, key in KEYS.items() if key.public.key_id == key_id]
    return CaptureRecord.parse(parts.record[28:-64]), sealed_to


def read(
    data: bytes, looked_at: frozenset[str] | set[str], transfer_syntax: str = EXPLICIT, size: int = 0
) -> IndexReader:
    reader = IndexReader(transfer_syntax, looked_at)
    size = size or max(len(data), 1)
    for start in range(0, len(data), size):
        reader.update(memoryview(data)[start : start + size])
    reader.finish()
    return reader


EVERYTHING = set(ATTRIBUTES) - {CALLING_AE_TITLE}

# ---- choosing


def test_the_first_rule_that_holds_decides(host: Host) -> None:
    policy = policy_with(host, graded_by(Rule((("modality", ("MG",)),), "restricted"), BREAST))

    chosen = grade.choose(policy, "MG1", {"modality": "MG", "department_name": "BREAST"})
    assert (chosen.grade, chosen.routes, chosen.reason) == ("restricted", (), "rule 1")


def test_an_image_that_no_rule_speaks_of_gets_the_default(host: Host) -> None:
    attributes = {"modality": "CT", "department_name": "", "burned_in_annotation": ""}

    chosen = grade.choose(policy_with(host, graded_by(*RULES)), "CT1", attributes)
    assert (chosen.grade, chosen.routes) == ("general", ("pacs",))


def test_what_could_not_be_read_gets_the_strictest_whatever_the_rules(host: Host) -> None:
    chosen = grade.choose(policy_with(host, graded_by(Rule((), "general"))), "CT1", None)

    assert (chosen.grade, chosen.routes) == ("secret", ("unread",))


def test_a_policy_with_one_grade_has_it_for_the_unreadable_too(host: Host) -> None:
    one = document(1, host.keys, host.receipts.public)

    assert grade.choose(one, "CT1", None).grade == grade.choose(one, "CT1", {}).grade == "restricted"


@given(
    attributes=st.none() | st.fixed_dictionaries(dict.fromkeys(EVERYTHING, st.text("aB*\\^= ", max_size=4))),
    rules=st.lists(
        st.builds(
            Rule,
            st.dictionaries(
                st.sampled_from(ATTRIBUTES), st.lists(st.text("aB*?", min_size=1), min_size=1).map(tuple), max_size=3
            ).map(lambda when: tuple(when.items())),
            st.sampled_from(sorted(KEYS)),
        ),
        max_size=4,
    ),
)
def test_the_grade_is_one_of_the_policy_and_unread_means_strictest(
    attributes: dict[str, str] | None, rules: list[Rule]
) -> None:
    grading = graded_by(*rules)
    policy = PolicyDocument(ORGANISATION, 1, (), (), None, grading, 1, 1)  # type: ignore[arg-type]

    chosen = grade.choose(policy, "aB", attributes)
    if attributes is None:
        assert chosen.grade == "secret"
    else:
        known = {**attributes, CALLING_AE_TITLE: "aB"}
        assert chosen.grade == next((rule.grade for rule in rules if rule.holds(known)), "general")


# ---- reading what rules look at


def test_every_attribute_of_a_policy_has_its_tag_in_the_order_of_the_data_set() -> None:
    assert (CALLING_AE_TITLE, *GRADING_TAGS) == ATTRIBUTES
    assert list(GRADING_TAGS.values()) == sorted(GRADING_TAGS.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 997])
def test_real_images_read_as_pydicom_reads_them(name: str, size: int) -> None:
    sent = load(name)
    whole = pydicom.dcmread(sent.path, stop_before_pixels=True)

    reader = read(sent.dataset, EVERYTHING, sent.transfer_syntax, size)
    assert reader.finish().evaluated
    assert reader.attributes == {
        name: str(whole[tag].value or "").strip() if tag in whole else "" for name, tag in GRADING_TAGS.items()
    }


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_reads_every_encoding(transfer_syntax: str) -> None:
    data = encoded(patient(Modality="MG", BodyPartExamined="BREAST", BurnedInAnnotation="YES"), transfer_syntax)

    attributes = read(data, EVERYTHING, transfer_syntax).attributes
    assert attributes is not None
    assert {name: text for name, text in attributes.items() if text} == {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "modality": "MG",
        "patient_name": "Doe^Jane",
        "patient_id": "4711",
        "body_part": "BREAST",
        "burned_in_annotation": "YES",
    }


@pytest.mark.parametrize("extra_bytes", [20_000, (2 << 20) + 2])
@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, DEFLATED])
def test_attributes_behind_a_large_private_element_are_read(extra_bytes: int, transfer_syntax: str) -> None:
    dataset = patient(BurnedInAnnotation="YES")
    dataset.add_new(0x00210010, "LO", "LARGE")
    dataset.add_new(0x00211010, "OB", bytes(extra_bytes))

    reader = read(encoded(dataset, transfer_syntax), {"burned_in_annotation"}, transfer_syntax, 50_000)
    assert reader.attributes == {"burned_in_annotation": "YES"}


def test_attributes_that_no_rule_looks_at_need_not_be_readable() -> None:
    early = encoded(patient(), EXPLICIT)
    data = early + early  # the second half goes back to lower tags

    assert read(data, {"patient_id"}).attributes == {"patient_id": "4711"}
    assert read(data, set()).attributes == {}
    assert read(data, {"burned_in_annotation"}).attributes is None
    assert read(data, {"burned_in_annotation"}).finish().evaluated


def spoiled_department(length: int, value: bytes, vr: bytes = b"LO") -> bytes:
    """Return a data set with these bytes for Institutional Department Name."""
    data = encoded(patient(InstitutionalDepartmentName="BREAST"), EXPLICIT)
    element = b"\x08\x00\x40\x10LO\x06\x00BREAST"
    assert element in data
    if vr in (b"OB", b"SQ", b"UN", b"UT"):
        head = vr + b"\x00\x00" + length.to_bytes(4, "little")
    else:
        head = vr + length.to_bytes(2, "little")
    return data.replace(element, element[:4] + head + value)


SEQUENCE = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
UNREADABLE: dict[str, Callable[[], bytes]] = {
    "too long": lambda: spoiled_department(4000, b"BREAST" + b" " * 3994),
    "a sequence": lambda: spoiled_department(8, SEQUENCE, b"SQ"),
    "a sequence without a length": lambda: spoiled_department(
        0xFFFFFFFF, SEQUENCE + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00", b"SQ"
    ),
    "bytes": lambda: spoiled_department(6, b"BREAST", b"OB"),
    "a number": lambda: spoiled_department(6, b"BREAST", b"US"),
    "control characters": lambda: spoiled_department(8, b"BRE\x00AST "),
    "an escape that no character set explains": lambda: spoiled_department(8, b"\x1b$BBREA "),
    "a character set it is not in": lambda: encoded(
        patient(SpecificCharacterSet="ISO_IR 192", InstitutionalDepartmentName="BREASTE"), EXPLICIT
    ).replace(b"BREASTE", b"BR\xc9ASTE"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_spoiled_attribute_is_not_read_and_hides_nothing_that_people_look_up_by(what: str) -> None:
    reader = read(UNREADABLE[what](), {"department_name"})

    assert reader.attributes is None
    assert reader.finish().patient_id == "4711"


def test_an_unknown_character_set_spoils_what_is_not_ascii() -> None:
    data = encoded(patient(InstitutionalDepartmentName="BREASTE"), EXPLICIT)
    # As damage leaves it: a term that pydicom takes for a known one's misspelling is read as that one.
    unknown = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192" + data
    attributes = read(
        unknown.replace(b"ISO_IR 192", b"ISO_IR 100").replace(b"BREASTE", b"BR\xc9ASTE"), {"department_name"}
    )

    assert attributes.attributes == {"department_name": "BRÉASTE"}
    assert read(unknown.replace(b"BREASTE", b"BR\xc9ASTE"), {"department_name"}).attributes is None


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_dataset_cut_anywhere_never_passes_for_one_without_the_attribute(transfer_syntax: str) -> None:
    dataset = patient(BurnedInAnnotation="YES")
    data = encoded(dataset, transfer_syntax)
    # Between two elements a shorter dataset is itself a whole one; everywhere else the cut shows.
    ends = {len(encoded(dataset[: element.tag], transfer_syntax)) for element in dataset}

    for cut in range(1, len(data)):
        if cut not in ends:
            assert read(data[:cut], {"burned_in_annotation"}, transfer_syntax).attributes is None, cut


def test_elements_out_of_order_are_not_taken_for_a_missing_attribute() -> None:
    early, late = patient(), Dataset()
    late.BodyPartExamined = "BREAST"
    del early.InstanceNumber

    reader = read(encoded(early, EXPLICIT) + encoded(late, EXPLICIT), {"body_part"})
    assert (reader.finish().evaluated, reader.attributes) == (False, None)


def test_an_element_larger_than_is_looked_at_leaves_the_image_ungraded_and_findable() -> None:
    dataset = patient(BurnedInAnnotation="YES")
    dataset.add_new(0x00210010, "LO", "LARGE")
    dataset.add_new(0x00211010, "OB", bytes(9 << 20))

    reader = read(encoded(dataset, EXPLICIT), {"burned_in_annotation"}, size=1 << 20)
    assert (reader.finish().patient_id, reader.attributes) == ("4711", None)


def test_a_reader_that_looks_for_more_holds_no_more_of_an_endless_dataset() -> None:
    head = encoded(patient(), EXPLICIT) + b"\x21\x00\x10\x10OB\x00\x00\xf0\xff\xff\xff"
    reader = IndexReader(EXPLICIT, EVERYTHING)
    tracemalloc.start()
    reader.update(memoryview(head))
    for _ in range(64):
        reader.update(memoryview(bytes(1 << 20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 40 << 20
    assert (reader.finish().patient_id, reader.attributes) == ("4711", None)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_a_real_image_makes_it_raise_and_looking_further_never_changes_the_index(
    data: st.DataObject,
) -> None:
    sent = load(data.draw(st.sampled_from(NAMES)))
    damaged = bytearray(sent.dataset[:3000])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    transfer_syntax = data.draw(st.sampled_from([sent.transfer_syntax, IMPLICIT, EXPLICIT, BIG]))
    looked_at = data.draw(st.sets(st.sampled_from(sorted(EVERYTHING))))

    reader, plain = (read(bytes(damaged), names, transfer_syntax) for names in (looked_at, set[str]()))
    assert reader.finish() == plain.finish()
    if reader.attributes is not None:
        assert reader.attributes.keys() == looked_at
        assert reader.finish().evaluated
        shared_ones = {"modality", "patient_id", "sop_class_uid"} & looked_at
        assert all(reader.attributes[name] == getattr(reader.finish(), name) for name in shared_ones)


# ---- through the pipeline


@pytest.mark.parametrize(
    "attributes, expected, routes",
    [
        ({"Modality": "MG", "InstitutionalDepartmentName": "Breast clinic"}, "secret", ("pacs",)),
        ({"Modality": "MG"}, "general", ("pacs",)),
        ({"Modality": "US", "BurnedInAnnotation": "YES"}, "restricted", ()),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, "general", ("pacs",)),
    ],
)
def test_an_image_is_sealed_to_the_key_of_its_grade_and_its_record_says_so(
    host: Host, attributes: dict[str, str], expected: str, routes: tuple[str, ...]
) -> None:
    record, sealed_to = captured(host, encoded(patient(**attributes), EXPLICIT))

    assert (record.grade, record.routes, sealed_to) == (expected, routes, expected)


HOSTILE = {
    "no dataset": b"\xff" * 64,
    "nothing": b"",
    "cut": encoded(patient(), EXPLICIT)[:-3],
    "out of order": encoded(patient(), EXPLICIT) * 2,
    "nested without end": encoded(patient(), EXPLICIT)
    + b"\x20\x00\x22\x92SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000,
    **{what: make() for what, make in UNREADABLE.items()},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_graded_is_sealed_to_the_strictest_key_and_never_to_the_default(host: Host, what: str) -> None:
    record, sealed_to = captured(host, HOSTILE[what])

    assert (record.grade, record.routes, sealed_to) == ("secret", ("unread",), "secret")


def test_control_the_same_images_without_rules_that_look_at_them_get_the_default(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    in_force(host, graded_by())

    record, sealed_to = captured(host, UNREADABLE["too long"]())
    assert (record.grade, sealed_to) == ("general", "general")

"""Looking objects up by blind index."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.vault.finding import MOST, AmbiguousLookUp
from control_plane.vault.index_service import Attribute, IndexService, normalised
from shared.audit.events import Event
from tests.control_plane.vault.bench import ENTRY, NOTHING_READ, Bench, HostBench

PERSON = "A. Admin"


def test_finds_every_object_of_a_patient_and_no_other(bench: Bench, host: HostBench) -> None:
    mine = [host.seal(b"1"), host.seal(b"2")]
    other = host.seal(b"3", replace(ENTRY, patient_id="47110"))
    for image in (*mine, other):
        bench.receive(image)

    found = bench.finder.find(PERSON, patient_id="4711")

    assert {one.object_id for one in found} == {str(image.object_id) for image in mine}


@pytest.mark.parametrize("written", ["4711", " 4711", "4711 ", "4711\x00"])
def test_padding_of_a_patient_number_is_not_significant(bench: Bench, host: HostBench, written: str) -> None:
    bench.receive(host.seal(entry=replace(ENTRY, patient_id=written)))

    assert len(bench.finder.find(PERSON, patient_id="4711")) == 1


def test_finds_by_study_and_by_instance(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)

    assert len(bench.finder.find(PERSON, study=ENTRY.study_instance_uid)) == 1
    assert len(bench.finder.find(PERSON, sop_instance=ENTRY.sop_instance_uid)) == 1
    assert bench.finder.find(PERSON, study=ENTRY.sop_instance_uid) == ()


@pytest.mark.parametrize("value", ["", " ", "\x00"])
def test_an_empty_value_finds_nothing(bench: Bench, host: HostBench, value: str) -> None:
    bench.receive(host.seal(entry=replace(ENTRY, patient_id="")))
    bench.receive(host.seal(entry=NOTHING_READ))

    assert bench.finder.find(PERSON, patient_id=value) == ()


def test_without_an_attribute_the_newest_come_first(bench: Bench, host: HostBench) -> None:
    images = []
    for number in range(3):
        images.append(host.seal(bytes([number])))
        bench.receive(images[-1])
        bench.clock.advance(timedelta(seconds=1))

    found = bench.finder.find(PERSON)

    assert [one.object_id for one in found] == [str(image.object_id) for image in reversed(images)]
    assert MOST == 100


def test_refuses_two_attributes_at_once(bench: Bench) -> None:
    with pytest.raises(AmbiguousLookUp):
        bench.finder.find(PERSON, patient_id="4711", study="1.2")


def test_a_look_up_is_recorded_with_its_value_in_the_sealed_part_only(bench: Bench, host: HostBench) -> None:
    bench.finder.find(PERSON, patient_id="PATIENTNUMBER-90210")

    record = bench.last_record()
    assert (record.event, record.who[0].name) == (Event.LOOKED_UP, PERSON)
    assert (record.what[0].name, record.reason) == ("patient_id", "0 found")
    (row,) = bench.rows("SELECT public, sealed FROM audit_records")
    assert b"90210" not in row.public
    assert bench.opened(row) == {"value": "PATIENTNUMBER-90210"}


def test_a_look_up_that_cannot_be_recorded_is_not_answered(bench: Bench, host: HostBench) -> None:
    bench.receive(host.seal())
    bench.sql("CREATE TRIGGER full BEFORE INSERT ON audit_records BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(Exception, match="no"):
        bench.finder.find(PERSON, patient_id="4711")


def test_what_is_found_identifies_nobody(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)

    (found,) = bench.finder.find(PERSON, patient_id="4711")

    shown = found.json()
    assert shown["object"] == str(image.object_id)
    assert shown["dataset_bytes"] == len(image.dataset)
    assert not any(str(value) in str(shown) for value in (ENTRY.patient_name, ENTRY.patient_id, ENTRY.accession_number))


def test_nothing_is_shown_of_a_capture_record_that_is_not_authentic(bench: Bench, host: HostBench) -> None:
    bench.receive(host.seal())
    bench.sql("UPDATE objects SET record = replace(record, '1', '2')")

    (found,) = bench.finder.find(PERSON)

    shown = found.json()
    assert (shown["record"], shown["captured"], shown["dataset_bytes"]) == ("not authentic", None, None)


# ---- blind indexes


def test_tokens_of_another_secret_are_others(bench: Bench) -> None:
    other = IndexService(bench.keys, b"another secret")

    assert other.token(Attribute.PATIENT_ID, "4711") != bench.index.token(Attribute.PATIENT_ID, "4711")


def test_a_value_has_another_token_under_every_attribute(bench: Bench) -> None:
    tokens = [bench.index.token(attribute, "4711") for attribute in Attribute]

    assert len({token.value for token in tokens if token}) == len(Attribute)


def test_a_patient_number_is_also_indexed_within_its_issuer(bench: Bench) -> None:
    entry = replace(ENTRY, issuer_of_patient_id="Hospital A")

    tokens = bench.index.tokens(entry)

    assert bench.index.token_of_issuer("4711", "Hospital A") in tokens
    assert bench.index.token_of_issuer("4711", "Hospital B") not in tokens
    assert bench.index.token(Attribute.PATIENT_ID, "4711") in tokens
    assert bench.index.token_of_issuer("4711", " ") is None
    assert len(tokens) == 7


@pytest.mark.parametrize(
    "one, other",
    [("Muster^Erika", "MUSTER^ERIKA"), ("Muster^Erika^^^", "Muster^Erika"), (" Muster ^ Erika ", "Muster^Erika"),
     ("Muster^Erika==", "Muster^Erika"), ("Mu\u0308ller^A", "M\u00fcller^A")],
)  # fmt: skip
def test_spellings_of_one_name_have_one_token(bench: Bench, one: str, other: str) -> None:
    assert bench.index.token(Attribute.PATIENT_NAME, one) == bench.index.token(Attribute.PATIENT_NAME, other)


@pytest.mark.parametrize("other", ["Muster^Erik", "Erika^Muster", "MusterErika", "Muster=Erika"])
def test_other_names_have_other_tokens(bench: Bench, other: str) -> None:
    assert bench.index.token(Attribute.PATIENT_NAME, "Muster^Erika") != bench.index.token(Attribute.PATIENT_NAME, other)


@given(st.text(max_size=40), st.sampled_from(Attribute))
def test_normalising_twice_changes_nothing(value: str, attribute: Attribute) -> None:
    once = normalised(attribute, value)

    assert normalised(attribute, once) == once

"""The search for identities: finds every form it promises, in its place, and nothing that merely looks like one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.demo.needles import Counts, Identity, Needle, needles, probes, search

NAME = Identity(0x00100010, "PN", "PatientName", b"Doe^Archibald", "Doe^Archibald")
NUMBER = Identity(0x00100020, "LO", "PatientID", b"77654033", "77654033")
SHORT = Identity(0x00100020, "LO", "PatientID", b"4MR1", "4MR1")
MIDDLE = Identity(0x00100020, "LO", "PatientID", b"642341", "642341")


def found(data: bytes, *identities: Identity) -> list[str]:
    return [hit.needle.what for hit in search(data, needles(identities))]


@pytest.mark.parametrize(
    "leak",
    [
        b"..Doe^Archibald..",
        b"..DOE^ARCHIBALD..",
        b"..doe^archibald..",
        b"..Archibald Doe..",
        b"..Doe, Archibald..",
        b"..Archibald..",
        "Doe^Archibald".encode("utf-16-le"),
        b"Doe^Archibald".hex().encode(),
        b"Doe^Archibald".hex().upper().encode(),
    ],
)
def test_finds_a_name_however_it_was_written(leak: bytes) -> None:
    assert found(leak, NAME)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_finds_a_name_in_base64_wherever_it_stands(before: bytes, after: bytes) -> None:
    assert found(base64.b64encode(before + NAME.raw + after), NAME)


def test_finds_a_name_in_the_encoding_of_its_own_file() -> None:
    name = "Yamada^Tarou=山田^太郎"
    raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    identity = Identity(0x00100010, "PN", "PatientName", raw, name)

    assert "PatientName in the file's own encoding" in found(b"x" + raw + b"x", identity)
    assert found("..山田^太郎..".encode(), identity)
    assert set(found(b'"\\u5c71\\u7530^\\u592a\\u90ce"', identity)) == {"PatientName in escaped JSON"}


def test_a_short_value_counts_as_an_element_only() -> None:
    assert found(b"..4MR1..", SHORT) == []
    assert found(b"\x10\x00\x20\x00LO\x04\x004MR1", SHORT) == ["PatientID as a DICOM element"]
    assert found(b"\x00\x10\x00\x20LO\x00\x044MR1", SHORT) == ["PatientID as a DICOM element"]
    assert found(b"\x10\x00\x20\x00\x04\x00\x00\x004MR1", SHORT) == ["PatientID as a DICOM element"]


def test_a_value_of_middling_length_counts_where_it_stands_alone() -> None:
    assert found(b'{"id":"642341"}', MIDDLE)
    assert found(b"9f642341c0", MIDDLE) == []


@pytest.mark.parametrize("digits", [32, 64, 128])
def test_a_number_does_not_count_within_a_digest(digits: int) -> None:
    digest = b"ab" * (digits // 2 - 8) + NUMBER.raw + b"cd" * 4
    assert len(digest) == digits

    assert found(b'"' + digest + b'"', NUMBER) == []
    assert found(b'"' + digest + b'7"', NUMBER)
    assert found(digest[:-1] + b'"', NUMBER)


def test_goes_on_past_places_that_do_not_count() -> None:
    assert found(b"x642341x 642341 ", MIDDLE)


def test_needles_say_what_they_are_and_never_the_value() -> None:
    assert not [one.what for one in needles([NAME, NUMBER]) if "Doe" in one.what or "7765" in one.what]


def test_probes_are_pieces_of_the_image_that_do_not_repeat_themselves() -> None:
    pixels = bytes(range(256)) * 40

    made = probes(bytes(10_240) + pixels, "image")

    assert made
    assert all(one.data in pixels for one in made)
    assert probes(bytes(20_000), "blank") == ()


def test_reports_the_first_place_of_each_needle() -> None:
    needle = Needle(b"secret", Counts.ANYWHERE, "a secret")

    assert [hit.offset for hit in search(b"..secret..secret", [needle])] == [2]

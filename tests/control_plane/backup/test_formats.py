"""What a backup is read by: one encoding only, and a change anywhere is seen."""

import io
from collections import deque
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.backup import bodies
from control_plane.backup.bodies import Body
from control_plane.backup.lines import TYPES, Lines
from control_plane.backup.manifest import PARTS, Manifest, Part
from shared import canonical
from shared.errors import Malformed
from shared.identity import ObjectId

digests = st.binary(min_size=32, max_size=32)
counts = st.integers(0, 2**53 - 1)
manifests = st.builds(
    Manifest,
    label=st.from_regex(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}", fullmatch=True).filter(str.isascii),
    begun=st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1)).map(lambda one: one.replace(tzinfo=UTC)),  # noqa: DTZ001 (zone given after)
    schema=st.just("0015"),
    audit_seq=counts,
    keys=st.lists(st.sampled_from(["ca/1", "data/restricted/1", "secret/sop-hash/1"])).map(tuple),
    objects=counts,
    body_bytes=counts,
    damaged=st.just(0),
    parts=st.fixed_dictionaries({name: st.builds(Part, counts, digests) for name in PARTS}),
)
listed = st.lists(
    st.builds(Body, st.binary(min_size=16, max_size=16).map(ObjectId), st.integers(0, 10**15), digests, st.booleans()),
    unique_by=lambda body: body.object_id,
).map(lambda found: sorted(found, key=lambda body: body.object_id))


@given(manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.encode()) == manifest


@given(manifests, st.data())
def test_a_manifest_with_another_character_is_another_or_none(manifest: Manifest, data: st.DataObject) -> None:
    encoded = bytearray(manifest.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))

    try:
        parsed = Manifest.parse(bytes(encoded))
    except Malformed:
        return
    assert parsed != manifest
    assert parsed.encode() == encoded


@given(listed)
def test_a_list_of_bodies_reads_back_as_it_was_written(found: list[Body]) -> None:
    assert list(bodies.read(io.BytesIO(b"".join(body.line() for body in found)))) == found


@pytest.mark.parametrize(
    "text",
    [
        b"x\n",
        b"00" * 16 + b" 01 " + b"00" * 32 + b" held\n",
        b"00" * 16 + b" 1 " + b"00" * 32 + b" held",
        b"00" * 16 + b" 1 " + b"00" * 32 + b" lost\n",
        2 * (b"00" * 16 + b" 1 " + b"00" * 32 + b" held\n"),
    ],
    ids=["nonsense", "leading zero", "cut off", "another state", "the same one twice"],
)
def test_a_list_of_bodies_in_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        list(bodies.read(io.BytesIO(text)))


def lines(*values: Any) -> bytes:
    return b"".join(canonical.encode(value) + b"\n" for value in values)


FIRST = {"v": 1, "kind": "leadglass database", "schema": "0015"}
TABLE = {"table": "things", "columns": [["name", "text"], ["data", "bytes"], ["at", "instant"], ["n", "whole"]]}
ROW = ["a", "AAE=", "2026-11-29T21:00:00.000000Z", 7]


def read(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _, rows in Lines(io.BytesIO(data)).tables():
        found += rows
    return found


def test_rows_read_back_as_the_values_they_were() -> None:
    instant = datetime(2026, 11, 29, 21, tzinfo=UTC)

    (row,) = read(lines(FIRST, TABLE, ROW, {"rows": 1}, {"tables": 1}))

    assert row == {"name": "a", "data": b"\x00\x01", "at": instant, "n": 7}
    assert TYPES.keys() == {"text", "bytes", "instant", "whole", "flag"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        lines(FIRST),
        lines({**FIRST, "v": 2}, {"tables": 0}),
        lines(FIRST, TABLE, ROW, {"rows": 2}, {"tables": 1}),
        lines(FIRST, TABLE, ROW, {"tables": 1}),
        lines(FIRST, TABLE, ROW, {"rows": 1}, {"tables": 2}),
        lines(FIRST, TABLE, ROW, {"rows": 1}, {"tables": 1}) + b"\n",
        lines(FIRST, TABLE, ROW, {"rows": 1}, {"tables": 1})[:-1],
        lines(FIRST, TABLE, ROW[:-1], {"rows": 1}, {"tables": 1}),
        lines(FIRST, TABLE, [True, *ROW[1:]], {"rows": 1}, {"tables": 1}),
        lines(FIRST, TABLE, [*ROW[:3], True], {"rows": 1}, {"tables": 1}),
        lines(FIRST, TABLE, ["a", "AAE", *ROW[2:]], {"rows": 1}, {"tables": 1}),
        lines(FIRST, TABLE, ["a", "AAE=", "yesterday", 7], {"rows": 1}, {"tables": 1}),
        lines(FIRST, {**TABLE, "columns": [["name", "float"]]}, {"rows": 0}, {"tables": 1}),
        lines(FIRST, {**TABLE, "table": "things; DROP TABLE keys"}, {"rows": 0}, {"tables": 1}),
        lines(FIRST, {**TABLE, "more": 1}, {"rows": 0}, {"tables": 1}),
    ],
)
def test_lines_in_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        deque(read(data))


@given(st.data())
def test_lines_cut_anywhere_are_refused(data: st.DataObject) -> None:
    whole = lines(FIRST, TABLE, ROW, {"rows": 1}, {"tables": 1})

    with pytest.raises(Malformed):
        read(whole[: data.draw(st.integers(0, len(whole) - 1))])

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64
from tests.shared import drawn

READERS: dict[str, Callable[[Fields], object]] = {
    "text": lambda fields: fields.text("x"),
    "choice": lambda fields: fields.choice("x", ["a", "b"]),
    "integer": lambda fields: fields.integer("x", least=1, most=9),
    "flag": lambda fields: fields.flag("x"),
    "hex": lambda fields: fields.hex("x", 2),
    "base64": lambda fields: fields.base64("x", max_bytes=4),
    "instant": lambda fields: fields.instant("x"),
    "fields": lambda fields: fields.fields("x"),
    "items": lambda fields: fields.items("x", most=2),
    "mapping": lambda fields: fields.mapping("x", most=2),
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@every_reader
@given(value=drawn.json_values)
def test_any_value_is_read_or_refused_as_malformed(read: Callable[[Fields], object], value: Json) -> None:
    fields = Fields({"x": value}, "it")
    try:
        read(fields)
    except Malformed:
        return
    fields.done()


@every_reader
def test_a_missing_member_is_refused_by_name(read: Callable[[Fields], object]) -> None:
    with pytest.raises(Malformed, match="it field 'x' is malformed: missing"):
        read(Fields({}, "it"))


@every_reader
def test_no_refusal_quotes_the_value_which_may_be_private(read: Callable[[Fields], object]) -> None:
    values: list[Json] = ["Doe^Jane\n", ["Doe^Jane"] * 3, {"Doe^Jane": 1, "b": 2, "c": 3}]
    for value in values[:2] if read is READERS["fields"] else values:
        with pytest.raises(Malformed) as refusal:
            read(Fields({"x": value}, "it"))
        assert "Doe" not in str(refusal.value)


def test_a_member_that_nobody_reads_is_refused() -> None:
    fields = Fields({"a": 1, "b": 2}, "it")
    fields.integer("a")

    with pytest.raises(Malformed, match="unknown field 'b'"):
        fields.done()


def test_a_member_is_read_once() -> None:
    fields = Fields({"a": 1}, "it")
    fields.integer("a")

    with pytest.raises(Malformed):
        fields.integer("a")


@pytest.mark.parametrize("version", [0, 2, True, "1", None, 1.0])
def test_any_other_version_is_refused(version: Any) -> None:
    with pytest.raises(Malformed):
        Fields({"v": version}, "it").version()


@pytest.mark.parametrize("value", [True, False, "1", None, 1.0, 0, 10, -1])
def test_what_is_no_whole_number_in_the_range_is_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        Fields({"x": value}, "it").integer("x", least=1, most=9)


@pytest.mark.parametrize("value", ["ABCD", "abc", "abcde", "0xab", "ab d", "abcd\n", "\uff41\uff42cd", "", None])
def test_hex_has_one_form(value: Any) -> None:
    with pytest.raises(Malformed):
        Fields({"x": value}, "it").hex("x", 2)


@given(st.binary(max_size=64))
def test_base64_reads_back(data: bytes) -> None:
    assert decode_base64(encode_base64(data), "it", 64) == data


@given(st.binary(min_size=1, max_size=12), st.data())
def test_base64_has_one_form(data: bytes, draw: st.DataObject) -> None:
    text = encode_base64(data)
    at, char = draw.draw(st.integers(0, len(text))), draw.draw(st.characters(max_codepoint=255))
    for changed in (text[:at] + char + text[at:], text[:at] + char + text[at + 1 :], text[:at] + text[at + 1 :]):
        try:
            read = decode_base64(changed, "it", 16)
        except Malformed:
            continue
        assert encode_base64(read) == changed


@pytest.mark.parametrize("most", [0, 1, 2, 3, 4, 31, 32, 33])
def test_base64_of_one_byte_too_many_is_refused(most: int) -> None:
    assert decode_base64(encode_base64(bytes(most)), "it", most) == bytes(most)
    with pytest.raises(Malformed):
        decode_base64(encode_base64(bytes(most + 1)), "it", most)


# ---- times


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_reads_back(instant: datetime) -> None:
    assert clock.parse(clock.text(instant)) == instant
    assert Fields({"x": clock.text(instant)}, "it").instant("x") == instant


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-14, 14))
def test_a_time_in_another_zone_is_written_in_utc(utc: datetime, hours: int) -> None:
    if not 2 <= utc.year <= 9998:
        return
    instant = utc.astimezone(timezone(timedelta(hours=hours)))

    assert clock.parse(clock.text(instant)) == instant


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T08:00:00+00:00", "2026-01-31T08:00:00.123Z", "2026-01-31 08:00:00Z", "2026-01-31T08:00:00z",
        "2026-01-31T08:00Z", "2026-02-30T08:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T08:00:60Z",
        "0000-01-01T00:00:00Z", "20260131T080000Z", "2026-W05-6T08:00:00Z", "2026-01-31T08:00:00Z\n",
        "\uff12\uff10\uff12\uff16-01-31T08:00:00Z", "-026-01-31T08:00:00Z", "",
    ],
)  # fmt: skip
def test_any_other_form_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        clock.parse(text)


def test_a_signed_time_has_one_form() -> None:
    assert clock.parse("2026-01-31T08:00:00Z") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    with pytest.raises(Malformed):
        Fields({"x": "2026-01-31T08:00:00Z"}, "it").instant("x")

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from tests.shared import drawn


@given(drawn.json_values)
def test_what_is_encoded_parses_to_the_same_value(value: Json) -> None:
    assert canonical.parse(canonical.encode(value), "it") == value


@given(drawn.json_values)
def test_what_is_encoded_is_json_to_everyone_else(value: Json) -> None:
    assert json.loads(canonical.encode(value)) == value


@given(drawn.json_values, st.sampled_from([{"indent": 1}, {"separators": (", ", ":")}, {"separators": (",", ": ")}]))
def test_the_same_value_printed_otherwise_is_refused(value: Json, style: dict[str, Any]) -> None:
    otherwise = json.dumps({"a": value, "b": value}, sort_keys=True, ensure_ascii=False, **style).encode()

    with pytest.raises(Malformed):
        canonical.parse(otherwise, "it")


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), st.integers(0, 9), min_size=2), st.data())
def test_keys_in_any_other_order_are_refused(value: dict[str, int], data: st.DataObject) -> None:
    keys = data.draw(st.permutations(sorted(value)))
    printed = "{" + ",".join(f"{json.dumps(key)}:{value[key]}" for key in keys) + "}"

    if keys == sorted(value) and "\x7f" not in "".join(keys):
        assert canonical.parse(printed.encode(), "it") == value
    elif keys != sorted(value):
        with pytest.raises(Malformed):
            canonical.parse(printed.encode(), "it")


@given(st.text(st.characters(max_codepoint=127), max_size=4), st.integers(0, 9), st.integers(0, 9))
def test_a_key_that_comes_twice_is_refused(key: str, first: int, second: int) -> None:
    printed = f"{{{json.dumps(key)}:{first},{json.dumps(key)}:{second}}}".encode()

    with pytest.raises(Malformed):
        canonical.parse(printed, "it")


@given(st.floats())
def test_fractions_are_neither_written_nor_read(value: float) -> None:
    anything: Any = [value]

    with pytest.raises(Malformed):
        canonical.encode(anything)
    with pytest.raises(Malformed):
        canonical.parse(json.dumps(anything).encode(), "it")


@given(st.integers(min_value=2**53) | st.integers(max_value=-(2**53)))
def test_a_number_that_others_would_round_is_neither_written_nor_read(value: int) -> None:
    with pytest.raises(Malformed):
        canonical.encode(value)
    with pytest.raises(Malformed):
        canonical.parse(str(value).encode(), "it")


@given(st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3))
def test_a_lone_surrogate_is_neither_written_nor_read(value: str) -> None:
    with pytest.raises(Malformed):
        canonical.encode(value)
    with pytest.raises(Malformed):
        canonical.parse(json.dumps(value).encode(), "it")


@pytest.mark.parametrize("depth", [33, 34, 500, 10_000, 200_000])
@pytest.mark.parametrize("begin, end", [("[", "]"), ('{"a":', "}")])
def test_nesting_that_would_exhaust_the_stack_is_refused(depth: int, begin: str, end: str) -> None:
    for data in (begin * depth + "0" + end * depth, begin * depth):
        with pytest.raises(Malformed):
            canonical.parse(data.encode(), "it")


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, {"ü": 1}, b"bytes", object(), {"a": {1, 2}}])
def test_a_value_without_a_place_in_json_is_not_written(value: Any) -> None:
    with pytest.raises(Malformed):
        canonical.encode(value)


def test_the_refusal_names_what_was_read() -> None:
    with pytest.raises(Malformed, match="the letter is malformed"):
        canonical.parse(b"{", "the letter")

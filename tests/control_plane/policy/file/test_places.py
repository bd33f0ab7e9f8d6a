"""An error names the file, the line, the field and what is allowed, whatever is wrong with whichever field."""

import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.file.problems import PolicyFileMalformed, Problem
from control_plane.policy.file.reading import parse_policy_file
from tests.control_plane.policy.file.broken import (
    DOCUMENT,
    MAPPINGS,
    PATHS,
    Broken,
    as_yaml,
    at,
    broken,
    with_unknown,
    with_value,
    without,
)

SAYS_WHAT_IS_ALLOWED = re.compile(
    r"expected |allowed|quote|needs |is listed once|is written once|; list |; there is |say nothing of|put it first|"
    r"say nothing|is for queries|is said of|routes has none|give the route a tls section|usual short form|is not before"
)
SCALARS = [path for path in PATHS if not isinstance(at(DOCUMENT, path), list | dict)]


def problems(text: str) -> tuple[Problem, ...]:
    try:
        parse_policy_file(text.encode(), "policy.yaml")
    except PolicyFileMalformed as exc:
        return exc.problems
    return ()


@given(st.sampled_from(SCALARS), st.sampled_from([None, [], {}, [[1]], "\x7f" * 200]))
def test_a_field_that_cannot_be_is_named_with_its_line(path: tuple[str | int, ...], odd: object) -> None:
    made = with_value(path, odd)

    # Of a rule that is a mapping and says nothing, it is its own field that is missing.
    assert any((problem.line, problem.field.removesuffix(".rule")) == (made.line, made.field.removesuffix(".rule"))
               for problem in problems(made.text))  # fmt: skip


@given(st.sampled_from(MAPPINGS))
def test_a_field_that_there_is_none_of_is_named_with_its_line(path: tuple[str | int, ...]) -> None:
    made = with_unknown(path)

    (found,) = problems(made.text)
    assert (found.line, found.field) == (made.line, made.field[: -len("colour")] + "'colour'")
    assert "there is no such field; expected the fields" in found.why


@given(st.sampled_from(PATHS))
def test_a_missing_field_is_named_where_it_is_missing(path: tuple[str | int, ...]) -> None:
    made = without(path)

    for problem in problems(made.text):
        if "is missing" in problem.why:
            assert (problem.line, problem.field) == (made.line, made.field)


@given(broken)
def test_every_problem_has_a_line_of_the_file_a_field_and_what_is_allowed(made: Broken) -> None:
    lines = made.text.count("\n")

    for problem in problems(made.text):
        assert 1 <= problem.line <= lines
        assert problem.field
        assert SAYS_WHAT_IS_ALLOWED.search(problem.why), problem.why
        assert problem.text("policy.yaml").startswith(f"policy.yaml:{problem.line}: {problem.field}: ")


@given(st.lists(st.sampled_from([path for path in SCALARS if path[0] != "layer"]), min_size=2, max_size=6, unique=True))
def test_several_problems_are_all_named_at_once(chosen: list[tuple[str | int, ...]]) -> None:
    document = deepcopy(DOCUMENT)
    for path in chosen:
        at(document, path[:-1])[path[-1]] = []
    found = {(problem.line, problem.field) for problem in problems(as_yaml(document))}

    assert {(made.line, made.field) for path in chosen for made in [Broken(document, path, "value")]} <= found


@pytest.mark.parametrize("text", [b"\xff", b"a: [", b"", b"a: &x 1", b"--- 1\n--- 2", b"!!set {}", b"\x07"])
def test_what_is_no_yaml_has_a_line_too(text: bytes) -> None:
    with pytest.raises(PolicyFileMalformed) as refused:
        parse_policy_file(text, "policy.yaml")

    assert all(problem.line >= 1 for problem in refused.value.problems)

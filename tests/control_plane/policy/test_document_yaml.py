from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.document_yaml import AuthoredPolicy, PolicyFileMalformed, parse_policy_file
from shared.policy.document import MAX_BYTES, MAX_MODALITIES, Modality

GOOD = """\
layer: organisation
modalities:
  - ae_title: CT1
    description: CT, room 1.14
  - ae_title: MR 2
    description: Röntgen
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "administrator.md"


def parse(text: str) -> AuthoredPolicy:
    return parse_policy_file(text.encode(), "policy.yaml")


def problems(text: str) -> list[str]:
    """Return what is wrong with `text`, one line each, without the file's name."""
    with pytest.raises(PolicyFileMalformed) as refused:
        parse(text)
    lines = str(refused.value).split("\n")[1:]
    assert all(line.startswith("policy.yaml:") for line in lines)
    return [line.removeprefix("policy.yaml:") for line in lines]


def test_reads_a_policy() -> None:
    assert parse(GOOD) == AuthoredPolicy(
        "organisation", (Modality("CT1", "CT, room 1.14"), Modality("MR 2", "Röntgen")), "restricted", 5, 30
    )


def test_reads_comments_quotes_and_windows_line_ends() -> None:
    text = GOOD.replace("CT1", '"0123"  # quoted, or YAML reads a number').replace("\n", "\r\n")

    assert parse(text).modalities[0].ae_title == "0123"


def test_no_modality_at_all_is_written_as_an_empty_list() -> None:
    assert parse("layer: organisation\nmodalities: []\n" + GOOD[GOOD.index("grading") :]).modalities == ()


def example(language: str) -> str:
    guide = GUIDE.read_text(encoding="utf-8")
    return guide.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_guides_example_is_a_policy_and_its_mistakes_read_as_the_guide_says() -> None:
    mistaken = example("yaml").replace('"1234"', "1234").replace("state_every_s: 5", "state_every_s: 0")

    assert parse(example("yaml")).layer == "organisation"
    assert [f"policy.yaml:{problem}" for problem in problems(mistaken)] == example("text").splitlines()


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("layer: organisation\n", "", "1: layer: is missing"),
        ("layer: organisation", "layer: site", "1: layer: expected organisation, the one layer there is"),
        ("layer: organisation", "layer: organisation\nlayer: organisation", "2: layer: is written on line 1 already"),
        (
            "grading:",
            "gradings: 1\ngrading:",
            "7: 'gradings': there is no such field; expected the fields layer, modalities, grading, timings",
        ),
        ("ae_title: MR 2", "ae_title: CT1", "5: modalities[2].ae_title: is listed on line 3 already"),
        ("    description: CT, room 1.14\n", "", "3: modalities[1].description: is missing"),
        ("ae_title: CT1", "ae_title: 0123", "3: modalities[1].ae_title: YAML reads 0123 as a number; quote it"),
        ("ae_title: CT1", "ae_title: NO", "3: modalities[1].ae_title: YAML reads NO as true or false; quote it"),
        (
            "ae_title: CT1",
            "ae_title: 2026-01-31",
            "3: modalities[1].ae_title: YAML reads 2026-01-31 as a date; quote it",
        ),
        (
            "state_every_s: 5",
            "state_every_s: 0",
            "8: timings.state_every_s: expected a whole number of seconds from 1 to 3600",
        ),
        ("default: restricted", "default: Top", "7: grading.default: expected a grade such as restricted: a to z"),
        ("{default: restricted}", "restricted", "7: grading: expected the fields default"),
        (
            "description: Röntgen",
            f"description: {'x' * 101}",
            "6: modalities[2].description: expected 1 to 100 characters on one line",
        ),
        ("layer: organisation", "1: x\nlayer: organisation", "1: '1': there is no such field"),
        ("layer: organisation", "? [a]\n: x\nlayer: organisation", "1: a field that is not text: there is no such"),
        ("layer: organisation", "<<: {a: b}\nlayer: organisation", "1: '<<': there is no such field"),
    ],
)
def test_names_line_field_and_what_is_allowed(old: str, new: str, problem: str) -> None:
    assert old in GOOD

    (found,) = problems(GOOD.replace(old, new, 1))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "value", ['"5"', "5.0", "010", "0x10", "1_0", "1:30", "+5", "-5", "3601", "99999999999", "[5]"]
)
def test_refuses_numbers_that_are_not_plain(value: str) -> None:
    (found,) = problems(GOOD.replace("state_every_s: 5", f"state_every_s: {value}"))

    assert found == "8: timings.state_every_s: expected a whole number of seconds from 1 to 3600"


@pytest.mark.parametrize(
    "title", ['" CT1"', '"CT1 "', "'CT\\1'", "SEVENTEEN-LETTERS", "CTÄ", '""', '"CT\\t1"', "", "[CT1]", "~"]
)
def test_refuses_what_is_no_ae_title(title: str) -> None:
    (found,) = problems(GOOD.replace("ae_title: CT1", f"ae_title: {title}"))

    assert found.startswith("3: modalities[1].ae_title: expected 1 to 16 printable ASCII characters without backslash")


def test_names_all_problems_at_once_in_the_order_of_lines() -> None:
    text = GOOD.replace("layer: organisation", "layer: x").replace("CT1", "NO").replace("pull_every_s: 30", "pull: 30")

    assert [problem.partition(":")[0] for problem in problems(text)] == ["1", "3", "8", "8"]


@pytest.mark.parametrize(
    "text, problem",
    [
        (GOOD.replace("CT1", "&a CT1"), "3: anchors (&) and aliases (*) are not allowed; write the value out"),
        (GOOD.replace("CT1", "*a"), "3: anchors (&) and aliases (*) are not allowed; write the value out"),
        (GOOD.replace("CT1", "!!python/object/apply:os.system ['id']"), "3: tags (!) are not allowed"),
        (GOOD + "---\n" + GOOD, "9: a second document begins here; a file holds one policy"),
        ("", "1: is empty"),
        ("# nothing yet\n", "1: is empty"),
        ("layer: [", "1: not YAML: "),
        (GOOD.replace("grading", "\tgrading"), "7: not YAML: "),
        (GOOD.replace("CT1", "\x07"), "3: holds a character that YAML does not allow"),
        ("[" * 20_000, "1: nested deeper than 8"),
        ("- organisation\n", "1: expected the fields layer, modalities, grading, timings"),
    ],
)
def test_refuses_what_yaml_allows_and_a_policy_does_not(text: str, problem: str) -> None:
    (found, *_) = problems(text)

    assert found.startswith(problem)


def test_refuses_an_alias_bomb_without_expanding_it() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]

    assert problems("\n".join(lines))[0].startswith("1: anchors (&) and aliases (*) are not allowed")


def test_refuses_a_file_that_is_too_large_or_not_text() -> None:
    with pytest.raises(PolicyFileMalformed, match="larger than 256 KiB"):
        parse_policy_file(b"#" * (MAX_BYTES + 1), "policy.yaml")
    with pytest.raises(PolicyFileMalformed, match=r"policy\.yaml:2: not text in UTF-8"):
        parse_policy_file(b"layer: organisation\n\xff", "policy.yaml")


def test_refuses_more_modalities_than_a_policy_holds() -> None:
    many = "".join(f"  - {{ae_title: A{n}, description: x}}\n" for n in range(MAX_MODALITIES + 1))

    (found,) = problems("layer: organisation\nmodalities:\n" + many + GOOD[GOOD.index("grading") :])
    assert found == f"3: modalities: expected a list of at most {MAX_MODALITIES}; none is written as []"


@given(
    place=st.integers(min_value=0, max_value=len(GOOD)),
    old=st.integers(min_value=0, max_value=3),
    new=st.text(max_size=3),
)
def test_a_changed_file_is_a_policy_or_is_refused_with_a_line(place: int, old: int, new: str) -> None:
    changed = (GOOD[:place] + new + GOOD[place + old :]).encode("utf-8", "surrogatepass")
    refused: PolicyFileMalformed | None = None
    try:
        parse_policy_file(changed, "policy.yaml")
    except PolicyFileMalformed as exc:
        refused = exc

    assert refused is None or all(problem.line >= 1 and problem.why for problem in refused.problems)
    assert refused is None or refused.problems

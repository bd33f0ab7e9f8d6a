"""Rules on attributes: what matches, which rule decides, and which can never."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.grading import ATTRIBUTES, Grading, Rule


def rule(**when: str | list[str]) -> Rule:
    conditions = {name: (one,) if isinstance(one, str) else tuple(one) for name, one in when.items()}
    return Rule(tuple(sorted(conditions.items())), "secret")


@pytest.mark.parametrize(
    "pattern, value",
    [
        ("MG", "MG"),
        ("mg", "MG"),
        ("*BREAST*", "Left breast, cranio-caudal"),
        ("*", ""),
        ("?*", "x"),
        ("C?", "CT"),
        ("CT", " CT "),
        ("CT", "MR\\CT"),
        ("[CT]", "[ct]"),
        ("a[!b]*", "A[!B]C"),
        ("straße", "STRASSE"),
        ("a.c", "A.C"),
    ],
)
def test_a_pattern_matches(pattern: str, value: str) -> None:
    assert rule(study_description=pattern).holds({"study_description": value})


@pytest.mark.parametrize(
    "pattern, value",
    [
        ("MG", "MG1"),
        ("?*", ""),
        ("C?", "C"),
        ("CT", ""),
        ("CT", "MR\\CTA"),
        ("[CT]", "C"),
        ("a.c", "ABC"),
        ("a|b", "a"),
        ("CT", "CT=MR"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, value: str) -> None:
    assert not rule(study_description=pattern).holds({"study_description": value})


@pytest.mark.parametrize("name", ["patient_name", "referring_physician"])
@pytest.mark.parametrize("pattern", ["yamada^tarou", "山田^太郎", "やまだ*", "yamada*"])
def test_a_person_s_name_matches_by_any_of_its_groups(name: str, pattern: str) -> None:
    assert rule(**{name: pattern}).holds({name: "Yamada^Tarou^^^=山田^太郎=やまだ^たろう"})
    assert not rule(**{name: pattern}).holds({name: "Doe^Jane"})


def test_all_conditions_have_to_hold_and_one_pattern_of_each() -> None:
    both = rule(modality=["MG", "US"], department_name="*BREAST*")

    assert both.holds({"modality": "US", "department_name": "BREAST CLINIC"})
    assert not both.holds({"modality": "US", "department_name": ""})
    assert not both.holds({"modality": "CT", "department_name": "BREAST CLINIC"})


def test_a_rule_without_conditions_holds_for_every_image() -> None:
    assert rule().holds({})


def test_grading_says_which_attributes_its_rules_look_at() -> None:
    rules = (rule(modality="CT"), rule(modality="MR", patient_id="X"))

    assert Grading("secret", rules=rules).looks_at == {"modality", "patient_id"}
    assert Grading("secret").looks_at == set()


LETTERS = "ab*?[\\=^ ß"
patterns = st.text(LETTERS, min_size=1, max_size=6)
values = st.text(LETTERS, max_size=8)
conditions = st.dictionaries(
    st.sampled_from(["modality", "patient_id", "patient_name"]), st.lists(patterns, min_size=1, max_size=3), max_size=3
)


def plainly(pattern: str, text: str) -> bool:
    """Match by the words of the page alone, slowly."""

    @cache
    def rest(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] == "*":
            return rest(p + 1, t) or (t < len(text) and rest(p, t + 1))
        return t < len(text) and pattern[p] in ("?", text[t]) and rest(p + 1, t + 1)

    return rest(0, 0)


@given(pattern=patterns, value=values)
def test_matching_is_what_the_page_says(pattern: str, value: str) -> None:
    expected = any(plainly(pattern.upper(), one.strip(" ").upper()) for one in value.split("\\"))

    assert rule(station_name=pattern).holds({"station_name": value}) == expected


@given(earlier=conditions, later=conditions, attributes=st.fixed_dictionaries(dict.fromkeys(
    ["modality", "patient_id", "patient_name"], values)))  # fmt: skip
def test_a_rule_that_hides_another_holds_wherever_that_does(
    earlier: dict[str, list[str]], later: dict[str, list[str]], attributes: dict[str, str]
) -> None:
    first, second = rule(**earlier), rule(**later)

    if first.hides(second) and second.holds(attributes):
        assert first.holds(attributes)
    assert first.hides(first)


def test_no_pattern_takes_long_to_fail() -> None:
    """Stars that could share out a text in countless ways are matched without trying all of them."""
    stars = "*a" * 32

    assert not rule(patient_id=stars).holds({"patient_id": "a" * 31 + "b" * 2000})
    assert not rule(patient_id=stars + "b").holds({"patient_id": "a" * 2500})


@given(
    st.lists(
        st.builds(
            lambda when, grade: Rule(tuple(sorted((n, tuple(p)) for n, p in when.items())), grade, ("pacs",)),
            st.dictionaries(
                st.sampled_from(ATTRIBUTES), st.lists(st.text("ab*", min_size=1, max_size=64), min_size=1, max_size=3)
            ),
            st.sampled_from(["general", "secret"]),
        ),
        max_size=5,
    )
)
def test_what_parses_is_what_was_written(rules: list[Rule]) -> None:
    grading = Grading("general", ("general", "secret"), tuple(rules), ("pacs",), ())

    written = canonical.parse(canonical.encode(grading.json()), "grading")
    assert Grading.parse(Fields(written, "grading")) == grading


@pytest.mark.parametrize(
    "change",
    [
        {"default": "open"},
        {"rules": [{"when": {}, "grade": "open", "routes": []}]},
        {"rules": [{"when": {"weekday": ["MON"]}, "grade": "secret", "routes": []}]},
        {"rules": [{"when": {"modality": []}, "grade": "secret", "routes": []}]},
        {"rules": [{"when": {"modality": [""]}, "grade": "secret", "routes": []}]},
        {"rules": [{"when": {"modality": ["a\n"]}, "grade": "secret", "routes": []}]},
        {"rules": [{"when": {"modality": "CT"}, "grade": "secret", "routes": []}]},
        {"grades": ["secret", "secret"]},
        {"routes": ["pacs", "pacs"]},
        {"routes": ["PACS"]},
    ],
)
def test_refuses_what_the_page_does_not_allow(change: dict[str, canonical.Json]) -> None:
    with pytest.raises(Malformed):
        Grading.parse(Fields({"default": "secret", "grades": ["secret"], **change}, "grading"))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.finding import Finding, Verdict, lines, passed
from shared.canonical import Json
from shared.errors import Malformed

WELL = Finding("clock", Verdict.PASS, "synchronised")
UNSEEN = Finding("swap", Verdict.NOT_EVALUATED, "/proc/swaps cannot be read", "run it as root")
AS_JSON: dict[str, Json] = {"check": "clock", "verdict": "pass", "reason": "synchronised", "fix": ""}
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@pytest.mark.parametrize("findings, well", [([WELL], True), ([WELL, UNSEEN], False), ([], False)])
def test_only_what_was_looked_at_and_is_well_passes(findings: list[Finding], well: bool) -> None:
    assert passed(findings) is well


@given(st.builds(Finding, st.just("free-space"), st.sampled_from(Verdict), TEXT, TEXT))
def test_a_finding_is_read_back_as_it_was_written(found: Finding) -> None:
    assert Finding.parse(found.json()) == found


@pytest.mark.parametrize("value", [{}, [], {**AS_JSON, "verdict": "ok"}, {**AS_JSON, "more": 1}])
def test_what_is_no_finding_is_refused(value: Json) -> None:
    with pytest.raises(Malformed):
        Finding.parse(value)


def test_what_to_do_stands_below_what_did_not_pass() -> None:
    assert lines([WELL, UNSEEN]) == [
        "pass           clock  synchronised",
        "not evaluated  swap   /proc/swaps cannot be read",
        "                      do: run it as root",
    ]

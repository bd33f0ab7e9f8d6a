"""The `wipe` section as an administrator writes it, what it means, and what of a change to it is dangerous."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences
from control_plane.policy.file.meaning import doubts
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.file.wipe_meaning import describe_wipe, doubts_of_wipe
from shared.policy.wipe import MAX_APPROVALS, MAX_TICKET_HOURS, LeastClass, ReadBack, WipePolicy
from tests.control_plane.policy.file.full import MEANT, organisation
from tests.control_plane.policy.file.test_parts import NORTH, parse

BASE = """\
layer: organisation
modalities: []
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
wipe:
"""
GOOD = "  least: purge\n  read_back: whole\n  approvals: 2\n  ticket_hours: 24\n"
GUIDE = Path(__file__).resolve().parents[4] / "docs" / "guides" / "administrator.md"
RULES = WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24)

wipes = st.builds(
    WipePolicy,
    st.sampled_from(LeastClass),
    st.sampled_from(ReadBack),
    st.integers(1, MAX_APPROVALS),
    st.integers(1, MAX_TICKET_HOURS),
)


def changes(before: WipePolicy | None, after: WipePolicy | None) -> tuple[Change, ...]:
    return differences(replace(MEANT, wipe=before), replace(MEANT, wipe=after))


def is_dangerous(before: WipePolicy | None, after: WipePolicy | None) -> bool:
    return any(change.danger for change in changes(before, after))


def test_reads_what_a_wipe_needs_of_the_organisation_of_a_part_and_of_an_exception() -> None:
    assert organisation((BASE + GOOD).encode(), "policy.yaml").wipe == RULES
    assert organisation(BASE.replace("wipe:\n", "").encode(), "policy.yaml").wipe is None

    site = parse(
        NORTH.replace("hosts:", f"wipe:\n{GOOD}hosts:").replace(
            "    spool:", "    wipe: {least: clear, read_back: samples, approvals: 1, ticket_hours: 1}\n    spool:"
        )
    )
    assert site.content.wipe == RULES
    assert [content.wipe for _, content in site.hosts] == [WipePolicy(LeastClass.CLEAR, ReadBack.SAMPLES, 1, 1)]


@pytest.mark.parametrize(
    "changed, to, problem",
    [
        ("  least: purge\n", "", "6: wipe.least: is missing; expected the fields least, read_back, approvals"),
        ("purge", "destroy", "6: wipe.least: expected one of clear, purge"),
        ("whole", "none", "7: wipe.read_back: expected one of samples, whole"),
        ("approvals: 2", "approvals: 0", "8: wipe.approvals: expected a whole number of people from 1 to 5"),
        ("approvals: 2", "approvals: 6", "8: wipe.approvals: expected a whole number of people from 1 to 5"),
        ("hours: 24", "hours: 169", "9: wipe.ticket_hours: expected a whole number of hours from 1 to 168"),
        ("hours: 24\n", "hours: 24\n  passes: 3\n", "10: wipe.'passes': there is no such field"),
    ],
)
def test_names_what_is_wrong_where_and_what_is_allowed(changed: str, to: str, problem: str) -> None:
    assert changed in GOOD
    with pytest.raises(PolicyFileMalformed) as refused:
        parse_policy_file((BASE + GOOD.replace(changed, to)).encode(), "policy.yaml")

    (found,) = str(refused.value).split("\n")[1:]
    assert found.startswith(f"policy.yaml:{problem}")


def test_the_guides_policy_is_read() -> None:
    of_wipes = GUIDE.read_text(encoding="utf-8").partition("## What a wipe of a drive needs")[2]
    example = of_wipes.partition("```yaml\n")[2].partition("```")[0]

    assert organisation(example.encode(), "policy.yaml").wipe == RULES


@given(wipes)
def test_whoever_signs_it_is_told_that_no_host_does_it_yet(wipe: WipePolicy) -> None:
    assert describe_wipe(wipe)[-1] == "  the host itself and the centre refuse a ticket that is laxer"


def test_tells_the_laxest_and_doubts_that_it_reaches_all_of_a_solid_state_drive() -> None:
    laxest = WipePolicy(LeastClass.CLEAR, ReadBack.SAMPLES, 1, 168)

    assert describe_wipe(laxest)[1:4] == [
        "  Clear of NIST SP 800-88 at least: what was stored cannot be had back by simple means",
        "  samples of the drive are read again afterwards",
        "  1 person approves, besides whoever asks for it, and that holds for 168 h",
    ]
    (doubt,) = doubts_of_wipe(laxest)
    assert doubt.startswith("wipe.least is clear: a solid-state drive keeps data")
    assert list(doubts_of_wipe(RULES)) == []
    assert doubt in doubts(replace(MEANT, wipe=laxest))
    assert doubt in doubts(replace(parse(NORTH), content=replace(parse(NORTH).content, wipe=laxest)))


@pytest.mark.parametrize(
    "laxer, change",
    [
        (
            replace(RULES, least=LeastClass.CLEAR),
            Change("wipe.least", "purge", "clear", "a drive counts as wiped of which a laboratory may have data back"),
        ),
        (
            replace(RULES, read_back=ReadBack.SAMPLES),
            Change(
                "wipe.read_back", "whole", "samples",
                "what a wipe left behind may be in a place that is not read again",
            ),
        ),
        (
            replace(RULES, approvals=1),
            Change("wipe.approvals", "2 approvals", "1 approval", "a drive is wiped with fewer people having said so"),
        ),
        (
            replace(RULES, ticket_hours=25),
            Change("wipe.ticket_hours", "24 h", "25 h", "a drive may be wiped longer after people said so"),
        ),
    ],
)  # fmt: skip
def test_a_wipe_that_needs_less_is_a_danger_and_one_that_needs_more_is_not(laxer: WipePolicy, change: Change) -> None:
    assert changes(RULES, laxer) == (change,)
    assert changes(laxer, RULES) == (replace(change, was=change.now, now=change.was, danger=""),)


def test_no_more_wipes_are_no_danger_and_the_first_ones_are() -> None:
    words = "purge, whole read again, 2 approvals, for 24 h"

    assert changes(RULES, None) == (Change("wipe", words, ""),)
    assert changes(None, RULES) == (Change("wipe", "", words, "drives may be wiped, and none was before"),)


@given(wipes, wipes, st.lists(st.none() | wipes, max_size=2))
def test_no_way_leads_to_a_laxer_wipe_without_a_danger(
    before: WipePolicy, after: WipePolicy, between: list[WipePolicy | None]
) -> None:
    if after != after.stricter(before):
        assert any(is_dangerous(*step) for step in pairwise([before, *between, after]))

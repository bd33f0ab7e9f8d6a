"""What is done is the first of the ticket's list that the drive has and that can reach what is asked for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.plan import Plan, choose
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.medium import MediumKind
from shared.sanitization.method import Method
from shared.sanitization.reach import best
from shared.sanitization.report import Considered, HiddenArea, HiddenKind, HiddenState
from shared.sanitization.technique import Available, SanitizationClass, Sequence, Technique
from tests.edge_agent.sanitize.firmware.drives import MEDIUM

CLEAR, PURGE = LeastClass.CLEAR, LeastClass.PURGE
SANITIZE, OVERWRITE, ERASE = Technique.ATA_SANITIZE_BLOCK, Technique.OVERWRITE, Technique.ATA_SECURE_ERASE
techniques = st.lists(st.sampled_from(list(Technique)), min_size=1, unique=True)


def plan(
    *allowed: Technique,
    has: tuple[Technique, ...],
    least: LeastClass = CLEAR,
    read_back: ReadBack = ReadBack.SAMPLES,
    hidden: tuple[HiddenArea, ...] = (),
    kind: MediumKind = MediumKind.ATA_SSD,
) -> Plan:
    considered = [
        Considered(one, Available.YES if one in has else Available.NO, "there" if one in has else f"no {one}")
        for one in Technique
    ]
    method = Method(least, allowed, Sequence.ZERO, (), read_back)
    return choose(method, replace(MEDIUM, kind=kind), considered, hidden)


def test_the_first_that_is_there_is_taken_in_the_ticket_s_order() -> None:
    assert plan(SANITIZE, ERASE, OVERWRITE, has=(ERASE, OVERWRITE)).chosen == (ERASE,)
    assert plan(OVERWRITE, SANITIZE, has=(SANITIZE, OVERWRITE)).chosen == (OVERWRITE,)


def test_one_that_cannot_reach_what_is_asked_for_is_passed_over() -> None:
    found = plan(OVERWRITE, ERASE, SANITIZE, has=(OVERWRITE, ERASE, SANITIZE), least=PURGE)

    assert found.chosen == (SANITIZE,)
    assert "overwrite: it reaches clear at best, and purge is asked for" in found.why


def test_where_none_is_left_nothing_is_done_and_every_reason_is_given() -> None:
    found = plan(SANITIZE, OVERWRITE, has=(OVERWRITE,), least=PURGE)

    assert found.is_refused
    assert found.why == (f"{SANITIZE}: no {SANITIZE}; overwrite: it reaches clear at best, and purge is asked for")


def test_what_is_not_known_is_never_tried() -> None:
    method = Method(CLEAR, (SANITIZE,), Sequence.ZERO, (), ReadBack.SAMPLES)

    asked = choose(method, MEDIUM, [Considered(SANITIZE, Available.UNKNOWN, "hdparm is not installed")], ())
    never_asked = choose(method, MEDIUM, [], ())

    assert (asked.chosen, asked.why) == ((), f"{SANITIZE}: hdparm is not installed")
    assert never_asked.is_refused


@pytest.mark.parametrize(
    "first, read_back, chosen",
    [
        (SANITIZE, ReadBack.WHOLE, (SANITIZE, OVERWRITE)),
        (SANITIZE, ReadBack.SAMPLES, (SANITIZE,)),
        (Technique.ATA_SANITIZE_OVERWRITE, ReadBack.WHOLE, (Technique.ATA_SANITIZE_OVERWRITE,)),
        (OVERWRITE, ReadBack.WHOLE, (OVERWRITE,)),
    ],
)
def test_an_overwrite_follows_where_all_is_to_be_read_back_and_nothing_known_would_be_there(
    first: Technique, read_back: ReadBack, chosen: tuple[Technique, ...]
) -> None:
    allowed = (first,) if first is OVERWRITE else (first, OVERWRITE)
    found = plan(*allowed, has=tuple(Technique), read_back=read_back, kind=MediumKind.ATA_DISK)

    assert found.chosen == chosen


@pytest.mark.parametrize(
    "kind, state",
    [
        (HiddenKind.DCO, HiddenState.INDETERMINATE),
        (HiddenKind.HPA, HiddenState.INDETERMINATE),
        (HiddenKind.BOOT_PARTITIONS, HiddenState.PRESENT),
    ],
)
def test_where_something_may_be_hidden_nothing_is_begun_that_could_not_purge(
    kind: HiddenKind, state: HiddenState
) -> None:
    hidden = (HiddenArea(kind, state, 0, ""),)

    assert plan(SANITIZE, has=(SANITIZE,), least=PURGE, hidden=hidden).is_refused
    assert plan(SANITIZE, has=(SANITIZE,), least=CLEAR, hidden=hidden).chosen == (SANITIZE,)


def test_an_overlay_that_nothing_opens_is_told_before() -> None:
    found = plan(OVERWRITE, has=(OVERWRITE,), hidden=(HiddenArea(HiddenKind.DCO, HiddenState.PRESENT, 8, ""),))

    assert found.chosen == (OVERWRITE,)
    assert "what the drive hides stays" in found.why


@pytest.mark.parametrize(
    "kind, state, removes",
    [
        (HiddenKind.HPA, HiddenState.PRESENT, True), (HiddenKind.AMA, HiddenState.PRESENT, True),
        (HiddenKind.DCO, HiddenState.PRESENT, False), (HiddenKind.HPA, HiddenState.INDETERMINATE, False),
    ],
)  # fmt: skip
def test_only_an_area_that_is_known_and_can_be_opened_is(kind: HiddenKind, state: HiddenState, removes: bool) -> None:
    found = plan(OVERWRITE, has=(OVERWRITE,), hidden=(HiddenArea(kind, state, 8, ""),))

    assert found.removes_hidden == removes


@given(techniques, techniques, st.sampled_from(list(LeastClass)), st.sampled_from(list(MediumKind)))
def test_whatever_is_allowed_and_there_what_is_chosen_is_both_and_reaches_enough(
    allowed: list[Technique], has: list[Technique], least: LeastClass, kind: MediumKind
) -> None:
    found = plan(*allowed, has=tuple(has), least=least, kind=kind)

    assert set(found.chosen) <= set(allowed) & set(has)
    if found.chosen:
        assert best(found.chosen[0], kind).reaches(SanitizationClass(least.value))
    else:
        assert all(str(one) in found.why for one in allowed)

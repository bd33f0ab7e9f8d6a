"""The ledger: nothing is green that was not judged, and nothing is judged twice."""

import io

import pytest

from provisioning.demo.demonstration import chapters
from provisioning.demo.display import PlainDisplay
from provisioning.demo.expectations import Chapter, Expectation, Expectations, State

FIRST, SECOND = Expectation("first", "the first"), Expectation("second", "the second")


def ledger() -> Expectations:
    return Expectations([Chapter("One", (FIRST,)), Chapter("Two", (SECOND,))])


def test_holds_when_every_expectation_was_judged_and_held() -> None:
    expectations = ledger()
    expectations.judge("first", True, "seen")
    expectations.judge("second", True, "seen")

    assert expectations.all_held()


def test_an_expectation_that_was_not_reached_counts_as_failed() -> None:
    expectations = ledger()
    expectations.judge("first", True, "seen")

    assert not expectations.all_held()
    assert [verdict.state for verdict in expectations.verdicts()] == [State.HELD, State.NOT_REACHED]


def test_one_that_failed_spoils_the_whole() -> None:
    expectations = ledger()
    expectations.judge("first", False, "something else")
    expectations.judge("second", True, "seen")

    assert not expectations.all_held()


def test_a_judgement_stays() -> None:
    expectations = ledger()
    expectations.judge("first", False, "something else")

    with pytest.raises(ValueError, match="judged twice"):
        expectations.judge("first", True, "on second thoughts")


def test_nothing_is_judged_that_nobody_expects() -> None:
    with pytest.raises(ValueError, match="not an expectation"):
        ledger().judge("third", True, "seen")


def test_no_expectation_at_all_is_not_a_success() -> None:
    assert not Expectations([]).all_held()


def test_a_name_stands_for_one_expectation() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        Expectations([Chapter("One", (FIRST, FIRST))])


@pytest.mark.parametrize("broker", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_every_variant_of_the_demo_names_each_expectation_once(broker: bool, keep: bool) -> None:
    planned = chapters(broker=broker, keep=keep)

    Expectations(planned)
    assert all(chapter.expectations for chapter in planned)


def test_the_summary_shows_what_did_not_hold_with_what_was_seen_instead() -> None:
    expectations, out = ledger(), io.StringIO()
    expectations.judge("first", False, "something else")

    PlainDisplay(out).summary(expectations.by_chapter(), "closing words")

    assert "[FAIL] 1. One: 0 of 1" in out.getvalue()
    assert "[FAIL] the first\n         something else" in out.getvalue()
    assert "[ -- ] the second" in out.getvalue()
    assert out.getvalue().endswith("closing words\n")

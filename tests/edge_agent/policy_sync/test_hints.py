"""How much a host relies on its broker, and how often it asks because of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy_sync.hints import WITHOUT_HINTS_S, Hearing, Hints, pull_after_s


def test_a_host_hears_once_it_has_subscribed_and_until_it_is_cut_off() -> None:
    hints = Hints()
    states = [hints.state]
    for happens in (hints.subscribed, hints.lost, hints.subscribed):
        happens()
        states.append(hints.state)

    assert states == [Hearing.LOST, Hearing.HEARING, Hearing.LOST, Hearing.HEARING]


def test_a_pull_that_finds_what_was_not_told_shows_a_silent_broker_until_it_speaks() -> None:
    hints = Hints()
    hints.subscribed()
    hints.pulled(b"head 2")
    withheld = hints.state
    hints.heard(b"head 2")

    assert (withheld, hints.state) == (Hearing.SILENT, Hearing.HEARING)


def test_a_pull_that_finds_what_was_told_shows_nothing() -> None:
    hints = Hints()
    hints.subscribed()
    hints.heard(b"head 2")
    hints.pulled(b"head 2")

    assert hints.state is Hearing.HEARING


def test_a_broker_that_goes_or_is_back_is_told_once_and_the_first_time_is_no_return() -> None:
    rung: list[bool] = []
    hints = Hints(on_lost=lambda: rung.append(True))
    turns = []
    for happens in (hints.lost, hints.subscribed, hints.lost, hints.lost, hints.subscribed):
        happens()
        turns.append(hints.take_turn())

    assert turns == [False, False, True, False, True]
    assert rung == [True]


@given(st.floats(1, 86_400), st.sampled_from(Hearing), st.floats(0, 1))
def test_no_host_waits_longer_than_policy_says_nor_asks_more_than_twice_as_often(
    every_s: float, hearing: Hearing, spread: float
) -> None:
    wait_s = pull_after_s(every_s, hearing, spread)

    is_missed = hearing in {Hearing.SILENT, Hearing.LOST}
    longest_s = min(every_s, WITHOUT_HINTS_S) if is_missed else every_s
    assert longest_s / 2 <= wait_s <= longest_s


@pytest.mark.parametrize(
    "hearing, at_most_s",
    [(Hearing.NONE, 3600), (Hearing.HEARING, 3600), (Hearing.SILENT, 60), (Hearing.LOST, 60)],
)
def test_a_host_that_misses_its_broker_asks_every_minute_whatever_policy_lets_it(
    hearing: Hearing, at_most_s: float
) -> None:
    assert pull_after_s(3600, hearing, 1.0) == at_most_s

"""When a clock may decide about a permission that ends: never after it was set back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.usb_policy.clock_trust import TOLERANCE, ClockTrust, Reading

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
EXPIRES = NOW + timedelta(days=14)
SIGNED = ClockTrust(NOW - timedelta(days=1))
steps = st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1, max_size=20)


def reading(after: timedelta = timedelta(0), *, set_by: timedelta = timedelta(0), is_kept: bool = False) -> Reading:
    """Return what a clock that was set `set_by` shows so long after NOW, when the machine had been up for a minute."""
    return Reading(NOW + after + set_by, timedelta(minutes=1) + after, is_kept)


@given(steps)
def test_a_clock_that_nobody_sets_is_sure(steps: list[tuple[float, bool]]) -> None:
    trust, after = SIGNED, timedelta(0)
    for seconds, is_kept in steps:
        after += timedelta(seconds=seconds)
        assert trust.is_sure(reading(after, is_kept=is_kept))
        trust = trust.looked(reading(after, is_kept=is_kept), EXPIRES)


@given(st.integers(0, 86_400), st.integers(301, 10**6), st.integers(0, 86_400 * 6))
def test_a_clock_that_is_set_back_is_not_sure_however_long_the_machine_then_runs(
    before_s: int, back_s: int, later_s: int
) -> None:
    trust = SIGNED.looked(reading(timedelta(seconds=before_s)), EXPIRES)
    later = timedelta(seconds=before_s + later_s)

    set_back = reading(later, set_by=-timedelta(seconds=back_s + later_s * 0.0005))

    assert not trust.is_sure(set_back)
    assert not trust.looked(set_back, EXPIRES).is_sure(set_back)


def test_a_clock_that_is_set_back_a_little_every_minute_is_not_sure_in_the_end() -> None:
    trust, sure = SIGNED, []
    for minute in range(60):
        shown = reading(timedelta(minutes=minute), set_by=-timedelta(seconds=20 * minute))
        sure.append(trust.is_sure(shown))
        trust = trust.looked(shown, EXPIRES)

    assert sure[:10] == [True] * 10
    assert sure[20:] == [False] * 40


def test_a_clock_that_loses_as_much_as_a_bad_crystal_and_is_set_right_every_day_stays_sure() -> None:
    trust = SIGNED
    for day in range(400):
        shown = reading(timedelta(days=day), set_by=-timedelta(seconds=20 * day))
        assert trust.is_sure(shown)
        trust = trust.looked(shown, EXPIRES + timedelta(days=500))


def test_a_clock_that_was_set_back_between_two_starts_of_the_machine_is_not_sure_until_it_comes_by_again() -> None:
    before = SIGNED.looked(reading(timedelta(hours=5)), EXPIRES)
    trust = ClockTrust(before.latest, before.newest)  # what outlives a start of the machine

    started = Reading(NOW + timedelta(hours=1), timedelta(seconds=9), is_kept=True)

    assert not trust.is_sure(started)
    assert trust.is_sure(replace(started, now=NOW + timedelta(hours=5) - TOLERANCE))


@pytest.mark.parametrize(
    "was_kept, is_kept, is_sure", [(False, True, True), (False, False, False), (True, True, False)]
)
def test_a_clock_that_ran_ahead_before_anything_kept_it_may_be_set_right(
    was_kept: bool, is_kept: bool, is_sure: bool
) -> None:
    ahead = reading(set_by=timedelta(minutes=10), is_kept=was_kept)
    trust = SIGNED.looked(ahead, EXPIRES).looked(reading(timedelta(seconds=9), is_kept=is_kept), EXPIRES)

    assert trust.is_sure(reading(timedelta(minutes=6), is_kept=is_kept)) is is_sure


def test_nobody_can_have_a_kept_clock_forgotten_by_leaving_it_to_itself_for_a_while() -> None:
    trust = SIGNED.looked(reading(is_kept=True), EXPIRES).looked(reading(timedelta(hours=2)), EXPIRES)

    assert not trust.is_sure(reading(timedelta(hours=9), set_by=-timedelta(hours=3), is_kept=True))


def test_a_clock_that_ran_far_ahead_is_not_held_against_it_past_the_end_of_the_policy() -> None:
    far = Reading(NOW + timedelta(days=3650), timedelta(minutes=1), is_kept=False)
    trust = SIGNED.looked(far, EXPIRES)
    next_start = ClockTrust(trust.latest, trust.newest)

    assert trust.newest == EXPIRES
    assert not next_start.is_sure(reading())
    assert next_start.is_sure(Reading(EXPIRES, timedelta(minutes=1), is_kept=False))


def test_without_a_policy_that_ends_there_is_nothing_to_remember_between_starts() -> None:
    assert SIGNED.looked(reading(), None).newest is None


def test_a_signature_raises_only_what_it_tells_of() -> None:
    trust = SIGNED.looked(reading(), EXPIRES).seen(NOW)

    assert trust == replace(SIGNED.looked(reading(), EXPIRES), latest=NOW)
    assert not ClockTrust().looked(reading(), EXPIRES).is_sure(reading())

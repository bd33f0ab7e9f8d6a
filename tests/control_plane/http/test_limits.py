"""Brute force on codes costs little and finds nothing, and whoever has the right one gets in."""

from datetime import timedelta

import pytest

from control_plane.http.limits import FailureLimit, TooManyFailures
from tests.fakes.clock import FakeClock

MOST, OVERALL = 10, 60


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def heard(limit: FailureLimit, addresses: int, tries: int) -> int:
    """Return how many of `tries` wrong codes from each address were looked at."""
    looked_at = 0
    for _ in range(tries):
        for number in range(addresses):
            try:
                limit.check(f"10.0.0.{number}")
            except TooManyFailures:
                continue
            looked_at += 1
            limit.failed(f"10.0.0.{number}")
    return looked_at


def test_brute_force_on_codes_from_many_addresses_is_slowed(clock: FakeClock) -> None:
    """The control is a limit for each address alone, which lets ten times as many through."""
    alone, overall = FailureLimit(clock, MOST), FailureLimit(clock, MOST, OVERALL)

    assert heard(alone, addresses=50, tries=MOST) == 500
    assert heard(overall, addresses=50, tries=MOST) == OVERALL
    clock.advance(timedelta(minutes=1))
    assert heard(overall, addresses=50, tries=MOST) == OVERALL


def test_whoever_has_the_right_code_is_heard_while_others_guess(clock: FakeClock) -> None:
    limit = FailureLimit(clock, MOST, OVERALL)
    heard(limit, addresses=200, tries=MOST)

    limit.check("an engineer")
    limit.failed("an engineer")  # mistyped once
    with pytest.raises(TooManyFailures) as refusal:
        limit.check("an engineer")
    assert refusal.value.retry_after_s <= 61
    clock.advance(timedelta(seconds=refusal.value.retry_after_s))
    limit.check("an engineer")


def test_one_address_alone_is_limited_as_before(clock: FakeClock) -> None:
    limit = FailureLimit(clock, MOST, OVERALL)

    assert heard(limit, addresses=1, tries=2 * MOST) == MOST
    limit.check("10.0.0.2")

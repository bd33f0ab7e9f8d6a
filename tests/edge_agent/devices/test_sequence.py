import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.devices.sequence import Order, Sequence

FIRST = 1000


def after(numbers: list[int], start: int | None = FIRST - 1) -> Sequence:
    sequence = Sequence(start)
    for number in numbers:
        sequence, _ = sequence.take(number)
    return sequence


def missing(sequence: Sequence) -> set[int]:
    return {number for gap in sequence.gaps for number in gap}


def test_numbers_that_follow_each_other_leave_no_gap() -> None:
    assert after([1000, 1001, 1002]) == Sequence(1002)


def test_takes_the_first_number_as_it_comes_where_none_is_known() -> None:
    assert after([70_000], None) == Sequence(70_000)


def test_a_first_number_that_is_too_high_shows_what_came_before_listening_began() -> None:
    assert after([1002]).gaps == (range(1000, 1002),)


def test_a_number_that_comes_late_is_not_missed() -> None:
    # Two events at once arrive in the other order since Linux 6.11.
    sequence, order = after([1000, 1003, 1002]).take(1001)

    assert order is Order.LATE
    assert sequence == Sequence(1003)


def test_events_of_another_network_namespace_leave_a_gap_like_any_other() -> None:
    assert after([1000, 1004]).gaps == (range(1001, 1004),)


def test_numbers_that_begin_anew_are_told_and_counted_on() -> None:
    sequence, order = after([1000, 1001]).take(1)

    assert order is Order.BACK
    assert sequence.take(2) == (Sequence(2), Order.NEXT)


def test_a_number_that_came_is_not_taken_twice() -> None:
    assert after([1000, 1001]).take(1001)[1] is Order.BACK


def test_what_was_given_up_and_comes_after_all_is_told() -> None:
    assert after([1000, 1002]).given_up().take(1001)[1] is Order.BACK


def test_a_gap_of_any_size_takes_no_room() -> None:
    assert after([1000, 2**64 - 1]).gaps == (range(1001, 2**64 - 1),)
    assert after([1000, 2**64 - 1]).missing == 2**64 - 1002


@given(st.permutations(range(FIRST, FIRST + 20)).flatmap(lambda all_of: st.integers(0, 20).map(lambda n: all_of[:n])))
def test_missing_is_exactly_what_did_not_come_in_whatever_order_the_others_did(came: list[int]) -> None:
    sequence = after(came)

    assert missing(sequence) == set(range(FIRST, max(came, default=FIRST - 1) + 1)) - set(came)
    assert sequence.missing == len(missing(sequence))
    assert sequence.last == max(came, default=FIRST - 1)


@given(st.sets(st.integers(FIRST, FIRST + 40), min_size=1))
def test_no_dropped_event_goes_unseen_once_a_later_one_came(came: set[int]) -> None:
    sequence = after(sorted(came))

    assert missing(sequence) == set(range(FIRST, max(came))) - came


@given(st.lists(st.integers(1, 50), max_size=40))
def test_whatever_comes_gaps_are_in_order_and_below_the_last(numbers: list[int]) -> None:
    sequence = after(numbers, None)

    ends = [edge for gap in sequence.gaps for edge in (gap.start, gap.stop)]
    assert ends == sorted(ends)
    assert all(gap for gap in sequence.gaps)
    assert not sequence.gaps or (sequence.last is not None and sequence.gaps[-1].stop <= sequence.last)


def test_what_the_kernel_counted_and_did_not_come_is_missing_until_it_comes() -> None:
    counted = Sequence(5).counted(8)
    assert counted == Sequence(8, (range(6, 9),))
    late, order = counted.take(8)
    assert (late.gaps, order) == ((range(6, 8),), Order.LATE)


@pytest.mark.parametrize("number", [4, 5])
def test_a_count_that_is_behind_says_nothing(number: int) -> None:
    assert Sequence(5).counted(number) == Sequence(5)


def test_a_count_says_nothing_where_no_number_is_known() -> None:
    assert Sequence().counted(9) == Sequence()

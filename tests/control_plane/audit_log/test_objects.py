"""Numbers by which records are found that say an object."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit_log.objects import MAX_ENTRY, _outward, number_of

entries = st.integers(0, MAX_ENTRY - 1)
names = st.text(min_size=1, max_size=200)


@given(names, names, entries, entries)
def test_numbers_are_of_records_and_go_by_runs(one: str, other: str, first: int, second: int) -> None:
    numbers = number_of(one, first), number_of(other, second)
    assert all(0 <= number < 2**53 for number in numbers)
    assert (numbers[0] >> 38, numbers[0] & 0x7FFF) == (first >> 15, first & 0x7FFF)
    assert first == second or numbers[0] != numbers[1]
    assert first >> 15 >= second >> 15 or numbers[0] < numbers[1]


@given(st.integers(0, 500), st.integers(0, 500))
def test_every_run_is_looked_into_once_wherever_one_begins(near: int, end: int) -> None:
    looked = [run for runs in _outward(min(near, end), end) for run in runs]
    assert sorted(looked) == list(range(end))

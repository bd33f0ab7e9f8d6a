"""What agent and guard take is judged by figures, and nothing that nobody counted is called within the budget."""

from dataclasses import replace

import pytest

from shared.fleet.budget import BudgetState, NotCounted, Spent, Verdict, judge

MIB = 1 << 20
FINE = BudgetState(
    memory_bytes=98 * MIB,
    most_bytes=112 * MIB,
    peak_bytes=150 * MIB,
    limit_bytes=150 * MIB,
    agent_bytes=70 * MIB,
    guard_bytes=28 * MIB,
    held_back=3,
    killed=0,
    capturing=Spent(1_860, 60_000, 600, 600 << 19),
    idle=Spent(1_200, 600_000),
)


def test_what_is_within_says_each_figure() -> None:
    assert judge(FINE).line() == (
        "within: 112 of 150 MiB at the most, 3.1 % of a core while capturing 10.0 images a second, 0.20 % idle"
    )


@pytest.mark.parametrize(
    "taken, said",
    [
        (replace(FINE, most_bytes=151 * MIB), "151 of 150 MiB"),
        (replace(FINE, killed=1), "1 processes ended for want of memory"),
        (replace(FINE, capturing=Spent(3_060, 60_000, 600, 600 << 19)), "5.1 % of a core while capturing"),
        (replace(FINE, idle=Spent(3_600, 600_000)), "0.60 % idle"),
    ],
)
def test_more_than_it_may_is_exceeded_whatever_else_is_fine(taken: BudgetState, said: str) -> None:
    assert judge(taken).verdict is Verdict.EXCEEDED
    assert said in judge(taken).line()
    assert judge(replace(taken, guard_bytes=None)).verdict is Verdict.EXCEEDED, "whatever is not known beside it"


@pytest.mark.parametrize(
    "taken",
    [
        replace(FINE, capturing=None),
        replace(FINE, idle=None),
        replace(FINE, guard_bytes=None),
        replace(FINE, capturing=Spent(1, 19_999)),
        replace(FINE, idle=Spent(1, 119_999)),
        NotCounted("no cgroup v2"),
    ],
)
def test_what_nobody_counted_is_not_evaluated(taken: BudgetState | NotCounted) -> None:
    assert judge(taken).verdict is Verdict.NOT_EVALUATED


def test_who_is_sent_more_may_take_more_by_as_much() -> None:
    as_fast_again = Spent(5_800, 60_000, 1_200, 1_200 << 19)
    as_large_again = Spent(5_800, 60_000, 600, 1_200 << 19)
    for spent in (as_fast_again, as_large_again):
        assert judge(replace(FINE, capturing=spent)).verdict is Verdict.WITHIN
        assert judge(replace(FINE, capturing=replace(spent, cpu_ms=6_001))).verdict is Verdict.EXCEEDED
    assert "9.7 of 10.0 % of a core" in judge(replace(FINE, capturing=as_fast_again)).line()
    slow = Spent(3_001, 60_000, 60, 60 << 19)
    assert judge(replace(FINE, capturing=slow)).verdict is Verdict.EXCEEDED

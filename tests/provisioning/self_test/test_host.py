"""The host's clock: what is well, what is not, and what nobody could tell."""

from datetime import timedelta

import pytest

from edge_agent.host_watch.observations import KernelClock
from provisioning.finding import Verdict
from provisioning.self_test.host import judge_clock

KEPT, LOOSE = KernelClock(True, 0, 0, 0), KernelClock(False, 0, 0, 0)


@pytest.mark.parametrize(
    "kernel, ahead, verdict",
    [
        (KEPT, timedelta(seconds=4), Verdict.PASS),
        (KEPT, timedelta(seconds=6), Verdict.FAIL),
        (KEPT, timedelta(hours=-1), Verdict.FAIL),
        (LOOSE, timedelta(0), Verdict.FAIL),
        (None, timedelta(0), Verdict.NOT_EVALUATED),
        (None, timedelta(hours=-1), Verdict.FAIL),
        (KEPT, None, Verdict.NOT_EVALUATED),
    ],
)
def test_a_clock_is_well_only_where_it_is_right_and_kept(
    kernel: KernelClock | None, ahead: timedelta | None, verdict: Verdict
) -> None:
    assert judge_clock(kernel, "adjtimex: not permitted", ahead).verdict is verdict

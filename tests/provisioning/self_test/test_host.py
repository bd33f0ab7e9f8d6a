"""Certificate and clock: what is well, what is not, and what nobody could tell."""

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.host_watch.observations import KernelClock
from provisioning.finding import Verdict
from provisioning.self_test.host import judge_clock

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
KEPT, LOOSE = KernelClock(True, 0, 0, 0), KernelClock(False, 0, 0, 0)


@pytest.mark.parametrize(
    "kernel, centre, verdict",
    [
        (KEPT, NOW - timedelta(seconds=4), Verdict.PASS),
        (KEPT, NOW - timedelta(seconds=6), Verdict.FAIL),
        (KEPT, NOW + timedelta(hours=1), Verdict.FAIL),
        (LOOSE, NOW, Verdict.FAIL),
        (None, NOW, Verdict.NOT_EVALUATED),
        (None, NOW + timedelta(hours=1), Verdict.FAIL),
        (KEPT, None, Verdict.NOT_EVALUATED),
    ],
)
def test_a_clock_is_well_only_where_it_is_right_and_kept(
    kernel: KernelClock | None, centre: datetime | None, verdict: Verdict
) -> None:
    assert judge_clock(kernel, "adjtimex: not permitted", centre, NOW).verdict is verdict

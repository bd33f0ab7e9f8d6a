"""A plan says what it means or is refused."""

from dataclasses import replace
from typing import Any

import pytest

from control_plane.rollout.plan import OnAbort, Plan
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.rollout import EVERYBODY, Rings

HOST = HostId(bytes(16))
ALL = Rings(percent=EVERYBODY)
PLAN = Plan((Rings((HOST,)), Rings(layers=("site-north",), percent=10), ALL), 1800, 90, 5, OnAbort.PAUSE, 120)


def test_a_plan_is_what_was_written() -> None:
    assert Plan.parse(PLAN.json()) == PLAN


def test_open_rings_add_up() -> None:
    assert PLAN.opened(1) == Rings((HOST,))
    assert PLAN.opened(2) == Rings((HOST,), ("site-north",), 10)
    assert PLAN.opened(3) == Rings((HOST,), ("site-north",), EVERYBODY)


@pytest.mark.parametrize(
    "change, why",
    [
        ({"rings": (ALL,)}, "a ring and then everybody"),
        ({"rings": (Rings((HOST,)), Rings(percent=50))}, "a ring and then everybody"),
        ({"rings": (Rings(), ALL)}, "names nobody"),
        ({"rings": (ALL, ALL)}, "everybody is the last ring alone"),
        ({"rings": (Rings(percent=20), Rings(percent=10), ALL)}, "larger than the one before"),
        ({"rings": (Rings(tuple(HostId(bytes([n] * 16)) for n in range(40))),
                    Rings(tuple(HostId(bytes([n] * 16)) for n in range(40, 80))), ALL)}, "more than 64 hosts"),
        ({"healthy_percent": 0}, "healthy_percent"),
        ({"abort_percent": 101}, "abort_percent"),
        ({"soak_s": -1}, "soak_s"),
        ({"quiet_s": 0}, "quiet_s"),
    ],
)  # fmt: skip
def test_what_no_roll_out_can_go_by_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Plan.parse(replace(PLAN, **change).json())

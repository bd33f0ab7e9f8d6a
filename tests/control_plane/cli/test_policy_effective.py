"""What is said of a host that a roll-out has not reached, or from which it was taken back."""

from typing import Any

import pytest

from control_plane.cli.policy_effective import held_back
from tests.control_plane.policy.file.test_part_differences import ORGANISATION, published
from tests.control_plane.policy.file.test_parts import NORTH

HOST, OTHER = f"host-{'0a' * 16}", f"host-{'1b' * 16}"
LAYERS = (ORGANISATION, published(NORTH, 4))


def rollout(*, state: str = "running", layer: str = "site-north", version: int = 4, opened: int = 1) -> dict[str, Any]:
    """Return a roll-out as the status tells it: the other host first, then this one."""
    rings = [
        {"ring": number, "opened": "2026-03-01T08:00:00Z" if number <= opened else None, "members": [{"host": host}]}
        for number, host in ((1, OTHER), (2, HOST))
    ]
    return {"layer": layer, "version": version, "state": state, "rings": rings}


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_host_that_a_ring_has_not_reached_is_told_of(state: str) -> None:
    waits = "policy 4 of site-north has not reached it: by the centre's word it goes by what all hosts had before"

    assert list(held_back(HOST, LAYERS, [rollout(state=state)])) == [waits]
    assert list(held_back(OTHER, LAYERS, [rollout(state=state)])) == []
    assert list(held_back(HOST, LAYERS, [rollout(state=state, opened=2)])) == []


def test_what_was_taken_back_is_told_of_every_host() -> None:
    left_with = (ORGANISATION, published(NORTH, 3))
    for host in (HOST, OTHER):
        (line,) = held_back(host, left_with, [rollout(state="reverted")])
        assert line.startswith("policy 4 of site-north was taken back: ")


@pytest.mark.parametrize(
    "over",
    [
        *(rollout(state="finished"), rollout(version=3), rollout(layer="site-south"), rollout(layer="modality-ct")),
        *(rollout(state="reverted"), rollout(state="reverted", layer="site-south")),
    ],
)
def test_a_roll_out_that_is_over_or_of_another_layer_says_nothing_of_the_host(over: dict[str, Any]) -> None:
    assert list(held_back(HOST, LAYERS, [over])) == []

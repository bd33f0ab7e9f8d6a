"""How long a host may say nothing while some hosts report by one policy and some by another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control_plane.fleet.devices import DeviceShowing
from control_plane.fleet.heard import HeardSince
from control_plane.policy.file.authored import Authored, AuthoredPart
from control_plane.rollout.service import Steering
from shared.policy.document import ORGANISATION
from shared.policy.part import PartContent
from tests.control_plane.policy.centre import PERSON, POLICY
from tests.control_plane.policy.layers import NORTH, add_layers
from tests.control_plane.policy.people import ada
from tests.control_plane.rollout.bench import Bench, new_bench

SELDOM_S, OFTEN_S, SAID_NOTHING_S = 600, 5, 300


def of_organisation(every_s: int) -> Authored:
    return replace(POLICY, state_every_s=every_s)


def of_site(every_s: int) -> Authored:
    return AuthoredPart(NORTH, PartContent(state_every_s=every_s))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = new_bench(tmp_path, assets=0)
    add_layers(bench.centre, [NORTH], ada(bench.centre))
    bench.add("N 1", "N 2", parts=[NORTH])
    return bench


def states(bench: Bench) -> list[str]:
    showing = DeviceShowing(bench.centre.database, bench.centre.publisher, bench.centre.clock)
    hosts: Any = showing.status()["hosts"]
    return [host["state"] for host in hosts]


@pytest.mark.parametrize("layer, authored", [(ORGANISATION, of_organisation), (NORTH, of_site)])
@pytest.mark.parametrize("before_s, after_s", [(SELDOM_S, OFTEN_S), (OFTEN_S, SELDOM_S)])
def test_no_host_is_silent_that_reports_as_seldom_as_either_policy_says(
    bench: Bench, layer: str, authored: Callable[[int], Authored], before_s: int, after_s: int
) -> None:
    bench.rollouts.publish(bench.signed(authored(before_s), rings=False), None, PERSON)
    bench.publish(authored(after_s), bench.plan(bench.machines[0]))
    bench.sync()
    bench.later(SAID_NOTHING_S)
    assert states(bench) == ["reporting", "reporting"]

    # Control: once everybody has the new one, it alone says how often.
    for _ in range(2):
        bench.rollouts.steer(layer, Steering.WIDEN, PERSON)
    assert states(bench) == ["reporting" if after_s == SELDOM_S else "silent"] * 2


def test_what_is_said_for_one_host_of_a_site_counts_for_it_alone(bench: Bench) -> None:
    first, second = (machine.host for machine in bench.machines)
    seldom = AuthoredPart(NORTH, PartContent(), ((first, PartContent(state_every_s=SELDOM_S)),))
    bench.rollouts.publish(bench.signed(of_site(OFTEN_S), rings=False), None, PERSON)
    bench.publish(seldom, bench.plan(bench.machines[0]))
    since = HeardSince(bench.centre.publisher.acted_by(), bench.centre.clock.now())

    assert since.of(first, [NORTH]) < since.of(second, [NORTH]) == since.of(second, [])

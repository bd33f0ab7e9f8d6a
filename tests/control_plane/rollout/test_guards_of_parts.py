"""What a host's report says of a layer, to the gate that decides about a roll-out of it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.reports import VerifiedReports
from control_plane.fleet.states import StateIntake
from control_plane.rollout.gate import Health, judge
from control_plane.rollout.hosts import members
from control_plane.rollout.plan import OnAbort, Plan
from control_plane.rollout.state import Rollout, State
from shared.fleet.devices import GuardLayer, GuardReport
from shared.fleet.state import HostState, LayerState, sign_state
from shared.policy.document import ORGANISATION
from shared.policy.rollout import EVERYBODY, Rings
from tests.control_plane.fleet.test_device_tree import REPORT
from tests.control_plane.rollout.bench import Bench, new_bench

NORTH = "site-north"
CURRENT = replace(REPORT, policy=1, policy_error="no signer known here")
PLAN = Plan((Rings(percent=EVERYBODY),), 600, 90, 5, OnAbort.REVERT, 120)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return new_bench(tmp_path, assets=1)


def heard(bench: Bench, guard: GuardReport | None, layer: str = NORTH) -> tuple[int | None, str, Health]:
    """Return what is known of the guard once the host has 2 of its site in force, and what comes of it."""
    (machine,), opened = bench.machines, bench.centre.clock.now()
    bench.later(1)
    with bench.centre.database.begin() as session:
        session.execute(update(Host).values(parts=parts_text((NORTH,))))
    state = HostState(
        machine.host, machine.number + 1, bench.centre.clock.now(), "test", 1, 1, "", True, 0, 0, 0, 0, 0, guard=guard,
        layers=(LayerState(NORTH, 2, 2),),
    )  # fmt: skip
    StateIntake(bench.centre.database, bench.journal(), bench.centre.clock).take(
        machine.host, sign_state(state, machine.signer)
    )
    with bench.centre.database() as session:
        (member,) = members(session, layer, VerifiedReports())
    assert member.seen is not None
    version = 1 if layer == ORGANISATION else 2
    rollout = Rollout(layer, version, PLAN, (opened,), {}, State.RUNNING, opened - timedelta(days=1), "Ada", "")
    return member.seen.guard, member.seen.guard_error, judge(rollout, member, opened)


@pytest.mark.parametrize("in_force, health", [(2, Health.HEALTHY), (1, Health.WAITING), (0, Health.HEALTHY)])
def test_of_a_site_s_layer_the_guard_s_own_version_of_it_counts(bench: Bench, in_force: int, health: Health) -> None:
    guard = replace(CURRENT, layers=(GuardLayer(NORTH, in_force), GuardLayer("modality-ct", 9)))

    assert heard(bench, guard) == (in_force, CURRENT.policy_error, health)


@pytest.mark.parametrize("guard", [None, CURRENT, replace(CURRENT, layers=(GuardLayer("modality-ct", 1),))])
def test_a_guard_that_says_nothing_of_a_layer_is_neither_behind_nor_failed(
    bench: Bench, guard: GuardReport | None
) -> None:
    assert heard(bench, guard) == (None, "", Health.HEALTHY)


def test_of_the_organisation_s_layer_its_own_version_counts_as_before(bench: Bench) -> None:
    guard = replace(CURRENT, layers=(GuardLayer(NORTH, 7),))

    assert heard(bench, guard, ORGANISATION) == (1, CURRENT.policy_error, Health.HEALTHY)

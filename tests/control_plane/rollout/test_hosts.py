"""What the centre knows of hosts by their last reports: nothing that was changed, and nothing that was replaced."""

from typing import Any

from sqlalchemy import update

from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_text
from control_plane.rollout.gate import Observation
from control_plane.rollout.hosts import LastReports, layers_of_hosts
from shared.fleet.state import HostState, LayerState, sign_state
from shared.policy.document import ORGANISATION
from tests.control_plane.rollout.bench import Bench, Machine

NORTH, NORTHERN = "site-north", "site-northern"


def seen(bench: Bench, reports: LastReports, layer: str = ORGANISATION) -> dict[str, Observation | None]:
    with bench.centre.database() as session:
        return {member.asset: member.seen for member in reports.members(session, layer)}


def change(bench: Bench, machine: Machine, **values: Any) -> None:
    with bench.centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(machine.host)).values(**values))


def stored(bench: Bench, machine: Machine) -> Host:
    with bench.centre.database() as session:
        return session.get_one(Host, str(machine.host))


def test_a_report_is_verified_once_and_its_successor_again(bench: Bench) -> None:
    reports, machine = LastReports(), bench.machines[0]
    before = seen(bench, reports)
    machine.listening = False
    bench.report(machine)

    after = seen(bench, reports)

    assert {asset for asset in before if after[asset] is not before[asset]} == {machine.asset}
    assert {asset for asset, told in after.items() if told is not None and not told.listening} == {machine.asset}


def test_a_report_that_is_altered_in_its_place_says_nothing_until_it_is_put_back(bench: Bench) -> None:
    reports, machine = LastReports(), bench.machines[0]
    before, held = seen(bench, reports), stored(bench, machine).state
    assert held is not None

    change(bench, machine, state=held[:-1] + bytes([held[-1] ^ 1]))
    assert seen(bench, reports) == {**before, machine.asset: None}
    change(bench, machine, state=held)
    assert seen(bench, reports) == before


def test_a_report_counts_no_longer_under_another_key_than_it_was_verified_by(bench: Bench) -> None:
    reports, (machine, other) = LastReports(), bench.machines[:2]
    before = seen(bench, reports)

    change(bench, machine, evidence_spki=other.signer.public.spki)

    assert seen(bench, reports) == {**before, machine.asset: None}


def test_a_report_that_is_said_to_have_come_at_another_time_is_judged_by_that(bench: Bench) -> None:
    reports, machine = LastReports(), bench.machines[0]
    seen(bench, reports)
    bench.later()

    change(bench, machine, state_received=bench.centre.clock.now())

    told = seen(bench, reports)[machine.asset]
    assert told is not None
    assert told.received == bench.centre.clock.now()


def test_more_hosts_than_are_kept_in_memory_are_all_known(bench: Bench) -> None:
    few = LastReports(most_kept=3)

    assert seen(bench, few) == seen(bench, few) == seen(bench, LastReports())
    assert None not in seen(bench, few).values()


def test_only_the_hosts_of_a_part_are_asked_about_it(bench: Bench) -> None:
    north, northern, elsewhere, off = bench.machines
    for machine, parts in ((north, (NORTH,)), (northern, (NORTHERN,)), (elsewhere, ()), (off, (NORTH,))):
        change(bench, machine, parts=parts_text(parts), active=machine is not off)
    state = HostState(
        north.host, 9, bench.centre.clock.now(), "test", 1, 1, "", True, 0, 0, 0, 0, 0,
        layers=(LayerState(NORTH, 7, 6),),
    )  # fmt: skip
    change(bench, north, state=sign_state(state, north.signer))

    told = seen(bench, LastReports(), NORTH)

    assert {asset: each and (each.accepted, each.in_force) for asset, each in told.items()} == {north.asset: (7, 6)}
    with bench.centre.database() as session:
        assert layers_of_hosts(session, NORTH) == {north.host: frozenset({ORGANISATION, NORTH})}

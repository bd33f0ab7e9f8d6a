"""What the centre knows of hosts by their last reports: nothing that was changed, and nothing that was replaced."""

from typing import Any

from sqlalchemy import update

from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.reports import VerifiedReports
from control_plane.rollout.gate import Observation
from control_plane.rollout.hosts import members
from shared.fleet.state import HostState, LayerState, sign_state
from shared.policy.document import ORGANISATION
from tests.control_plane.rollout.bench import Bench, Machine

NORTH, NORTHERN = "site-north", "site-northern"


def seen(bench: Bench, reports: VerifiedReports, layer: str = ORGANISATION) -> dict[str, Observation | None]:
    with bench.centre.database() as session:
        return {member.asset: member.seen for member in members(session, layer, reports)}


def change(bench: Bench, machine: Machine, **values: Any) -> None:
    with bench.centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(machine.host)).values(**values))


def stored(bench: Bench, machine: Machine) -> Host:
    with bench.centre.database() as session:
        return session.get_one(Host, str(machine.host))


def test_what_a_host_says_anew_is_what_counts(bench: Bench) -> None:
    reports, machine = VerifiedReports(), bench.machines[0]
    seen(bench, reports)
    machine.listening = False
    bench.report(machine)

    told = seen(bench, reports)

    assert {asset for asset, each in told.items() if each is not None and not each.listening} == {machine.asset}


def test_a_report_that_is_altered_in_its_place_says_nothing_until_it_is_put_back(bench: Bench) -> None:
    reports, machine = VerifiedReports(), bench.machines[0]
    before, held = seen(bench, reports), stored(bench, machine).state
    assert held is not None

    change(bench, machine, state=held[:-1] + bytes([held[-1] ^ 1]))
    assert seen(bench, reports) == {**before, machine.asset: None}
    change(bench, machine, state=held)
    assert seen(bench, reports) == before


def test_a_report_counts_no_longer_under_another_key_than_it_was_verified_by(bench: Bench) -> None:
    reports, (machine, other) = VerifiedReports(), bench.machines[:2]
    before = seen(bench, reports)

    change(bench, machine, evidence_spki=other.signer.public.spki)

    assert seen(bench, reports) == {**before, machine.asset: None}


def test_a_report_that_is_said_to_have_come_at_another_time_is_judged_by_that(bench: Bench) -> None:
    reports, machine = VerifiedReports(), bench.machines[0]
    seen(bench, reports)
    bench.later()

    change(bench, machine, state_received=bench.centre.clock.now())

    told = seen(bench, reports)[machine.asset]
    assert told is not None
    assert told.received == bench.centre.clock.now()


def test_more_hosts_than_are_kept_in_memory_are_all_known(bench: Bench) -> None:
    few = VerifiedReports(most_kept=3)

    assert seen(bench, few) == seen(bench, few) == seen(bench, VerifiedReports())
    assert None not in seen(bench, few).values()


def test_only_the_hosts_of_a_part_are_asked_about_it(bench: Bench) -> None:
    north, northern, elsewhere, off = bench.machines
    for machine, parts in ((north, (NORTH,)), (northern, (NORTHERN,)), (elsewhere, ()), (off, (NORTH,))):
        change(bench, machine, parts=parts_text(parts), standing="revoked" if machine is off else "active")
    state = HostState(
        north.host, 9, bench.centre.clock.now(), "test", 1, 1, "", True, 0, 0, 0, 0, 0,
        layers=(LayerState(NORTH, 7, 6),),
    )  # fmt: skip
    change(bench, north, state=sign_state(state, north.signer))

    told = seen(bench, VerifiedReports(), NORTH)

    assert {asset: each and (each.accepted, each.in_force) for asset, each in told.items()} == {north.asset: (7, 6)}

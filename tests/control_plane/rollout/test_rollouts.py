"""A roll-out from its publication to everybody, back, and stopped: what hosts then have, and what is recorded."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import delete, update

from control_plane.db.models import Host, RolloutRow
from control_plane.fleet.states import StateIntake
from control_plane.policy.authoring import author
from control_plane.policy.drafts import tell
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.proposing import Wish, propose_root
from control_plane.policy.publisher import FirstRing, PolicyPublisher, RingsMissing, RolloutOpen
from control_plane.policy.roles import build_layer, sign_role
from control_plane.policy.root_change import PolicyChanged
from control_plane.policy.verified import VerifiedPolicy
from control_plane.policy.verify import NothingStable, PolicyExpired, StableDiffers
from control_plane.rollout.expected import ExpectedVersions
from control_plane.rollout.plan import OnAbort
from control_plane.rollout.service import FirstRingEmpty, NoRollout, NotSteered, RingsNameNobody, Steering
from edge_agent.policy_sync.verification import MetadataInvalid
from shared.devices.policy import DevicePolicy
from shared.fleet.devices import GuardReport
from shared.fleet.state import HostState, sign_state
from shared.identity import HostId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings
from tests.control_plane.policy.centre import PERSON, POLICY, new_centre
from tests.control_plane.policy.people import ada, change_root
from tests.control_plane.rollout.bench import EVEN_MORE, MORE, QUIET_S, Bench, Machine


def published_and_seen(bench: Bench, on_abort: OnAbort = OnAbort.REVERT) -> None:
    bench.publish(plan=bench.plan(on_abort=on_abort))
    bench.later(1)
    bench.sync()


def falls_deaf(bench: Bench) -> None:
    """Have the first host report twice that it does not listen any more, long enough apart, while the centre looks."""
    bench.machines[0].listening = False
    bench.report(bench.machines[0])
    bench.rollouts.step()
    bench.later(60)
    bench.report(bench.machines[0])


def test_only_the_hosts_of_open_rings_act_by_it_and_all_have_accepted_it(bench: Bench) -> None:
    published_and_seen(bench)

    assert bench.in_force() == [2, 1, 1, 1]
    assert [machine.accepted for machine in bench.machines] == [2, 2, 2, 2]


def test_it_goes_ring_by_ring_to_everybody_by_itself_and_is_then_over(bench: Bench) -> None:
    published_and_seen(bench)
    bench.rollouts.step()
    assert bench.state() == "running 1"  # it is not watched for long enough

    bench.later()
    bench.rollouts.step()
    bench.rollouts.step()
    assert bench.state() == "running 2"
    bench.later(1)
    bench.sync()
    bench.later()
    bench.rollouts.step()

    assert bench.state() == "finished 2"
    assert bench.in_force() == [2, 2, 2, 2]
    assert bench.centre.publisher.rollouts() == {}
    assert [(event, who) for event, who, _ in bench.recorded()] == [
        ("policy.rollout-started", PERSON),
        ("policy.rollout-widened", "control-plane"),
        ("policy.rollout-finished", "control-plane"),
    ]


def test_a_canary_that_cannot_act_by_it_has_everybody_go_back_without_a_person(bench: Bench) -> None:
    bench.publish()
    bench.machines[0].breaks_at = 2
    bench.later(1)
    bench.sync()
    bench.rollouts.step()
    bench.sync()

    assert bench.state() == "reverted 1"
    assert bench.in_force() == [1, 1, 1, 1]
    event, who, why = bench.recorded()[-1]
    assert (event, who) == ("policy.rollout-reverted", "control-plane")
    assert why == "ring 1: 1 of 1 hosts failed: CT 1"


def test_what_a_canary_failed_with_before_does_not_end_what_mends_it(bench: Bench) -> None:
    bench.machines[0].breaks_at = 2
    bench.rollouts.publish(bench.signed(MORE, rings=False), None, PERSON)
    bench.sync()
    assert bench.in_force() == [1, 2, 2, 2]
    bench.publish(EVEN_MORE)
    bench.later(1)
    bench.report(bench.machines[0])  # before it has heard of the new one
    bench.rollouts.step()
    assert bench.state() == "running 1"
    bench.sync()
    assert bench.in_force() == [3, 2, 2, 2]
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)

    # Control: one that fails with this version too ends it.
    bench.sync()
    bench.machines[0].breaks_at = 4
    bench.publish(EVEN_MORE)
    bench.later(1)
    bench.sync()
    bench.rollouts.step()
    assert bench.state() == "reverted 1"


def test_a_host_that_has_acted_by_it_goes_back_to_what_it_had(bench: Bench) -> None:
    published_and_seen(bench)
    falls_deaf(bench)
    bench.rollouts.step()
    bench.sync()

    assert bench.in_force() == [1, 1, 1, 1]
    assert [machine.accepted for machine in bench.machines] == [2, 2, 2, 2]


def test_where_the_plan_says_pause_hosts_keep_what_they_have_and_nothing_opens(bench: Bench) -> None:
    published_and_seen(bench, OnAbort.PAUSE)
    falls_deaf(bench)
    for _ in range(3):
        bench.rollouts.step()
        bench.later()

    assert bench.state() == "paused 1"
    bench.sync()
    assert bench.in_force() == [2, 1, 1, 1]
    with pytest.raises(NotSteered, match="it would end again at once: ring 1: 1 of 1 hosts failed"):
        bench.rollouts.steer(ORGANISATION, Steering.RESUME, PERSON)
    bench.machines[0].listening = True
    bench.report(bench.machines[0])
    bench.rollouts.steer(ORGANISATION, Steering.RESUME, PERSON, "somebody had pulled the cable")
    assert bench.state() == "running 1"


def test_a_host_that_has_not_heard_of_its_ring_yet_has_not_failed(bench: Bench) -> None:
    bench.publish(plan=bench.plan(percent=50))
    bench.later(1)
    bench.sync()
    bench.later()
    bench.rollouts.step()  # the second ring is open, and its hosts report what they have: the one before
    bench.later(1)
    for machine in bench.machines:
        bench.report(machine)
    bench.rollouts.step()
    assert bench.state() == "running 2"

    bench = bench.restarted()
    bench.later(QUIET_S)  # control: after the time that they have for it, that is a failure
    bench.report(bench.machines[1])
    bench.rollouts.step()
    assert bench.state() == "reverted 2"


def test_hosts_that_fall_silent_hold_the_ring_and_those_that_were_off_before_do_not(bench: Bench) -> None:
    bench.publish(plan=bench.plan(*bench.machines[:2]))
    bench.later(1)
    bench.sync(bench.machines[0])
    bench.later()
    bench.rollouts.step()
    assert bench.state() == "running 1"

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)  # control: the same, but that one was off before
    bench.later(QUIET_S + 1)
    bench.sync(bench.machines[0])
    bench.publish(plan=bench.plan(*bench.machines[:2]))
    bench.later(1)
    bench.sync(bench.machines[0])
    bench.later()
    bench.rollouts.step()
    assert bench.state() == "running 2"


def test_a_person_widens_earlier_but_never_where_a_host_failed(bench: Bench) -> None:
    bench.publish(plan=bench.plan(percent=50))
    bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON, "it was tried on the bench")
    assert bench.state() == "running 2"
    assert bench.recorded()[-1] == ("policy.rollout-widened", PERSON, "it was tried on the bench")

    bench.machines[1].breaks_at = 2
    bench.later(1)
    bench.sync()
    with pytest.raises(NotSteered, match="nobody widens a policy that hosts failed with: CT 2; revert it"):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    assert bench.state() == "running 2"


def test_widening_the_last_ring_takes_it_as_done(bench: Bench) -> None:
    bench.publish()
    for _ in range(2):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)

    assert bench.state() == "finished 2"


def test_a_person_takes_it_back_also_when_it_was_over_and_not_once_there_is_a_newer_one(bench: Bench) -> None:
    bench.publish()
    for _ in range(2):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON, "the ward cannot print")
    bench.sync()
    assert (bench.state(), bench.in_force()) == ("reverted 2", [1, 1, 1, 1])
    with pytest.raises(NotSteered, match="taken back already"):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)

    bench.rollouts.publish(bench.signed(EVEN_MORE, rings=False), None, PERSON)
    with pytest.raises(NoRollout):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.sync()
    assert bench.in_force() == [3, 3, 3, 3]


def test_after_it_was_taken_back_the_next_one_follows_what_hosts_have(bench: Bench) -> None:
    bench.publish()
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.publish(EVEN_MORE)
    bench.sync()
    assert bench.in_force() == [3, 1, 1, 1]

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.sync()
    assert bench.in_force() == [1, 1, 1, 1]


def test_what_was_taken_back_is_no_ground_for_the_next_one(bench: Bench) -> None:
    bench.publish()
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    parts = replace(bench.centre.publisher.parts(), taken_back=())
    on_the_wrong_ground = author(EVEN_MORE, parts, bench.centre.credential, bench.centre.clock, rings=True)

    with pytest.raises(StableDiffers):
        bench.rollouts.publish(on_the_wrong_ground, bench.plan(), PERSON)


def test_nothing_is_published_and_no_root_changed_while_hosts_go_by_two_versions(bench: Bench) -> None:
    bench.publish()
    with pytest.raises(RolloutOpen, match=r"take it back: leadglass-server policy rollout revert --layer organisation"):
        bench.rollouts.publish(bench.signed(EVEN_MORE, rings=False), None, PERSON)
    root = propose_root(Wish(), bench.centre.publisher.parts(), ada(bench.centre).signatory, bench.centre.clock).change
    assert root is not None
    with pytest.raises(RolloutOpen):
        bench.centre.publisher.change_root(root, PERSON)
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    with pytest.raises(PolicyChanged):  # it would sign anew, for everybody, what was taken back
        bench.centre.publisher.change_root(root, PERSON)


def test_a_root_takes_along_what_hosts_were_left_with_and_the_roll_out_is_over(bench: Bench) -> None:
    published_and_seen(bench)
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    draft = propose_root(Wish(), bench.centre.publisher.parts(), ada(bench.centre).signatory, bench.centre.clock)
    told = (
        "it makes version 3 of layer organisation, the policy of version 1, which hosts were left with when version 2"
    )
    assert any(line.startswith(told) for line in tell(draft))
    assert draft.change is not None
    bench.centre.publisher.change_root(draft.change, PERSON)

    bench.sync()
    assert bench.in_force() == [3, 3, 3, 3]
    assert [modality.ae_title for modality in bench.centre.document().modalities] == ["CT1"]
    assert bench.centre.publisher.parts().taken_back == ()
    bench.publish(EVEN_MORE)
    assert bench.state() == "running 1"


def test_a_roll_out_can_be_ended_under_a_root_that_has_expired_and_a_new_root_follows(bench: Bench) -> None:
    published_and_seen(bench)
    bench.later(366 * 86_400)
    with pytest.raises(PolicyExpired):  # what is more than a choice
        bench.rollouts.publish(bench.signed(EVEN_MORE, rings=False), None, PERSON)
    with pytest.raises(RolloutOpen):
        change_root(bench.centre, Wish(), ada(bench.centre))

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    with pytest.raises(PolicyExpired):  # control: it is the choice alone that can be signed
        bench.centre.publisher.refresh()
    change_root(bench.centre, Wish(), ada(bench.centre))
    bench.sync()
    assert bench.in_force() == [3, 3, 3, 3]


def test_a_root_signs_the_newest_policies_anew_for_everybody_and_nothing_to_go_back_to(bench: Bench) -> None:
    bench.publish()
    for _ in range(2):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    root = propose_root(Wish(), bench.centre.publisher.parts(), ada(bench.centre).signatory, bench.centre.clock).change
    assert root is not None
    (layer,) = root.layers
    held = bench.centre.publisher.layer(ORGANISATION)
    assert held is not None
    now = bench.centre.clock.now()
    both = build_layer(ORGANISATION, layer.policy, version=3, now=now, stable=held.stable)
    smuggled = replace(layer, metadata=sign_role(both, [bench.centre.credential.signer]), stable=held.stable)
    with pytest.raises(PolicyChanged):
        bench.centre.publisher.change_root(replace(root, layers=(smuggled,)), PERSON)

    bench.centre.publisher.change_root(root, PERSON)
    with pytest.raises(NoRollout):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.sync()
    assert bench.in_force() == [3, 3, 3, 3]


def test_what_the_people_and_the_centre_tell_each_other_is_read_as_it_was_written(bench: Bench) -> None:
    bench.publish()
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    parts, signed = bench.centre.publisher.parts(), bench.signed(EVEN_MORE)

    assert parts.taken_back == (ORGANISATION,)
    assert PolicyParts.parse(parts.json()) == parts
    assert Publication.parse(signed.json()) == signed


def test_a_first_ring_of_nobody_and_rings_without_a_ground_are_refused_and_leave_nothing(bench: Bench) -> None:
    everybody = bench.plan().rings[-1]
    with pytest.raises(FirstRingEmpty):
        bench.publish(plan=replace(bench.plan(), rings=(Rings(percent=1), everybody)))
    with pytest.raises(NothingStable):
        bench.rollouts.publish(bench.signed(rings=False), bench.plan(), PERSON)
    with pytest.raises(RingsMissing):
        bench.rollouts.publish(bench.signed(), None, PERSON)

    assert bench.centre.published_version == 1
    assert bench.recorded() == []


def test_the_first_policy_of_a_layer_cannot_be_signed_to_be_taken_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    centre = new_centre(tmp_path_factory.mktemp("new"))
    with pytest.raises(NothingStable):
        author(POLICY, centre.publisher.parts(), centre.credential, centre.clock, rings=True)


def test_rings_that_name_what_is_not_there_are_refused_with_what_is(bench: Bench) -> None:
    everybody = bench.plan().rings[-1]
    unknown, known = HostId(bytes(16)), bench.machines[0].host
    with pytest.raises(
        RingsNameNobody, match=rf"name what nobody here has or is: {unknown}; there are: CT .*CT 1 \({known}"
    ):
        bench.publish(plan=replace(bench.plan(), rings=(Rings((known, unknown)), everybody)))
    with pytest.raises(RingsNameNobody, match=r"is: site-nroth; there are: organisation$"):
        bench.publish(plan=replace(bench.plan(), rings=(Rings((known,)), Rings(layers=("site-nroth",)), everybody)))
    with bench.centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(known)).values(standing="revoked"))
    with pytest.raises(RingsNameNobody, match=f"{known}; there are: CT 2"):
        bench.publish(plan=bench.plan(bench.machines[0]))

    assert bench.centre.published_version == 1
    bench.publish(plan=bench.plan(bench.machines[1]))  # control


def test_a_host_that_comes_back_when_its_ring_is_open_has_the_time_that_all_have(bench: Bench) -> None:
    published_and_seen(bench)
    bench.later()
    bench.rollouts.step()
    bench.later(900)
    bench.sync(*bench.machines[:3])
    bench.report(bench.machines[3])  # on again, and it has not fetched what opened its ring
    bench.rollouts.step()
    assert bench.state() == "running 2"

    bench = bench.restarted()  # since when it has been so is not in memory
    bench.later(QUIET_S)
    bench.report(bench.machines[3])
    bench.rollouts.step()
    assert (bench.state(), bench.recorded()[-1][2]) == ("reverted 2", "ring 2: 1 of 3 hosts failed: CT 4")


def test_the_error_of_the_version_before_does_not_take_back_the_one_that_mends_it(bench: Bench) -> None:
    canary = bench.machines[0]
    canary.breaks_at = 2
    bench.rollouts.publish(bench.signed(MORE, rings=False), None, PERSON)
    bench.sync()
    assert canary.failed
    bench.later(10)
    bench.publish(EVEN_MORE)
    bench.later(2)
    bench.report(canary)  # as it always does; it has not fetched the next version
    bench.rollouts.step()
    assert bench.state() == "running 1"

    canary.breaks_at = 3  # control: the same error about this version
    bench.sync(canary)
    bench.rollouts.step()
    assert bench.state() == "reverted 1"


def says_with_guard(bench: Bench, machine: Machine, policy: int, error: str = "") -> None:
    """Have a host report with a guard that has the rules for devices of this version, 0: of none."""
    machine.number += 1
    guard = GuardReport("test", policy, error, True, "boot", False, 0, 0)
    state = HostState(machine.host, machine.number, bench.centre.clock.now(), "test", machine.accepted,
                      machine.in_force, "", True, 0, 0, 0, 0, 0, guard=guard)  # fmt: skip
    StateIntake(bench.centre.database, bench.journal(), bench.centre.clock).take(
        machine.host, sign_state(state, machine.signer)
    )


@pytest.mark.parametrize("devices, state", [(DevicePolicy(()), "reverted 1"), (None, "running 1")])
def test_the_first_policy_with_rules_for_devices_has_to_come_to_the_guard(
    bench: Bench, devices: DevicePolicy | None, state: str
) -> None:
    canary = bench.machines[0]
    says_with_guard(bench, canary, 0)
    bench.later(1)
    bench.publish(replace(MORE, devices=devices))
    bench.later(1)
    bench.sync(canary)
    says_with_guard(bench, canary, 0)
    bench.rollouts.step()
    assert bench.state() == "running 1"
    bench.later(QUIET_S)
    says_with_guard(bench, canary, 0)  # it is there, and stays without a policy
    bench.rollouts.step()

    assert bench.state() == state


def test_who_pauses_has_nothing_opened_and_keeps_the_way_back(bench: Bench) -> None:
    published_and_seen(bench)
    bench.rollouts.steer(ORGANISATION, Steering.PAUSE, PERSON)
    bench.later()
    bench.rollouts.step()
    assert bench.state() == "paused 1"

    falls_deaf(bench)
    bench.rollouts.step()
    bench.sync()
    assert (bench.state(), bench.in_force()) == ("reverted 1", [1, 1, 1, 1])


def test_a_ring_whose_hosts_are_all_revoked_says_what_to_do(bench: Bench) -> None:
    published_and_seen(bench)
    with bench.centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(bench.machines[0].host)).values(standing="revoked"))
    bench.later()
    bench.rollouts.step()

    assert bench.state() == "running 1"
    (said,) = bench.rollouts.overview()[1]
    assert "no host of ring 1 is left that could show anything: they are revoked or isolated" in said
    bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    assert bench.state() == "running 2"


def forged(bench: Bench) -> LayerBundle:
    """Return a next version whose `stable` nobody has approved as that, signed by a person who was misled."""
    now, document = bench.centre.clock.now(), replace(bench.centre.document(), version=2)
    other = replace(document, version=1, state_every_s=9)
    layer = build_layer(ORGANISATION, document.encode(), version=2, now=now, stable=other.encode())
    signed = sign_role(layer, [bench.centre.credential.signer])
    return LayerBundle(ORGANISATION, signed, document.encode(), other.encode())


def test_what_waits_for_a_roll_out_has_to_be_what_every_host_has(bench: Bench) -> None:
    with pytest.raises(StableDiffers):
        bench.rollouts.publish(Publication.of(forged(bench)), bench.plan(), PERSON)


def careless(bench: Bench) -> PolicyPublisher:
    """Return a publisher that does not look at the whole before it publishes it."""
    centre = bench.centre

    def looks_at_nothing(head: HeadBundle, layers: tuple[LayerBundle, ...], now: datetime) -> None: ...

    return PolicyPublisher(centre.database, centre.keys, centre.journal, centre.clock, verify_whole=looks_at_nothing)


def test_a_layer_that_nobody_signed_to_be_taken_back_cannot_be(bench: Bench) -> None:
    with pytest.raises(NothingStable):
        bench.centre.publisher.choose(ORGANISATION, PERSON, lambda _session: Rings())
    assert bench.centre.publisher.rollouts() == {}

    # Control: a publisher that does not look signs it, and a host is what still refuses it.
    careless(bench).choose(ORGANISATION, PERSON, lambda _session: Rings())
    assert bench.centre.publisher.rollouts() == {ORGANISATION: Rings()}
    with pytest.raises(MetadataInvalid, match="nobody signed what it rolls out from"):
        bench.sync()


def test_the_centre_itself_goes_by_what_every_host_has(bench: Bench) -> None:
    centre = bench.centre
    verified = VerifiedPolicy(centre.database, centre.keys, centre.publisher)

    def versions() -> tuple[int, int]:
        newest, rolled_out = verified.newest(), verified.rolled_out()
        assert newest is not None
        assert rolled_out is not None
        return newest.version, rolled_out.version

    # The digest of the first root is kept sealed, as in production.
    assert versions() == (1, 1)
    bench.publish()
    assert versions() == (1, 2)
    bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    assert versions() == (2, 2)
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    assert versions() == (1, 2)


def expected(bench: Bench) -> list[int]:
    versions = ExpectedVersions(bench.centre.publisher.published())
    return [versions.of(machine.host, machine.layers[1:])[ORGANISATION] for machine in bench.machines]


def test_each_host_is_expected_to_have_what_its_ring_has(bench: Bench) -> None:
    bench.publish()
    assert expected(bench) == [2, 1, 1, 1]
    (shown,) = bench.rollouts.told()[0]
    rings: Any = shown["rings"]
    assert [(ring["who"], ring["hosts"]) for ring in rings] == [("CT 1", 1), ("everybody", 3)]
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    assert expected(bench) == [1, 1, 1, 1]


def test_what_is_not_at_everybody_is_said_until_it_is(bench: Bench) -> None:
    bench.publish()
    assert bench.rollouts.overview()[1] == [
        (
            "policy 2 of organisation is at ring 1 of 2: 0 of 1 hosts healthy, 1 have to be; 0 failed, 0 wait, "
            "1 not heard since it opened"
        )
    ]
    for _ in range(2):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    assert bench.rollouts.overview()[1] == []
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON, "no reason")
    assert bench.rollouts.overview()[1] == [f"policy 2 of organisation was taken back by {PERSON}: no reason"]


@pytest.mark.parametrize("column", ["plan", "opened", "heard", "state"])
def test_a_row_that_somebody_changed_opens_nothing_and_is_said(bench: Bench, column: str) -> None:
    published_and_seen(bench)
    bench.later()
    with bench.centre.database.begin() as session:
        session.execute(update(RolloutRow).values({column: '{"rings":[]}'}))
    bench.rollouts.step()

    rollouts, said = bench.rollouts.overview()
    assert rollouts == []
    assert said[0].startswith("roll-out of organisation: its row was changed, and nothing opens by itself")
    assert bench.centre.publisher.rollouts()[ORGANISATION] == bench.plan().opened(1)


def lose_row(bench: Bench) -> None:
    with bench.centre.database.begin() as session:
        session.execute(delete(RolloutRow))


def change_row(bench: Bench) -> None:
    with bench.centre.database.begin() as session:
        session.execute(update(RolloutRow).values(plan="{}"))


def open_no_ring(bench: Bench) -> None:
    with bench.centre.database.begin() as session:
        session.execute(update(RolloutRow).values(opened="[]"))


@pytest.mark.parametrize(
    "ruin, became", [(lose_row, "is gone"), (change_row, "was changed"), (open_no_ring, "was changed")]
)
def test_a_person_takes_back_what_nobody_knows_the_rings_of_and_publishes_again(
    bench: Bench, ruin: Callable[[Bench], None], became: str
) -> None:
    published_and_seen(bench)
    ruin(bench)
    bench.rollouts.step()
    (said,) = bench.rollouts.told(ORGANISATION)[1]
    assert said.startswith(f"roll-out of organisation: its row {became}, and nothing opens by itself")
    assert said.endswith("`leadglass-server policy rollout revert --layer organisation` takes it back")

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON, "somebody changed the database")
    bench.sync()
    assert bench.in_force() == [1, 1, 1, 1]
    assert bench.recorded()[-1] == ("policy.rollout-reverted", PERSON, "somebody changed the database")
    (said,) = bench.rollouts.told()[1]
    assert said.endswith("it is taken back, and every host has the one before")
    with pytest.raises(NotSteered, match="taken back already"):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)

    bench.publish(EVEN_MORE)
    assert (bench.state(), bench.rollouts.told()[1]) == ("running 1", [])


def test_without_a_row_there_is_no_way_back_from_what_was_published_without_rings(bench: Bench) -> None:
    bench.rollouts.publish(bench.signed(MORE, rings=False), None, PERSON)

    with pytest.raises(NoRollout):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)


def test_what_hosts_should_have_is_told_by_one_moment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication for everybody between two reads left nothing to be `stable`, and the whole status failed."""
    bench.publish()
    publisher, before = bench.centre.publisher, bench.centre.publisher.rollouts()
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.rollouts.publish(bench.signed(EVEN_MORE, rings=False), None, PERSON)
    monkeypatch.setattr(publisher, "rollouts", lambda: before)

    assert expected(bench) == [3, 3, 3, 3]
    assert bench.rollouts.overview() == ([], [])


def test_a_host_whose_row_names_no_layers_is_still_a_host(bench: Bench) -> None:
    with bench.centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(bench.machines[1].host)).values(parts="x"))
    bench.publish()

    assert expected(bench) == [2, 1, 1, 1]
    (shown,) = bench.rollouts.told()[0]
    assert shown["state"] == "running"


def test_signing_the_snapshot_anew_keeps_how_far_it_is(bench: Bench) -> None:
    bench.publish()
    before = bench.centre.publisher.rollouts()
    bench.centre.publisher.refresh()

    assert bench.restarted().centre.publisher.rollouts() == before
    bench.sync()
    assert bench.in_force() == [2, 1, 1, 1]


def test_a_note_that_fails_takes_the_publication_with_it(bench: Bench) -> None:
    def fails(_session: object, _version: int) -> None:
        raise FirstRingEmpty(ORGANISATION)

    with pytest.raises(FirstRingEmpty):
        bench.centre.publisher.publish(bench.signed(MORE), PERSON, FirstRing(bench.plan().opened(1), fails))
    assert bench.centre.published_version == 1

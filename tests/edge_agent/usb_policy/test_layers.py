"""A guard goes by the policies of its own layers, all of them, and by what roll-outs leave it with."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.policy_sync.verification import LayerNotHere, MetadataInvalid
from edge_agent.usb_policy.exchange import Kind, Offer, RefusedOffer, VerifiedPolicy, parse_line
from edge_agent.usb_policy.store import ChoiceReplaced, LayerWithdrawn, accepted_folder
from edge_agent.usb_policy.trust import trusted_metadata
from edge_agent.usb_policy.verify_child import judge
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.accept import PolicyEquivocation, PolicyRollback, WrongLayer
from shared.policy.document import ORGANISATION
from shared.policy.part import PartContent
from shared.policy.rollout import Rings
from tests.edge_agent.usb_policy.bench import judged, run_child
from tests.edge_agent.usb_policy.layered import (
    CT,
    HOST,
    NORTH,
    OTHER_HOST,
    SOUTH,
    LayeredGuard,
    LayeredSigners,
    organisation,
    part,
    rules,
)

FIRST, SECOND, THIRD = 'block id 1111:0001 serial "A"', "allow id 1111:*", "allow id 2222:*"
NOBODY = Rings()


@pytest.fixture
def signers() -> LayeredSigners:
    return LayeredSigners()


@pytest.fixture
def guard(tmp_path: Path, signers: LayeredSigners) -> LayeredGuard:
    return LayeredGuard(tmp_path / "guard", signers, NORTH, CT)


def texts(devices: DevicePolicy | None) -> list[str]:
    return [] if devices is None else [rule.rule.text() for rule in devices.rules]


def taken(guard: LayeredGuard, offer: Offer) -> VerifiedPolicy:
    policy = judge(guard.state, offer.encode())
    guard.store.take(policy)
    return policy


def versions(guard: LayeredGuard) -> dict[str, int]:
    in_force = guard.store.in_force
    return {} if in_force is None else {each.layer: each.version for each in in_force.acts_by}


def held(guard: LayeredGuard) -> dict[str, int]:
    return {layer: each.version for layer, each in guard.store.held.items()}


# ---- layers


def test_device_rules_of_a_part_come_behind_the_organisations_and_the_strictest_default_holds(
    guard: LayeredGuard, signers: LayeredSigners
) -> None:
    signers.sign(organisation(4, rules(FIRST)))
    signers.sign(part(CT, 2, rules(SECOND)))
    signers.sign(part(NORTH, 7, replace(rules(THIRD), default=Target.REJECT)))

    said = parse_line(run_child(guard.state, signers.offer(ORGANISATION, NORTH, CT).encode()))
    assert isinstance(said, VerifiedPolicy)
    assert texts(said.devices) == [FIRST, SECOND, THIRD]
    assert said.devices is not None
    assert said.devices.default is Target.REJECT
    assert [(each.layer, each.version) for each in said.acts_by] == [(ORGANISATION, 4), (NORTH, 7), (CT, 2)]


@pytest.mark.parametrize("host, found", [(HOST, [FIRST, SECOND]), (OTHER_HOST, [FIRST])])
def test_an_exception_of_a_site_is_for_the_host_that_it_names(
    guard: LayeredGuard, signers: LayeredSigners, host: HostId, found: list[str]
) -> None:
    signers.sign(organisation(1, rules(FIRST)))
    exception = ((host, PartContent(devices=rules(SECOND))),)
    signers.sign(replace(part(NORTH, 1), hosts=exception))

    assert texts(taken(guard, signers.offer(ORGANISATION, NORTH)).devices) == found


def test_a_layer_of_another_site_is_refused_and_passes_where_it_is_the_hosts(
    guard: LayeredGuard, signers: LayeredSigners, tmp_path: Path
) -> None:
    signers.sign(organisation(1, rules(FIRST)))
    signers.sign(part(SOUTH, 1, rules(SECOND)))
    offer = signers.offer(ORGANISATION, SOUTH)
    with pytest.raises(WrongLayer, match="for layer site-south, expected organisation or site-north or modality-ct"):
        judge(guard.state, offer.encode())

    there = LayeredGuard(tmp_path / "there", signers, SOUTH)
    assert texts(taken(there, offer).devices) == [FIRST, SECOND]


def test_a_part_that_is_not_published_yet_says_nothing(guard: LayeredGuard, signers: LayeredSigners) -> None:
    signers.sign(organisation(1, rules(FIRST)))
    signers.sign(part(SOUTH, 1, rules(SECOND)))
    taken(guard, signers.offer(ORGANISATION))

    assert (texts(guard.store.devices), versions(guard)) == ([FIRST], {ORGANISATION: 1})


def test_a_part_that_has_not_arrived_is_waited_for(guard: LayeredGuard, signers: LayeredSigners) -> None:
    signers.sign(organisation(1, rules(FIRST)))
    site = signers.sign(part(NORTH, 1, rules(SECOND)))
    offer = signers.offer(ORGANISATION)
    said = parse_line(run_child(guard.state, offer.encode()))
    verifier = guard.verifier()
    verifier.offer(head=offer.head, layer=offer.layers[0])
    verifier.offer(layer=site.encode())

    assert isinstance(said, RefusedOffer)
    assert (said.kind, LayerNotHere.__name__ in said.error) == (Kind.UNAVAILABLE, True)
    assert isinstance(judged(verifier), VerifiedPolicy)


def test_a_layer_twice_is_refused(guard: LayeredGuard, signers: LayeredSigners) -> None:
    signers.sign(organisation(1))

    with pytest.raises(Malformed, match="two bundles of layer organisation"):
        judge(guard.state, signers.offer(ORGANISATION, ORGANISATION).encode())


def test_layers_that_come_to_more_than_a_policy_can_be_are_refused_whole(
    guard: LayeredGuard, signers: LayeredSigners
) -> None:
    taken_before = rules(FIRST)
    signers.sign(organisation(1, taken_before))
    taken(guard, signers.offer(ORGANISATION))
    large = rules(*(f'allow id 1111:* serial "{"x" * 900}{n}"' for n in range(200)))
    signers.sign(organisation(2, large))
    signers.sign(part(NORTH, 1, large))
    said = parse_line(run_child(guard.state, signers.offer(ORGANISATION, NORTH).encode()))

    assert isinstance(said, RefusedOffer)
    assert "larger than 262144 bytes" in said.error
    assert guard.store.devices == taken_before


# ---- withdrawal and rollback


def withdrawn(signers: LayeredSigners) -> Offer:
    """Return what whoever has the online key can make: a head that does not know of the site's layer."""
    signers.bundles.pop(NORTH)
    return signers.offer(ORGANISATION)


@pytest.fixture
def with_site(guard: LayeredGuard, signers: LayeredSigners) -> LayeredGuard:
    signers.sign(organisation(1, rules(FIRST)))
    signers.sign(part(NORTH, 3, replace(rules(SECOND), default=Target.REJECT)))
    taken(guard, signers.offer(ORGANISATION, NORTH))
    return guard


def test_refuses_the_withdrawal_of_a_layer(with_site: LayeredGuard, signers: LayeredSigners) -> None:
    with pytest.raises(MetadataInvalid):
        judge(with_site.state, withdrawn(signers).encode())


def test_refuses_the_withdrawal_of_a_layer_though_tufs_metadata_is_lost(
    with_site: LayeredGuard, signers: LayeredSigners, tmp_path: Path
) -> None:
    shutil.rmtree(trusted_metadata(with_site.state))
    offer = withdrawn(signers)
    for _ in range(2):
        with pytest.raises(LayerWithdrawn, match="without layer site-north, of which version 3"):
            taken(with_site, offer)
        with_site.start()

    assert versions(with_site) == {ORGANISATION: 1, NORTH: 3}
    # The control: what refuses it is what the guard holds, and one that holds nothing takes it.
    empty = LayeredGuard(tmp_path / "empty", signers, NORTH, CT)
    taken(empty, offer)
    assert versions(empty) == {ORGANISATION: 1}


def test_refuses_an_older_version_of_a_part_though_tufs_metadata_is_lost(
    with_site: LayeredGuard, signers: LayeredSigners, tmp_path: Path
) -> None:
    signers.sign(part(NORTH, 2, rules(THIRD)))
    signers.sign(organisation(2, rules(FIRST)))
    offer = signers.offer(ORGANISATION, NORTH)
    shutil.rmtree(trusted_metadata(with_site.state))

    with pytest.raises(PolicyRollback):
        taken(with_site, offer)
    assert versions(with_site) == {ORGANISATION: 1, NORTH: 3}
    empty = LayeredGuard(tmp_path / "empty", signers, NORTH, CT)
    taken(empty, offer)
    assert versions(empty) == {ORGANISATION: 2, NORTH: 2}


def test_refuses_two_stories_of_a_part(with_site: LayeredGuard, signers: LayeredSigners) -> None:
    signers.sign(part(NORTH, 3, rules(THIRD)))
    shutil.rmtree(trusted_metadata(with_site.state))

    with pytest.raises(PolicyEquivocation):
        taken(with_site, signers.offer(ORGANISATION, NORTH))


# ---- roll-outs


@pytest.fixture
def rolling(guard: LayeredGuard, signers: LayeredSigners) -> LayeredGuard:
    """Return a guard by version 1; version 2 of the organisation's policy is signed, and reaches whom a head says."""
    before = organisation(1, rules(FIRST))
    signers.sign(before)
    taken(guard, signers.offer(ORGANISATION))
    signers.sign(organisation(2, rules(SECOND)), before)
    return guard


def rolled_out(guard: LayeredGuard, rings: Rings | None) -> VerifiedPolicy:
    rollouts = None if rings is None else {ORGANISATION: rings}
    return taken(guard, guard.signers.offer(ORGANISATION, rollouts=rollouts))


def test_a_guard_out_of_the_ring_accepts_the_newest_and_acts_by_what_it_had(rolling: LayeredGuard) -> None:
    policy = rolled_out(rolling, Rings(hosts=(OTHER_HOST,)))
    rolling.start()

    assert [(each.layer, each.version) for each in policy.newer] == [(ORGANISATION, 2)]
    assert (versions(rolling), held(rolling)) == ({ORGANISATION: 1}, {ORGANISATION: 2})
    assert texts(rolling.store.devices) == [FIRST]


@pytest.mark.parametrize("rings", [Rings(hosts=(HOST,)), Rings(layers=(CT,)), Rings(percent=100), None])
def test_a_guard_in_the_ring_acts_by_the_newest(rolling: LayeredGuard, rings: Rings | None) -> None:
    rolled_out(rolling, NOBODY)
    rolled_out(rolling, rings)
    rolling.start()

    assert (versions(rolling), texts(rolling.store.devices)) == ({ORGANISATION: 2}, [SECOND])


def test_what_is_taken_back_is_out_of_force_and_still_held(rolling: LayeredGuard) -> None:
    rolled_out(rolling, Rings(hosts=(HOST,)))
    rolled_out(rolling, NOBODY)
    rolling.start()

    assert (versions(rolling), held(rolling)) == ({ORGANISATION: 1}, {ORGANISATION: 2})
    assert texts(rolling.store.devices) == [FIRST]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_was_taken_back_does_not_come_again_though_tufs_metadata_is_lost(
    rolling: LayeredGuard, tmp_path: Path, is_damaged: bool
) -> None:
    earlier, reached, last = (
        rolling.signers.offer(ORGANISATION, rollouts={ORGANISATION: rings})
        for rings in (NOBODY, Rings(hosts=(HOST,)), NOBODY)
    )
    for each in (earlier, reached, last):
        taken(rolling, each)
    if is_damaged:
        (accepted_folder(rolling.state) / "policy.json").write_bytes(b"x")
        rolling.start()

    # Also by way of the earlier one, which chose the same as the last.
    for each in (earlier, reached):
        shutil.rmtree(trusted_metadata(rolling.state))
        with suppress(ChoiceReplaced):
            taken(rolling, each)
    assert texts(rolling.store.devices) == ([] if is_damaged else [FIRST])
    taken(rolling, last)
    assert texts(rolling.store.devices) == [FIRST]
    # The control: what refuses it is what the guard holds, and one that holds nothing takes it.
    empty = LayeredGuard(tmp_path / "empty", rolling.signers, NORTH, CT)
    taken(empty, reached)
    assert texts(empty.store.devices) == [SECOND]


def test_out_of_the_ring_the_former_version_by_itself_is_a_rollback_though_tufs_metadata_is_lost(
    guard: LayeredGuard, signers: LayeredSigners, tmp_path: Path
) -> None:
    before = organisation(1, rules(FIRST))
    signers.sign(before)
    old = signers.offer(ORGANISATION)
    signers.sign(organisation(2, rules(SECOND)), before)
    rolled_out(guard, NOBODY)
    shutil.rmtree(trusted_metadata(guard.state))

    with pytest.raises(PolicyRollback):
        taken(guard, old)
    empty = LayeredGuard(tmp_path / "empty", signers, NORTH, CT)
    taken(empty, old)
    assert versions(empty) == {ORGANISATION: 1}


def test_what_a_roll_out_leaves_hosts_with_may_not_be_another_story_of_what_they_had(
    rolling: LayeredGuard, signers: LayeredSigners
) -> None:
    signers.sign(organisation(2, rules(SECOND)), organisation(1, rules(THIRD)))

    with pytest.raises(PolicyEquivocation):
        rolled_out(rolling, NOBODY)
    assert texts(rolling.store.devices) == [FIRST]


def test_a_roll_out_of_a_part_leaves_the_other_layers_alone(guard: LayeredGuard, signers: LayeredSigners) -> None:
    before = part(NORTH, 5, rules(SECOND))
    signers.sign(organisation(1, rules(FIRST)))
    signers.sign(part(NORTH, 6, rules(THIRD)), before)
    taken(guard, signers.offer(ORGANISATION, NORTH, rollouts={NORTH: NOBODY}))

    assert (versions(guard), held(guard)) == ({ORGANISATION: 1, NORTH: 5}, {ORGANISATION: 1, NORTH: 6})
    assert texts(guard.store.devices) == [FIRST, SECOND]

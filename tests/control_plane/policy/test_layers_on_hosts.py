"""Attacks on what a host has of its site, by whoever runs the centre and has everybody's signature on the targets.

Each is refused and leaves the host with what it had; the control shows what the same host takes from the same hands.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile, Targets

from control_plane.policy.roles import RoleKeys, build_snapshot, build_targets, build_timestamp, sign_role
from control_plane.policy.roles import signer_of as signing_with
from edge_agent.policy_sync.verification import MetadataInvalid, PolicyNotSigned
from shared.errors import Malformed, Refused
from shared.policy.accept import PolicyRollback
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from tests.control_plane.policy.centre import Centre
from tests.control_plane.policy.layers import CT, NORTH, HostOf, add_layers, part, publish_part, signed, titles
from tests.control_plane.policy.people import ada, another, publish


class Attacked:
    """A hospital whose host at the north follows policy 1 of the organisation and of its site."""

    def __init__(self, centre: Centre, folder: Path) -> None:
        self.centre, self.one, self.stranger, self.folder = centre, ada(centre), another(centre, "Mallory"), folder
        publish(centre, self.one)
        add_layers(centre, [NORTH, CT], self.one)
        publish_part(centre, part(NORTH, 1, "CT9"), self.one)
        self.host = self.new_host("host")
        assert titles(self.host.take_published(centre)) == ["CT1", "CT9"]

    def new_host(self, name: str) -> HostOf:
        return HostOf(self.folder / name, self.centre.publisher.newest_root(), NORTH, CT)

    @property
    def layers(self) -> dict[str, LayerBundle]:
        return {layer.layer: layer for layer in self.centre.publisher.published()[1]}

    def head(self, layers: Sequence[LayerBundle], targets: Targets | None = None) -> HeadBundle:
        """Return what the online key vouches for, of a centre that checks nothing; people sign the targets."""
        head, now = self.centre.publisher.head(), self.centre.clock.now()
        assert head is not None
        signed_targets = head.targets if targets is None else sign_role(targets, [self.one.signatory.signer])
        online = [signing_with(self.centre.keys.p256(self.centre.keys.online_keys()[-1]))]
        version = json.loads(head.timestamp)["signed"]["version"] + 1
        snapshot = sign_role(build_snapshot(signed_targets, layers, version=version, now=now), online)
        timestamp = sign_role(build_timestamp(snapshot, version=version, now=now), online)
        return HeadBundle(head.roots, timestamp, snapshot, signed_targets)

    def targets(self, *layers: str) -> Targets:
        held = RoleKeys((self.one.signatory.signer.public_key,))
        return build_targets(dict.fromkeys(layers, held), version=3, now=self.centre.clock.now())


@pytest.fixture
def attacked(centre: Centre, tmp_path: Path) -> Attacked:
    return Attacked(centre, tmp_path)


Offer = tuple[HeadBundle, tuple[LayerBundle, ...]]


def targets_without_the_layer(at: Attacked) -> Offer:
    layers = (at.layers[ORGANISATION],)
    return at.head(layers, at.targets(ORGANISATION, CT)), layers


def targets_that_give_the_layer_to_another_key(at: Attacked) -> Offer:
    held = {ORGANISATION: RoleKeys((at.one.signatory.signer.public_key,)), NORTH: RoleKeys((at.stranger.key.key,))}
    targets = build_targets(held, version=3, now=at.centre.clock.now())
    layers = at.layers[ORGANISATION], signed(at.centre, part(NORTH, 2, "EVIL"), at.stranger).bundle
    return at.head(layers, targets), layers


def targets_that_give_a_new_layer_to_another_key(at: Attacked) -> Offer:
    held = dict.fromkeys((ORGANISATION, NORTH), RoleKeys((at.one.signatory.signer.public_key,)))
    targets = build_targets(
        {**held, "site-west": RoleKeys((at.stranger.key.key,))}, version=3, now=at.centre.clock.now()
    )
    layers = tuple(at.layers.values())
    return at.head(layers, targets), layers


def targets_that_smuggle_a_target(at: Attacked) -> Offer:
    targets, path, evil = at.targets(ORGANISATION, NORTH, CT), f"{NORTH}/policy.json", part(NORTH, 2, "EVIL").encode()
    targets.targets[path] = TargetFile.from_data(path, evil, ["sha256"])
    layers = tuple(at.layers.values())
    return at.head(layers, targets), (at.layers[ORGANISATION], LayerBundle(NORTH, at.layers[NORTH].metadata, evil))


def a_part_that_a_stranger_signed(at: Attacked) -> Offer:
    layers = at.layers[ORGANISATION], signed(at.centre, part(NORTH, 2, "EVIL"), at.stranger).bundle
    return at.head(layers), layers


def a_part_that_the_organisation_s_policy_excludes(at: Attacked) -> Offer:
    layers = at.layers[ORGANISATION], signed(at.centre, part(NORTH, 2, "CT1"), at.one).bundle
    return at.head(layers), layers


ATTACKS: list[tuple[Callable[[Attacked], Offer], type[Refused]]] = [
    (targets_that_give_the_layer_to_another_key, MetadataInvalid),
    (targets_that_give_a_new_layer_to_another_key, MetadataInvalid),
    (targets_that_smuggle_a_target, MetadataInvalid),
    (a_part_that_a_stranger_signed, PolicyNotSigned),
    (a_part_that_the_organisation_s_policy_excludes, Malformed),
]


@pytest.mark.parametrize("attack, error", ATTACKS)
def test_a_host_refuses(attacked: Attacked, attack: Callable[[Attacked], Offer], error: type[Refused]) -> None:
    head, layers = attack(attacked)
    held = dict(attacked.host.held)

    with pytest.raises(error):
        attacked.host.take(head, layers)
    assert attacked.host.held == held


def test_control_the_same_host_takes_what_only_adds(attacked: Attacked) -> None:
    layers = attacked.layers[ORGANISATION], signed(attacked.centre, part(NORTH, 2, "CT8"), attacked.one).bundle
    targets = attacked.targets(ORGANISATION, NORTH, CT, "site-west")

    assert titles(attacked.host.take(attacked.head(layers, targets), layers)) == ["CT1", "CT8"]


def test_a_layer_that_was_accepted_is_never_taken_away_even_where_metadata_was_lost(attacked: Attacked) -> None:
    head, layers = targets_without_the_layer(attacked)
    with pytest.raises(Refused):
        attacked.host.take(head, layers)
    shutil.rmtree(attacked.folder / "host")

    with pytest.raises(PolicyRollback):
        attacked.host.take(head, layers)
    # The control: who has accepted nothing of it yet cannot know.
    assert titles(attacked.new_host("new").take(head, layers)) == ["CT1"]


def test_a_host_goes_by_its_other_layers_while_nothing_of_one_is_published(attacked: Attacked) -> None:
    publish_part(attacked.centre, part(CT, 1, "CT5"), attacked.one)

    assert titles(attacked.host.take_published(attacked.centre)) == ["CT1", "CT5", "CT9"]
    assert sorted(attacked.host.held) == [CT, ORGANISATION, NORTH]

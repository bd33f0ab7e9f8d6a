"""The attacks that TUF is for, by name, on the agent and on the device guard of a host that two people sign for.

The attacker runs centre and broker and has the online key, wherever an attack does not say less. After each attack the
people replace that key, and what they publish is taken: so the attack was refused for what it was, and nothing of it
stays.
"""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from tuf.api.metadata import Root

from control_plane.policy.proposing import Wish
from control_plane.policy.roles import (
    ONLINE_HOLDS_FOR,
    PEOPLE_HOLD_FOR,
    TIMESTAMP,
    RoleKeys,
    build_layer,
    build_root,
    build_targets,
    held_keys,
    parse_role,
    sign_role,
    signer_of,
)
from edge_agent.usb_policy.exchange import Offer, VerifiedPolicy, parse_line
from edge_agent.usb_policy.verifier import child_command
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES, HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from shared.policy.document import Modality as Scanner
from tests.control_plane.policy.centre import POLICY, Centre
from tests.control_plane.policy.people import (
    Modality,
    Person,
    ada,
    added,
    another,
    change_root,
    online_key,
    policy_of,
    publish,
    published,
    vouched_for,
)

Bundles: TypeAlias = tuple[HeadBundle, LayerBundle]
EVIL = replace(POLICY, modalities=(Scanner("EVIL", "nobody approved it"),))


class Attacked:
    """A hospital with a published policy 2 that its host follows, and what its people are about to publish."""

    def __init__(self, centre: Centre, folder: Path) -> None:
        self.centre, self.one, self.two = centre, ada(centre), another(centre, "Grace")
        root = centre.publisher.newest_root()
        publish(centre, self.one)
        self.oldest = published(centre)
        change_root(centre, added(self.two, threshold=2), self.one, self.two)
        self.modality = Modality(folder, root)
        self.modality.offer(*published(centre))
        assert self.modality.versions == (2, 2)

    def publish(self) -> Bundles:
        publish(self.centre, self.one, self.two)
        return published(self.centre)

    def catch_up(self) -> None:
        """Have people take the online key away from whoever misused it, as they would."""
        change_root(self.centre, online_key(self.centre), self.one, self.two)

    def renew(self) -> Bundles:
        change_root(self.centre, Wish(), self.one, self.two)
        return published(self.centre)

    def signed(self, *people: Person) -> LayerBundle:
        """Return a policy that nobody published, signed by these."""
        return policy_of(self.centre, *people, authored=EVIL).bundle


@pytest.fixture
def attacked(centre: Centre, tmp_path: Path) -> Attacked:
    return Attacked(centre, tmp_path / "modality")


def rollback(at: Attacked) -> Bundles:
    return at.oldest


def rollback_under_a_new_head(at: Attacked) -> Bundles:
    return vouched_for(at.centre, at.oldest[1], ahead=5), at.oldest[1]


def freeze(at: Attacked) -> Bundles:
    """A newer policy that nobody vouches for any more."""
    clock = at.centre.clock
    clock.pass_time(-ONLINE_HOLDS_FOR - timedelta(hours=1))
    layer = at.signed(at.one, at.two)
    frozen = vouched_for(at.centre, layer)
    clock.pass_time(ONLINE_HOLDS_FOR + timedelta(hours=1))
    return frozen, layer


def mix_and_match_of_snapshots(at: Attacked) -> Bundles:
    """Without the online key: parts of two publications, each of them genuine."""
    older = published(at.centre)
    newer = at.publish()
    return replace(newer[0], snapshot=older[0].snapshot), newer[1]


def mix_and_match_of_targets(at: Attacked) -> Bundles:
    older = published(at.centre)
    newer = at.renew()
    return replace(newer[0], targets=older[0].targets), newer[1]


def mix_and_match_of_layers(at: Attacked) -> Bundles:
    older = published(at.centre)
    return at.publish()[0], older[1]


def another_layers_policy(at: Attacked) -> Bundles:
    """A site's own people sign for their site, and the policy is offered as that of the organisation."""
    site = another(at.centre, "Siegfried")
    now = at.centre.clock.now()
    policy = replace(at.centre.document(), layer="site").encode()
    metadata = sign_role(build_layer("site", policy, version=3, now=now), [site.signatory.signer])
    layer = LayerBundle(ORGANISATION, metadata, policy)
    return vouched_for(at.centre, layer), layer


def another_layers_policy_by_our_own_people(at: Attacked) -> Bundles:
    policy = replace(at.centre.document(), layer="site", version=3).encode()
    metadata = build_layer(ORGANISATION, policy, version=3, now=at.centre.clock.now())
    layer = LayerBundle(ORGANISATION, sign_role(metadata, [at.one.signatory.signer, at.two.signatory.signer]), policy)
    return vouched_for(at.centre, layer), layer


def wrong_role_the_online_key_signs_a_layer(at: Attacked) -> Bundles:
    online = at.centre.keys.p256(at.centre.keys.online_keys()[-1])
    layer = at.centre.signed(replace(at.centre.document(), version=3), [online]).bundle
    return vouched_for(at.centre, layer), layer


def wrong_role_the_online_key_delegates(at: Attacked) -> Bundles:
    thief = another(at.centre, "Mallory")
    online = signer_of(at.centre.keys.p256(at.centre.keys.online_keys()[-1]))
    now = at.centre.clock.now()
    targets = sign_role(build_targets({ORGANISATION: RoleKeys((thief.key.key,))}, version=3, now=now), [online])
    layer = at.centre.signed(replace(at.centre.document(), version=3), [thief.private]).bundle
    return vouched_for(at.centre, layer, targets=targets), layer


def wrong_role_a_layer_in_the_place_of_targets(at: Attacked) -> Bundles:
    layer = at.signed(at.one, at.two)
    return vouched_for(at.centre, layer, targets=layer.metadata), layer


def wrong_role_a_snapshot_in_the_place_of_the_timestamp(at: Attacked) -> Bundles:
    head, layer = at.publish()
    return replace(head, timestamp=head.snapshot), layer


def expired_root(at: Attacked) -> Bundles:
    """What people signed a year ago, under an online signature of today."""
    at.centre.clock.pass_time(-PEOPLE_HOLD_FOR - timedelta(days=1))
    _, layer = at.renew()
    at.centre.clock.pass_time(PEOPLE_HOLD_FOR + timedelta(days=1))
    return vouched_for(at.centre, layer), layer


def endless_data_beyond_what_is_described(at: Attacked) -> Bundles:
    head, layer = at.renew()
    return replace(head, targets=head.targets + b" " * 100_000), layer


def endless_data_of_a_policy(at: Attacked) -> Bundles:
    head, layer = at.publish()
    return head, replace(layer, policy=layer.policy + b" " * 100_000)


def endless_nesting(at: Attacked) -> Bundles:
    head, layer = at.publish()
    return replace(head, snapshot=b"[" * 100_000), layer


def one_signature_where_two_are_needed(at: Attacked) -> Bundles:
    layer = at.signed(at.one)
    return vouched_for(at.centre, layer), layer


def a_root_that_the_old_threshold_did_not_sign(at: Attacked) -> Bundles:
    held = parse_role(Root, published(at.centre)[0].roots[-1]).signed
    alone = RoleKeys((at.one.key.key,))
    now = at.centre.clock.now()
    root = build_root(root=alone, targets=alone, online=held_keys(held, TIMESTAMP), version=held.version + 1, now=now)
    targets = sign_role(build_targets({ORGANISATION: alone}, version=3, now=now), [at.one.signatory.signer])
    layer = at.centre.signed(replace(at.centre.document(), version=3)).bundle
    return (
        vouched_for(at.centre, layer, root=sign_role(root, [at.one.signatory.signer]), targets=targets),
        layer,
    )


@pytest.mark.parametrize(
    "attack, agent, guard",
    [
        (rollback, "PolicyRollback", "MetadataRollback"),
        (rollback_under_a_new_head, "PolicyRollback", "MetadataRollback"),
        (freeze, "PolicyExpired", "PolicyExpired"),
        (mix_and_match_of_snapshots, "MetadataInvalid", "MetadataInvalid"),
        (mix_and_match_of_targets, "MetadataInvalid", "MetadataInvalid"),
        (mix_and_match_of_layers, "LayerNotHere", "LayerNotHere"),
        (another_layers_policy, "PolicyNotSigned", "PolicyNotSigned"),
        (another_layers_policy_by_our_own_people, "WrongLayer", "WrongLayer"),
        (wrong_role_the_online_key_signs_a_layer, "PolicyNotSigned", "PolicyNotSigned"),
        (wrong_role_the_online_key_delegates, "PolicyNotSigned", "PolicyNotSigned"),
        (wrong_role_a_layer_in_the_place_of_targets, "MetadataInvalid", "MetadataInvalid"),
        (wrong_role_a_snapshot_in_the_place_of_the_timestamp, "MetadataInvalid", "MetadataInvalid"),
        (expired_root, "PolicyExpired", "PolicyExpired"),
        (endless_data_beyond_what_is_described, "MetadataInvalid", "MetadataInvalid"),
        (endless_data_of_a_policy, "LayerNotHere", "LayerNotHere"),
        (endless_nesting, "MetadataInvalid", "MetadataInvalid"),
        (one_signature_where_two_are_needed, "PolicyNotSigned", "PolicyNotSigned"),
        (a_root_that_the_old_threshold_did_not_sign, "PolicyNotSigned", "PolicyNotSigned"),
    ],
)
def test_both_refuse(attacked: Attacked, attack: Callable[[Attacked], Bundles], agent: str, guard: str) -> None:
    attacked.modality.offer(*attack(attacked))
    refused = attacked.modality.errors, attacked.modality.versions
    attacked.catch_up()
    attacked.modality.offer(*published(attacked.centre))

    assert refused == ((agent, guard), (2, 2))
    genuine = attacked.centre.published_version
    assert (attacked.modality.errors, attacked.modality.versions) == (("", ""), (genuine, genuine))


def test_both_refuse_a_rollback_after_their_metadata_was_lost(attacked: Attacked) -> None:
    """Nothing but the accepted version is left then; it is enough."""
    older = published(attacked.centre)
    attacked.modality.offer(*attacked.publish())
    attacked.modality.forget_metadata()
    attacked.modality.offer(*older)
    refused = attacked.modality.errors, attacked.modality.versions
    attacked.modality.offer(*published(attacked.centre))

    assert refused == (("PolicyRollback", "PolicyRollback"), (3, 3))
    assert attacked.modality.errors == ("", "")


def test_both_wait_where_a_head_comes_without_its_layer(attacked: Attacked) -> None:
    _, old_layer = published(attacked.centre)
    head, layer = attacked.publish()
    attacked.modality.offer(head, old_layer)
    waiting = attacked.modality.errors, attacked.modality.versions
    attacked.modality.offer(head, layer)

    assert waiting == (("LayerNotHere", "LayerNotHere"), (2, 2))
    assert attacked.modality.versions == (3, 3)


@pytest.mark.parametrize("part, agent", [("head", "Malformed"), ("layer", "LayerNotHere"), ("roots", "Malformed")])
def test_both_stop_reading_endless_data(attacked: Attacked, part: str, agent: str) -> None:
    """An agent that does not take the layer waits for one to go with the head."""
    head, layer = attacked.publish()
    if part == "head":
        head = replace(head, targets=head.targets + b" " * MAX_HEAD_BYTES)
    elif part == "layer":
        layer = replace(layer, policy=layer.policy + b" " * MAX_LAYER_BYTES)
    else:
        head = replace(head, roots=head.roots * 40)
    attacked.modality.offer(head, layer)
    refused = attacked.modality.errors, attacked.modality.versions
    attacked.modality.offer(*published(attacked.centre))

    assert refused == ((agent, "Malformed"), (2, 2))
    assert attacked.modality.versions == (3, 3)


def test_the_guards_child_as_a_process_of_its_own_refuses_one_signature_and_takes_two(attacked: Attacked) -> None:
    def said(layer: LayerBundle, ahead: int) -> object:
        offer = Offer(vouched_for(attacked.centre, layer, ahead=ahead).encode(), (layer.encode(),))
        command = child_command(attacked.modality.state)
        return parse_line(subprocess.run(command, input=offer.encode(), capture_output=True, check=True).stdout)

    alone = said(attacked.signed(attacked.one), 1)
    together = said(attacked.signed(attacked.one, attacked.two), 2)

    assert not isinstance(alone, VerifiedPolicy)
    assert "PolicyNotSigned" in str(alone)
    assert isinstance(together, VerifiedPolicy)
    assert together.version == 3

"""Roll-outs of a site's policy: among the hosts of the site alone, and held against what the organisation may say."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Targets

from control_plane.policy.exchange import Publication, RootChange
from control_plane.policy.file.authored import AuthoredPart, AuthoredPolicy
from control_plane.policy.proposing import Wish, propose_root
from control_plane.policy.publisher import PolicyPublisher, RolloutOpen
from control_plane.policy.roles import parse_role
from control_plane.policy.root_change import PolicyChanged
from control_plane.policy.together import LayerDocument, LayersDisagree, verify_together
from control_plane.policy.verified import VerifiedPolicy
from control_plane.policy.verify import CentreKeys, Held, verify_layer
from control_plane.rollout.expected import ExpectedVersions
from control_plane.rollout.plan import Plan
from control_plane.rollout.service import NoRollout, RingsNameNobody, Steering
from shared.errors import Malformed
from shared.policy.document import ORGANISATION, Modality
from shared.policy.part import PartDocument
from shared.policy.rollout import Rings
from tests.control_plane.policy.centre import PERSON, POLICY
from tests.control_plane.policy.layers import CT, NORTH, SOUTH, add_layers, saying
from tests.control_plane.policy.people import ada
from tests.control_plane.rollout.bench import MORE, Bench, new_bench, rollouts_of

BEFORE, AFTER = AuthoredPart(NORTH, saying("CT8")), AuthoredPart(NORTH, saying("CT9"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return two hosts of no site, then four of the north, of which the last is a CT too, then one of the south."""
    bench = new_bench(tmp_path, assets=2)
    add_layers(bench.centre, [NORTH, SOUTH, CT], ada(bench.centre))
    bench.add("N 1", "N 2", "N 3", parts=[NORTH])
    bench.add("N 4", parts=[NORTH, CT])
    bench.add("S 1", parts=[SOUTH])
    for part in (BEFORE, AuthoredPart(SOUTH, saying("CT8")), AuthoredPart(CT, saying("CT7"))):
        bench.rollouts.publish(bench.signed(part, rings=False), None, PERSON)
    bench.sync()
    bench.later(1)
    return bench


def plan(bench: Bench, *middle: Rings) -> Plan:
    rings = bench.plan(bench.machines[2]).rings
    return replace(bench.plan(), rings=(rings[0], *middle, rings[-1]))


def north(bench: Bench) -> list[int]:
    """Return what the four hosts of the site act by."""
    assert bench.in_force(NORTH)[:2] == bench.in_force(NORTH)[6:] * 2 == [0, 0]
    return bench.in_force(NORTH)[2:6]


def titles(bench: Bench) -> list[Sequence[str]]:
    """Return who may send to each host, as the layers come together there."""
    policies = [machine.policy for machine in bench.machines]
    return [[modality.ae_title for modality in policy.modalities] for policy in policies if policy is not None]


def watched(bench: Bench) -> None:
    bench.later(1)
    bench.sync()
    bench.later()
    bench.rollouts.step()
    bench.sync()


def ring_hosts(bench: Bench) -> list[tuple[str, int]]:
    (shown,) = bench.rollouts.told(NORTH)[0]
    rings: Any = shown["rings"]
    return [(ring["who"], ring["hosts"]) for ring in rings]


def test_a_site_s_policy_reaches_a_canary_of_the_site_then_the_site_and_no_other_host(bench: Bench) -> None:
    bench.publish(AFTER, plan(bench))
    bench.sync()
    assert north(bench) == [2, 1, 1, 1]
    assert [machine.state(NORTH).accepted for machine in bench.machines] == [0, 0, 2, 2, 2, 2, 0]
    assert titles(bench) == [["CT1"]] * 2 + [["CT1", "CT9"]] + [["CT1", "CT8"]] * 2 + [
        ["CT1", "CT7", "CT8"], ["CT1", "CT8"],
    ]  # fmt: skip

    watched(bench)
    assert (bench.state(NORTH), north(bench)) == ("running 2", [2, 2, 2, 2])
    watched(bench)
    assert bench.state(NORTH) == "finished 2"
    assert bench.centre.publisher.rollouts() == {}


def test_hosts_of_other_sites_are_no_members_and_a_share_is_one_of_the_site_s_hosts(bench: Bench) -> None:
    bench.publish(AFTER, plan(bench, Rings(percent=50)))

    assert sum(count for _, count in ring_hosts(bench)) == 4
    assert [who for who, _ in ring_hosts(bench)] == ["N 1", f"50 % of all hosts of {NORTH}", f"everybody of {NORTH}"]
    watched(bench)
    of_the_share = [
        Rings(percent=50).holds(each.host, each.layers, layer=NORTH, version=2) for each in bench.machines[2:6]
    ]
    assert set(of_the_share[1:]) == {True, False}
    assert [version == 2 for version in north(bench)] == [True, *of_the_share[1:]]
    versions = ExpectedVersions(bench.centre.publisher.published())
    for each in bench.machines[2:6]:
        assert each.acts_by == versions.of(each.host, each.layers[1:])


def test_a_type_of_modality_is_a_ring_of_those_of_it_that_are_at_the_site(bench: Bench) -> None:
    bench.publish(AFTER, plan(bench, Rings(layers=(CT,))))
    watched(bench)

    assert (bench.state(NORTH), north(bench)) == ("running 2", [2, 1, 1, 2])


def test_a_host_of_another_site_cannot_be_the_only_one_in_the_first_ring(bench: Bench) -> None:
    elsewhere = bench.machines[-1]
    with pytest.raises(RingsNameNobody, match="the rings for layer site-north name what nobody here has or is"):
        bench.publish(AFTER, bench.plan(elsewhere))
    assert bench.rollouts.told()[0] == []


def test_a_canary_of_the_site_that_cannot_act_by_it_takes_it_back_for_the_site(bench: Bench) -> None:
    bench.machines[2].breaks, bench.machines[2].breaks_at = NORTH, 2
    bench.publish(AFTER, plan(bench))
    bench.later(1)
    bench.sync()
    bench.rollouts.step()
    bench.sync()

    assert (bench.state(NORTH), north(bench)) == ("reverted 1", [1, 1, 1, 1])
    assert bench.recorded()[-1][1:] == ("control-plane", "ring 1: 1 of 1 hosts failed: N 1")
    # What the organisation publishes next is nothing that it failed with.
    bench.rollouts.publish(bench.signed(MORE, rings=False), None, PERSON)
    bench.sync()
    assert bench.in_force() == [2] * 7


def test_a_site_s_policy_is_taken_back_by_a_person_also_once_it_was_over(bench: Bench) -> None:
    bench.publish(AFTER, plan(bench))
    for _ in range(2):
        bench.rollouts.steer(NORTH, Steering.WIDEN, PERSON)
    bench.sync()
    assert north(bench) == [2, 2, 2, 2]
    with pytest.raises(NoRollout, match="the newest version of layer organisation was not published in rings"):
        bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)

    bench.rollouts.steer(NORTH, Steering.REVERT, PERSON, "no printing")
    bench.sync()
    assert (bench.state(NORTH), north(bench)) == ("reverted 2", [1, 1, 1, 1])
    assert [machine.state(NORTH).accepted for machine in bench.machines[2:6]] == [2, 2, 2, 2]
    assert f"policy 2 of {NORTH} was taken back by {PERSON}: no printing" in bench.rollouts.overview()[1]


def test_the_organisation_and_a_site_are_rolled_out_at_the_same_time_each_by_itself(bench: Bench) -> None:
    bench.publish(AFTER, plan(bench))
    bench.publish(MORE, bench.plan(bench.machines[0]))
    bench.sync()
    assert (bench.in_force(), north(bench)) == ([2, 1, 1, 1, 1, 1, 1], [2, 1, 1, 1])

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.sync()
    assert (bench.in_force(), north(bench)) == ([1] * 7, [2, 1, 1, 1])
    with pytest.raises(RolloutOpen, match=f"version 2 of layer {NORTH} is being rolled out"):
        bench.rollouts.publish(bench.signed(BEFORE, rings=False), None, PERSON)


def test_no_root_is_changed_while_a_site_is_rolled_out_and_after_it_was_taken_back_takes_along_what_hosts_have(
    bench: Bench,
) -> None:
    def root() -> RootChange:
        parts, signatory = bench.centre.publisher.parts(), ada(bench.centre).signatory
        change = propose_root(Wish(), parts, signatory, bench.centre.clock).change
        assert change is not None
        return change

    bench.publish(AFTER, plan(bench))
    early = root()
    with pytest.raises(RolloutOpen, match=f"policy rollout revert --layer {NORTH}"):
        bench.centre.publisher.change_root(early, PERSON)
    before = bench.centre.publisher.layer(NORTH)
    bench.rollouts.steer(NORTH, Steering.REVERT, PERSON)
    with pytest.raises(PolicyChanged):
        bench.centre.publisher.change_root(early, PERSON)
    bench.centre.publisher.change_root(root(), PERSON)

    after = bench.centre.publisher.layer(NORTH)
    assert before is not None
    assert after is not None
    said = PartDocument.parse(after.policy)
    assert (said.version, said.content) == (3, PartDocument.parse(before.stable).content)


# ---- what the organisation may not say meanwhile


def says_too(title: str) -> AuthoredPolicy:
    """Return the organisation's policy with an AE title that a site may have given to somebody."""
    return replace(POLICY, modalities=(*POLICY.modalities, Modality(title, "")))


def unlooked(bench: Bench, authored: AuthoredPolicy) -> Publication:
    """Return it signed by somebody whose tool did not hold it against the other layers."""
    document = bench.centre.document()
    mistaken = replace(document, version=2, modalities=authored.modalities)
    return bench.centre.signed(mistaken)


@pytest.mark.parametrize("ends", [None, Steering.WIDEN, Steering.REVERT])
@pytest.mark.parametrize("title", ["CT8", "CT9"])
def test_the_organisation_may_not_say_what_a_site_s_hosts_have_or_may_have_again(
    tmp_path: Path, ends: Steering | None, title: str
) -> None:
    """CT8 is in what the site goes back to, CT9 in what it is to have; the south is not in the way here."""
    bench = new_bench(tmp_path, assets=1)
    add_layers(bench.centre, [NORTH], ada(bench.centre))
    bench.add("N 1", "N 2", parts=[NORTH])
    bench.rollouts.publish(bench.signed(BEFORE, rings=False), None, PERSON)
    bench.sync()
    bench.publish(AFTER, bench.plan(bench.machines[1]))
    for _ in range(2 if ends is Steering.WIDEN else 1 if ends else 0):
        bench.rollouts.steer(NORTH, ends or Steering.REVERT, PERSON)

    version = 1 if title == "CT8" else 2
    with pytest.raises(LayersDisagree, match=f"organisation version 2 and {NORTH} version {version} cannot be"):
        bench.rollouts.publish(unlooked(bench, says_too(title)), None, PERSON)
    assert bench.centre.published_version == 1
    # Control: what is in neither is published, and every host takes it.
    bench.rollouts.publish(bench.signed(says_too("CT5"), rings=False), None, PERSON)
    bench.sync()
    assert bench.in_force() == [2, 2, 2]


def newest_alone(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
    """Look at the newest version of each layer and not at what it may be taken back to."""
    targets = parse_role(Targets, held.targets).signed
    document = verify_layer(targets, offered.bundle)
    verify_together(document, [verify_layer(targets, each) for each in held.layers if each.layer != offered.layer])
    return document


def test_control_a_centre_that_looks_at_the_newest_alone_publishes_what_hosts_of_the_site_refuse(bench: Bench) -> None:
    centre = bench.centre
    bench.rollouts.publish(bench.signed(AuthoredPart(SOUTH, saying("CT6")), rings=False), None, PERSON)
    bench.publish(AFTER, plan(bench))
    bench.sync()
    broken = PolicyPublisher(centre.database, centre.keys, centre.journal, centre.clock, newest_alone)
    blind = replace(bench, centre=replace(centre, publisher=broken))
    replace(blind, rollouts=rollouts_of(blind.centre)).rollouts.publish(unlooked(bench, says_too("CT8")), None, PERSON)

    bench.sync(*bench.machines[:2])  # of no site
    for machine in bench.machines[2:4]:  # the canary has to be able to go back as well
        with pytest.raises(Malformed):
            bench.sync(machine)


def test_what_the_centre_does_for_all_sites_it_does_for_who_sends_under_either_version(bench: Bench) -> None:
    verified = VerifiedPolicy(bench.centre.database, bench.centre.keys, bench.centre.publisher)
    bench.rollouts.publish(bench.signed(AuthoredPart(SOUTH, saying()), rings=False), None, PERSON)

    def senders() -> set[str]:
        policy = verified.with_modalities_of_parts()
        assert policy is not None
        return {modality.ae_title for modality in policy.modalities} - {"CT1", "CT7"}

    assert senders() == {"CT8"}
    bench.publish(AFTER, plan(bench))
    assert senders() == {"CT8", "CT9"}
    assert verified.parts()[NORTH].version == 1  # what every host of the site has
    bench.rollouts.steer(NORTH, Steering.REVERT, PERSON)
    assert senders() == {"CT8"}
    assert verified.parts()[NORTH].version == 1
    bench.publish(AFTER, plan(bench))
    for _ in range(2):
        bench.rollouts.steer(NORTH, Steering.WIDEN, PERSON)
    assert senders() == {"CT9"}
    assert verified.parts()[NORTH].version == 3

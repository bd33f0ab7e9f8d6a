"""While hosts go by two versions of a layer, what else is judged, compared and looked for counts with both."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_text
from control_plane.policy import past
from control_plane.policy.authoring import author
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import AuthoredPart
from control_plane.policy.publisher import PolicyPublisher, Published
from control_plane.policy.verified import VerifiedPolicy
from control_plane.rollout.service import Steering
from shared.policy.document import ORGANISATION
from shared.policy.part import PartContent
from shared.policy.rollout import Rings
from tests.control_plane.policy.centre import PERSON, POLICY, Centre
from tests.control_plane.policy.file.test_parts import parse
from tests.control_plane.policy.layers import NORTH, add_layers
from tests.control_plane.policy.people import ada
from tests.control_plane.rollout.bench import MORE, Bench, new_bench

SMALL = 1 << 30
CT7 = parse("layer: site-north\nmodalities: [{ae_title: CT7, description: CT}]\n")
CT8 = parse("layer: site-north\nmodalities: [{ae_title: CT8, description: CT}]\n")


def with_north(centre: Centre) -> None:
    add_layers(centre, [NORTH], ada(centre))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a centre with two hosts of one site."""
    bench = new_bench(tmp_path, 2, prepare=with_north)
    with bench.centre.database.begin() as session:
        for machine in bench.machines:
            row = session.get(Host, str(machine.host))
            assert row is not None
            row.parts = parts_text([NORTH])
    return bench


def publish_part(bench: Bench, authored: AuthoredPart, *, rings: bool = False) -> int:
    centre = bench.centre
    signed = author(authored, centre.publisher.parts(), centre.credential, centre.clock, rings=rings)
    return bench.rollouts.publish(signed, bench.plan() if rings else None, PERSON)


@pytest.mark.parametrize(
    "steps, is_dangerous",
    [
        ((), True),
        ((Steering.WIDEN,), True),  # everybody has it, and it may still be taken back
        ((Steering.WIDEN, Steering.WIDEN), False),
        ((Steering.REVERT,), True),
    ],
)
def test_a_part_is_judged_beside_what_hosts_have_of_the_organisation(
    bench: Bench, steps: tuple[Steering, ...], is_dangerous: bool
) -> None:
    publish_part(bench, AuthoredPart(NORTH, PartContent()))
    bench.publish(replace(POLICY, spool_quota_bytes=SMALL))
    for step in steps:
        bench.rollouts.steer(ORGANISATION, step, PERSON)

    small = AuthoredPart(NORTH, PartContent(spool_quota_bytes=SMALL))
    centre = bench.centre
    parts = PolicyParts.parse(centre.publisher.parts().json())
    newest = past.newest_of(NORTH, parts, centre.credential, centre.clock)
    shown = past.changes(small, newest, past.on_hosts(parts, centre.credential, centre.clock))
    version = publish_part(bench, small)
    # Beside the organisation's newest version it changes nothing; beside the one before it fills spools.
    assert bool(centre.publisher.remark(NORTH, version)) is is_dangerous
    assert any(change.danger for change in shown) is is_dangerous


def ae_titles(verified: VerifiedPolicy) -> set[str]:
    policy = verified.with_modalities_of_parts()
    assert policy is not None
    return {modality.ae_title for modality in policy.modalities} - {"CT1"}


def test_the_centre_looks_for_the_modalities_of_both_versions_and_of_none_that_was_taken_back(bench: Bench) -> None:
    verified = VerifiedPolicy(bench.centre.database, bench.centre.keys, bench.centre.publisher)
    publish_part(bench, CT7)
    publish_part(bench, CT8, rings=True)
    assert ae_titles(verified) == {"CT7", "CT8"}
    assert verified.parts()[NORTH].version == 1

    bench.rollouts.steer(NORTH, Steering.REVERT, PERSON)
    assert ae_titles(verified) == {"CT7"}
    assert verified.parts()[NORTH].version == 1

    publish_part(bench, CT8, rings=True)
    for _ in range(2):
        bench.rollouts.steer(NORTH, Steering.WIDEN, PERSON)
    assert ae_titles(verified) == {"CT8"}
    assert verified.parts()[NORTH].version == 3


class Interrupted(PolicyPublisher):
    """Another thread publishes in rings after so many answers."""

    bench: Bench
    answers: int

    def published(self) -> Published:
        found = super().published()
        self._interrupt()
        return found

    def rollouts(self) -> Mapping[str, Rings]:
        found = super().rollouts()
        self._interrupt()
        return found

    def _interrupt(self) -> None:
        self.answers -= 1
        if self.answers == 0:
            self.bench.publish(MORE)


@pytest.mark.parametrize("answers", [1, 2, 3])
def test_a_publication_in_between_does_not_part_a_policy_from_how_far_it_is(bench: Bench, answers: int) -> None:
    centre = bench.centre
    asked = Interrupted(centre.database, centre.keys, centre.journal, centre.clock)
    asked.bench, asked.answers = bench, answers
    verified = VerifiedPolicy(centre.database, centre.keys, asked)

    for _ in range(3):
        policy = verified.newest()
        assert policy is not None
        assert policy.version == 1
    assert centre.publisher.rollouts() != {}

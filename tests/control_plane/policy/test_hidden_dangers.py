"""A proposer who writes something else into a draft as what is published hides no danger from whoever signs next."""

from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from control_plane.policy import drafts
from control_plane.policy import publisher as publishing
from control_plane.policy.drafts import DangersDiffer, Draft, harm
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.file.authored import Authored
from control_plane.policy.proposing import propose_policy
from control_plane.policy.publisher import DangersUnseen
from control_plane.policy.roles import parse_role
from control_plane.rollout.service import Steering
from shared.policy.document import ORGANISATION
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, new_centre
from tests.control_plane.policy.file.test_parts import parse
from tests.control_plane.policy.layers import CT, NORTH, HostOf, add_layers
from tests.control_plane.policy.people import Person, ada, added, another, change_root, signed_by
from tests.control_plane.rollout.bench import MORE, new_bench

WATCHED = parse("layer: modality-ct\nwatch: {every_s: 60, forbidden: ['/opt/*/vnc*']}\n")
PLAIN = parse("layer: site-north\n")
LOOKS_ELSEWHERE = parse("layer: site-north\nwatch: {every_s: 60, forbidden: ['/opt/other*']}\n")


class Case:
    """A change that may do harm, and what the proposer could write that is published so that it does not look so."""

    def __init__(self, centre: Centre, second: Person, change: Authored, untrue: PolicyParts) -> None:
        self.centre, self.second, self.change, self.untrue = centre, second, change, untrue
        self.first = ada(centre)

    def proposed(self, parts: PolicyParts) -> Draft:
        assert self.first.signatory.credential is not None
        return propose_policy(self.change, parts, self.first.signatory.credential, self.centre.clock)

    def publish(self, draft: Draft) -> int:
        return self.centre.publisher.publish(Publication.of(draft.layers[0]), PERSON)


def with_a_second(centre: Centre) -> Person:
    grace = another(centre, "Grace")
    change_root(centre, added(grace), ada(centre), grace)
    return grace


def left_out(folder: Path) -> Case:
    """What a site says instead of a type of modality, by a draft that does not have the type."""
    centre = new_centre(folder)
    centre.publish()
    add_layers(centre, [NORTH, CT], ada(centre))
    centre.publish(PLAIN)
    centre.publish(WATCHED)
    second = with_a_second(centre)
    parts = centre.publisher.parts()
    untrue = replace(parts, layers=tuple(layer for layer in parts.layers if layer.layer != CT))
    return Case(centre, second, LOOKS_ELSEWHERE, untrue)


def never_taken_back(folder: Path) -> Case:
    """What every host has is taken from it, by a draft that says it was taken back long ago."""
    bench = new_bench(folder, 1)
    second = with_a_second(bench.centre)
    bench.publish(MORE)
    for _ in range(2):
        bench.rollouts.steer(ORGANISATION, Steering.WIDEN, PERSON)
    untrue = replace(bench.centre.publisher.parts(), taken_back=(ORGANISATION,))
    return Case(bench.centre, second, POLICY, untrue)


@pytest.fixture(params=[left_out, never_taken_back])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made = request.param(tmp_path)
    assert isinstance(made, Case)
    return made


def test_what_the_second_person_was_not_shown_is_not_published(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = case.proposed(case.untrue)
    assert harm(draft) == ()
    signed = signed_by(draft, case.second)
    with pytest.raises(DangersUnseen, match="propose it anew, and have them look again"):
        case.publish(signed)

    # Control: it is this rule, and nothing else, that refuses.
    monkeypatch.setattr(publishing, "is_signed_with", lambda *_: True)
    case.publish(signed)


def test_who_signs_second_is_told_that_a_draft_hides_what_its_author_signed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = replace(case.proposed(case.centre.publisher.parts()), parts=case.untrue)
    assert harm(forged) == ()
    with pytest.raises(DangersDiffer, match="sign nothing of it"):
        signed_by(forged, case.second)

    # Control: without the rule they would sign it, and the centre would publish it.
    monkeypatch.setattr(drafts, "is_signed_with", lambda *_: True)
    case.publish(signed_by(forged, case.second))


def test_an_honest_draft_shows_the_danger_and_is_published(case: Case) -> None:
    draft = case.proposed(case.centre.publisher.parts())
    assert len(harm(draft)) == 1
    case.publish(signed_by(draft, case.second))


def test_what_does_no_harm_is_signed_as_it_ever_was(tmp_path: Path) -> None:
    centre = new_centre(tmp_path)
    centre.publish()
    centre.publish(MORE)

    layer = centre.publisher.layer(ORGANISATION)
    assert layer is not None
    assert parse_role(Targets, layer.metadata).signed.unrecognized_fields == {}


def test_hosts_take_a_policy_that_was_signed_with_its_dangers(tmp_path: Path) -> None:
    centre = new_centre(tmp_path)
    centre.publish()
    host = HostOf(tmp_path / "host", centre.publisher.newest_root())
    host.take_published(centre)
    centre.publish(replace(POLICY, modalities=()))

    layer = centre.publisher.layer(ORGANISATION)
    assert layer is not None
    assert parse_role(Targets, layer.metadata).signed.unrecognized_fields.keys() == {"dangers"}
    assert host.take_published(centre).effective.policy.version == 2

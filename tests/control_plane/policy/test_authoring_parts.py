"""What a person signs for a site or a type of modality: its own next version, and nothing that hosts would refuse."""

from dataclasses import replace

import pytest

from control_plane.policy.authoring import ForeignRoot
from control_plane.policy.drafts import Draft, sign, verify_draft
from control_plane.policy.exchange import Publication
from control_plane.policy.file.authored import AuthoredPart
from control_plane.policy.proposing import propose_policy
from control_plane.policy.together import LayersDisagree, OrganisationFirst
from control_plane.policy.verify import LayerNotDelegated, MetadataMismatch, PolicyVersionTaken
from shared.policy.document import ORGANISATION
from shared.policy.grading import Grading
from shared.policy.part import PartContent, PartDocument
from tests.control_plane.policy.centre import POLICY, Centre
from tests.control_plane.policy.layers import CT, HOST, NORTH, add_layers, part, saying, signed
from tests.control_plane.policy.people import Person, ada, added, another, change_root, key_alone, publish

CT9 = AuthoredPart(NORTH, saying("CT9"))


@pytest.fixture
def one(centre: Centre) -> Person:
    return ada(centre)


@pytest.fixture
def layered(centre: Centre, one: Person) -> Centre:
    publish(centre, one)
    add_layers(centre, [NORTH, CT], one)
    return centre


def authored(centre: Centre, what: AuthoredPart) -> PartDocument:
    return PartDocument.parse(centre.sign(what).policy)


def test_each_layer_counts_its_own_versions(layered: Centre) -> None:
    layered.publish(POLICY)
    assert authored(layered, CT9) == CT9.document(1)
    assert layered.publish(CT9) == 1
    assert layered.publish(replace(CT9, content=saying("CT8"))) == 2
    assert layered.publish(AuthoredPart(CT, PartContent(state_every_s=60))) == 1
    assert layered.published_version == 2


@pytest.mark.parametrize(
    "content, why",
    [
        (saying("CT1"), "lists a modality AE title twice"),
        (PartContent(grading=Grading("general")), "has no data key for grade general"),
        (PartContent(grading=Grading("restricted", routes=("pacs",))), "names route pacs"),
    ],
)
def test_what_hosts_would_refuse_beside_the_organisations_policy_is_not_signed(
    layered: Centre, one: Person, content: PartContent, why: str
) -> None:
    with pytest.raises(LayersDisagree, match=why):
        layered.sign(AuthoredPart(NORTH, content))
    with pytest.raises(LayersDisagree, match=why):
        layered.sign(AuthoredPart(NORTH, PartContent(), ((HOST, content),)))


def test_control_a_tool_that_does_not_try_it_signs_what_hosts_refuse(layered: Centre, one: Person) -> None:
    clashing = part(NORTH, 1, "CT1")
    draft = Draft(layered.publisher.parts(), (signed(layered, clashing, one).bundle,))

    assert PartDocument.parse(draft.layers[0].policy) == clashing
    with pytest.raises(LayersDisagree):
        verify_draft(draft)


def test_a_part_is_not_signed_before_the_policy_that_it_adds_to(centre: Centre, one: Person) -> None:
    add_layers(centre, [NORTH], one)

    with pytest.raises(OrganisationFirst, match="layer site-north adds to the organisation's policy"):
        centre.sign(CT9)


def test_a_part_is_not_signed_that_nobody_added_or_by_who_may_not(layered: Centre) -> None:
    with pytest.raises(LayerNotDelegated):
        layered.sign(replace(CT9, layer="site-west"))
    stranger = another(layered, "Mallory").signatory.credential
    assert stranger is not None
    with pytest.raises(ForeignRoot):
        propose_policy(CT9, layered.publisher.parts(), stranger, layered.clock)


def test_a_centre_that_shows_another_organisation_than_people_signed_gets_no_signature_for_a_part(
    layered: Centre,
) -> None:
    parts = layered.publisher.parts()
    (held,) = (layer for layer in parts.layers if layer.layer == ORGANISATION)
    forged = replace(held, policy=held.policy.replace(b"CT1", b"XX1"))

    with pytest.raises(MetadataMismatch):
        layered.sign(CT9, replace(parts, layers=(forged,)))


def test_two_people_sign_a_part_one_of_them_with_a_key_alone(layered: Centre, one: Person) -> None:
    recovery = key_alone(layered, "recovery key")
    change_root(layered, added(recovery, threshold=2), one, recovery)
    assert one.signatory.credential is not None
    draft = propose_policy(CT9, layered.publisher.parts(), one.signatory.credential, layered.clock)

    whole = sign(Draft.parse(draft.encode()), recovery.signatory)
    layered.publisher.publish(signed_part(whole), one.name)
    assert [layer.layer for layer in layered.publisher.parts().layers] == [ORGANISATION, NORTH]
    with pytest.raises(PolicyVersionTaken):
        layered.publisher.publish(signed_part(whole), one.name)


def signed_part(draft: Draft) -> Publication:
    (layer,) = draft.layers
    return Publication(layer.layer, layer.metadata, layer.policy)

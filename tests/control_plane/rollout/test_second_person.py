"""A change that may do harm needs a second person who signs it, as soon as there is one."""

from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.policy import publisher as publishing
from control_plane.policy.authoring import author
from control_plane.policy.dangers import dangers
from control_plane.policy.drafts import harm, missing
from control_plane.policy.proposing import propose_policy
from control_plane.policy.publisher import SecondPersonNeeded
from control_plane.policy.verify import Held
from control_plane.rollout.service import Steering
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, Modality
from shared.policy.part import PartContent, PartDocument
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, new_centre
from tests.control_plane.policy.people import Person, ada, added, another, change_root, signed_by
from tests.control_plane.policy.people import publish as publish_by
from tests.control_plane.rollout.bench import MORE, new_bench

NOBODY_SENDS = replace(POLICY, modalities=())


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    centre = new_centre(tmp_path)
    centre.publish()
    return centre


def two_signers(centre: Centre) -> tuple[Person, Person]:
    """Have a second person sign policies too, either of whom is enough."""
    grace = another(centre, "Grace")
    change_root(centre, added(grace), ada(centre), grace)
    return ada(centre), grace


def test_one_of_two_signers_cannot_publish_what_may_do_harm(centre: Centre) -> None:
    first, second = two_signers(centre)
    before = centre.published_version
    with pytest.raises(
        SecondPersonNeeded, match=r"a second person has to sign it \(Grace\): modalities CT1: it may no"
    ):
        publish_by(centre, first, authored=NOBODY_SENDS)
    assert centre.published_version == before

    assert publish_by(centre, first, second, authored=NOBODY_SENDS) == before + 1
    assert centre.journal.kept[-1].reason == ""


def test_who_published_in_rings_is_told_how_a_draft_for_rings_is_written(centre: Centre) -> None:
    first, _ = two_signers(centre)
    assert first.signatory.credential is not None
    for rings, told in ((True, "propose FILE --rings --out DRAFT"), (False, "propose FILE --out DRAFT")):
        parts, credential = centre.publisher.parts(), first.signatory.credential
        signed = author(NOBODY_SENDS, parts, credential, centre.clock, rings=rings)
        with pytest.raises(SecondPersonNeeded, match=told):
            centre.publisher.publish(signed, first.name)


def test_what_does_no_harm_needs_one(centre: Centre) -> None:
    first, _ = two_signers(centre)

    assert publish_by(centre, first, authored=MORE) == centre.published_version


def test_the_same_person_twice_is_one(centre: Centre) -> None:
    first, _ = two_signers(centre)
    with pytest.raises(SecondPersonNeeded):
        publish_by(centre, first, first, authored=NOBODY_SENDS)


def test_a_signature_of_somebody_who_may_not_sign_is_none(centre: Centre) -> None:
    first, _ = two_signers(centre)
    stranger = another(centre, "Mallory")
    signed = centre.signed(replace(centre.document(), modalities=()), [first.private, stranger.private])
    with pytest.raises(SecondPersonNeeded):
        centre.publisher.publish(signed, first.name)


def test_where_there_is_one_signer_it_is_published_and_the_record_says_so(centre: Centre) -> None:
    version = centre.publish(NOBODY_SENDS)

    told = "nobody else could look at what may do harm: modalities CT1: it may no longer send"
    assert centre.publisher.remark(ORGANISATION, version) == told
    assert centre.journal.kept[-1].reason == told
    assert centre.restarted().publisher.remark(ORGANISATION, version) == told


def test_the_first_policy_is_no_change(centre: Centre) -> None:
    assert centre.publisher.remark(ORGANISATION, 1) == ""


def test_without_the_rule_one_person_publishes_it(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the first test: it is this rule, and nothing else, that refuses."""
    first, _ = two_signers(centre)
    monkeypatch.setattr(publishing, "dangers", lambda *_: ())

    assert publish_by(centre, first, authored=NOBODY_SENDS) == centre.published_version


def test_the_draft_tells_who_has_still_to_sign_and_why(centre: Centre) -> None:
    first, second = two_signers(centre)
    assert first.signatory.credential is not None
    draft = propose_policy(NOBODY_SENDS, centre.publisher.parts(), first.signatory.credential, centre.clock)

    (need,) = missing(draft)
    assert need.text == "layer organisation, by a second person, because it may do harm: 1 more, of Grace"
    assert harm(draft) == ("modalities CT1: it may no longer send",)
    assert missing(signed_by(draft, second)) == ()


def test_after_a_roll_out_was_taken_back_a_change_is_judged_by_what_hosts_have(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, 1)
    bench.publish(MORE)
    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    version = bench.rollouts.publish(bench.signed(POLICY, rings=False), None, PERSON)

    # By what was taken back, MR1 would lose something that no host had given it.
    assert bench.centre.publisher.remark(ORGANISATION, version) == ""


def test_a_part_is_judged_by_what_it_changes_on_its_hosts(centre: Centre) -> None:
    organisation = centre.publisher.layer(ORGANISATION)
    assert organisation is not None
    loose = DevicePolicy((DeviceRule(parse_rule("allow")),))
    quiet, open_to_all = (PartContent((Modality("CT9", "CT"),), devices=devices) for devices in (None, loose))

    def of(version: int, content: PartContent) -> LayerBundle:
        return LayerBundle("site-north", b"", PartDocument("site-north", version, content).encode())

    def judged(after: LayerBundle, *before: LayerBundle) -> tuple[str, ...]:
        return dangers(after, Held((), b"", (organisation, *before)))

    assert judged(of(1, quiet)) == ()
    assert judged(of(2, quiet), of(1, quiet)) == ()
    assert judged(of(2, open_to_all), of(1, quiet)) != ()
    assert judged(of(1, open_to_all)) != (), "the first version of a part changes hosts too"
    assert "it may no longer send" in judged(of(2, PartContent()), of(1, quiet))[0]

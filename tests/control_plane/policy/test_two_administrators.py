"""Two people have to sign: for the centre, an agent and a device guard; and what it takes to change who they are."""

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, Root

from control_plane.db.models import PolicyMetadata
from control_plane.policy.authoring import ForeignRoot, NotASigner
from control_plane.policy.drafts import Draft, KeyNotPublished, RootNotCompared, Signatory, missing, sign
from control_plane.policy.exchange import Publication, RootChange
from control_plane.policy.proposing import SignerUnknown, Wish, propose_policy, propose_root
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import (
    ONLINE_HOLDS_FOR,
    PEOPLE_HOLD_FOR,
    ROOT,
    TIMESTAMP,
    RoleKeys,
    build_layer,
    build_root,
    build_targets,
    held_keys,
    parse_role,
    sign_role,
)
from control_plane.policy.root_change import LayersDiffer, PolicyChanged, RootUnusable
from control_plane.policy.verified import VerifiedPolicy
from control_plane.policy.verify import (
    MetadataMismatch,
    PolicyExpired,
    PolicyVersionSkipped,
    PolicyVersionTaken,
    SignaturesMissing,
    WrongOnlineKey,
)
from edge_agent.usb_policy.clock_trust import Reading
from shared.audit.events import Event
from shared.errors import Malformed
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.document import Modality as Scanner
from tests.control_plane.policy.centre import POLICY, Centre, new_centre
from tests.control_plane.policy.people import (
    Modality,
    Person,
    ada,
    added,
    another,
    change_root,
    key_alone,
    online_key,
    policy_of,
    publish,
    published,
    signed_by,
    vouched_for,
)

OTHER = replace(POLICY, modalities=(Scanner("EVIL", "nobody approved it"),))


@pytest.fixture
def one(centre: Centre) -> Person:
    return ada(centre)


@pytest.fixture
def two(centre: Centre) -> Person:
    return another(centre, "Grace")


@pytest.fixture
def modality(tmp_path: Path, centre: Centre) -> Modality:
    """Return a host from before anybody but Ada could sign."""
    return Modality(tmp_path / "modality", centre.publisher.newest_root())


@pytest.fixture
def both(centre: Centre, one: Person, two: Person) -> Centre:
    """Return the centre with a published policy, after which Ada and Grace have to sign together."""
    publish(centre, one)
    change_root(centre, added(two, threshold=2), one, two)
    return centre


# ---- one signature where two are needed


def test_the_centre_refuses_one_signature_where_two_are_needed(both: Centre, one: Person, two: Person) -> None:
    before = both.published_version

    for alone in (one, two):
        with pytest.raises(SignaturesMissing, match="1 valid signatures of its own keys and needs 2"):
            publish(both, alone)
    assert both.published_version == before
    assert both.journal.events()[-1] is Event.POLICY_REFUSED


def test_a_host_refuses_one_signature_where_two_are_needed_even_when_the_online_key_vouches_for_it(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    modality.offer_published(both)
    before = modality.versions
    lonely = policy_of(both, one, authored=OTHER).bundle
    modality.offer(vouched_for(both, lonely), lonely)
    refused = modality.errors, modality.versions
    together = policy_of(both, one, two, authored=OTHER).bundle
    modality.offer(vouched_for(both, together, ahead=2), together)

    assert refused == (("PolicyNotSigned", "PolicyNotSigned"), before)
    # The control: with the second signature the same policy is taken by both.
    assert modality.versions == (before[0] + 1, before[1] + 1)


def test_one_signature_twice_is_one(both: Centre, one: Person, two: Person) -> None:
    offered = policy_of(both, one)
    twice = parse_twice(offered, one, two)

    with pytest.raises((SignaturesMissing, Malformed)):
        both.publisher.publish(twice, one.name)


def parse_twice(offered: Publication, one: Person, two: Person) -> Publication:
    """Return the policy with Ada's signature under Grace's key id too."""
    metadata = json.loads(offered.metadata)
    mine = metadata["signatures"][0]
    metadata["signatures"].append({**mine, "keyid": two.signatory.key_id})
    return replace(offered, metadata=json.dumps(metadata, separators=(",", ":"), sort_keys=True).encode())


def test_a_key_under_two_ids_does_not_count_twice(centre: Centre, one: Person) -> None:
    again = Metadata.from_bytes(centre.publisher.newest_root()).signed.keys[one.signatory.key_id]
    disguised = type(again)("0" * 64, again.keytype, again.scheme, again.keyval, {"name": "Grace"})

    with pytest.raises(RootUnusable, match="under an id that is not its own"):
        change_root(centre, Wish(add=(disguised,), threshold=2), one)


def test_two_administrators_publish_together_and_nobody_is_missing(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    version = publish(both, two, one)
    modality.offer_published(both)

    assert modality.versions == (version, version)
    assert modality.errors == ("", "")


def test_a_draft_says_who_is_still_missing(both: Centre, one: Person, two: Person) -> None:
    assert one.signatory.credential is not None
    draft = propose_policy(POLICY, both.publisher.parts(), one.signatory.credential, both.clock)

    assert [need.text for need in missing(draft)] == ["layer organisation: 1 more, of Grace"]
    assert missing(signed_by(draft, two)) == ()


def test_with_a_threshold_of_one_nobody_is_missing(centre: Centre, one: Person) -> None:
    assert one.signatory.credential is not None

    assert missing(propose_policy(POLICY, centre.publisher.parts(), one.signatory.credential, centre.clock)) == ()


# ---- who may change who signs


def test_one_of_two_cannot_take_the_other_out_or_lower_the_threshold(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    for wish in (Wish(remove=("Grace",), threshold=1), Wish(threshold=1)):
        draft = propose_root(wish, both.publisher.parts(), one.signatory, both.clock)
        assert draft.change is not None
        with pytest.raises(SignaturesMissing):
            both.publisher.change_root(draft.change, one.name)
        modality.offer(
            vouched_for(both, draft.layers[0], root=draft.change.root, targets=draft.change.targets), draft.layers[0]
        )
        assert modality.errors == ("PolicyNotSigned", "PolicyNotSigned")
    # The control: the same wish, signed by both, is followed.
    change_root(both, Wish(threshold=1), one, two)
    publish(both, two)
    modality.offer_published(both)
    assert modality.versions == (4, 4)


def test_a_host_follows_a_root_that_was_rotated_twice_without_being_enrolled_again(
    centre: Centre, one: Person, two: Person, modality: Modality
) -> None:
    publish(centre, one)
    modality.offer_published(centre)
    change_root(centre, added(two, threshold=2), one, two)
    three = another(centre, "Edsger")
    change_root(centre, added(three), two, one, three)
    version = publish(centre, two, three)
    modality.offer_published(centre)
    modality.start()
    modality.offer_published(centre)

    assert modality.versions == (version, version)
    assert len(published(centre)[0].roots) == 3


def test_a_guard_that_pins_the_second_root_follows_the_third(
    both: Centre, one: Person, two: Person, tmp_path: Path
) -> None:
    late = Modality(tmp_path / "late", both.publisher.newest_root())
    change_root(both, Wish(), one, two)
    late.offer_published(both)

    assert late.versions == (3, 3)


def test_a_host_does_not_follow_a_root_that_skips_one(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    modality.offer_published(both)
    head, _ = published(both)
    held = parse_role(Root, head.roots[-1]).signed
    thief = another(both, "Mallory")
    only = RoleKeys((thief.key.key,))
    now = both.clock.now()
    root = sign_role(
        build_root(root=only, targets=only, online=held_keys(held, TIMESTAMP), version=held.version + 2, now=now),
        [person.signatory.signer for person in (one, two, thief)],
    )
    targets = sign_role(build_targets({ORGANISATION: only}, version=3, now=now), [thief.signatory.signer])
    policy = replace(both.document(), version=3).encode()
    metadata = sign_role(build_layer(ORGANISATION, policy, version=3, now=now), [thief.signatory.signer])
    layer = LayerBundle(ORGANISATION, metadata, policy)

    modality.offer(vouched_for(both, layer, root=root, targets=targets), layer)
    assert (modality.errors, modality.versions) == (("PolicyNotSigned", "PolicyNotSigned"), (2, 2))
    with pytest.raises(PolicyVersionSkipped):
        both.publisher.change_root(RootChange(root, targets, (layer,)), "Mallory")


def test_a_new_signer_has_to_sign_the_root_that_names_them(centre: Centre, one: Person, two: Person) -> None:
    draft = propose_root(added(two), centre.publisher.parts(), one.signatory, centre.clock)

    assert draft.change is not None
    assert [need.text for need in missing(draft)] == ["root, by each key that is new: 1 more, of Grace"]
    with pytest.raises(SignaturesMissing, match="each key that is new"):
        centre.publisher.change_root(draft.change, one.name)
    assert missing(signed_by(draft, two)) == ()


def test_a_lost_key_of_two_is_replaced_with_the_recovery_key(
    centre: Centre, one: Person, two: Person, modality: Modality
) -> None:
    recovery = key_alone(centre, "recovery key in safe 3")
    publish(centre, one)
    change_root(centre, added(two, recovery, threshold=2), one, two, recovery)
    replacement = another(centre, "Grace again")

    change_root(centre, added(replacement, remove=("Grace",)), one, recovery, replacement)
    with pytest.raises(NotASigner):
        policy_of(centre, one, two)
    version = publish(centre, replacement, one)
    modality.offer_published(centre)

    assert modality.versions == (version, version)


def test_of_two_with_both_needed_a_lost_key_cannot_be_replaced(both: Centre, one: Person) -> None:
    replacement = another(both, "Grace again")
    draft = propose_root(added(replacement, remove=("Grace",)), both.publisher.parts(), one.signatory, both.clock)

    lacking = [need.text for need in missing(signed_by(draft, replacement))]
    assert lacking == ["root, by those who signed the last one: 1 more, of Grace"]


def test_who_was_taken_out_signs_nothing_more(both: Centre, one: Person, two: Person, modality: Modality) -> None:
    change_root(both, Wish(remove=("Grace",), threshold=1), one, two)
    modality.offer_published(both)
    document = replace(both.document(), version=4)
    forged = both.signed(document, [two.private]).bundle

    with pytest.raises(SignaturesMissing):
        both.publisher.publish(both.signed(document, [two.private]), two.name)
    modality.offer(vouched_for(both, forged), forged)
    assert (modality.errors, modality.versions) == (("PolicyNotSigned", "PolicyNotSigned"), (3, 3))


def test_root_and_policies_may_have_signers_of_their_own(both: Centre, one: Person, two: Person) -> None:
    three = another(both, "Edsger")
    wish = replace(added(three, threshold=1), of_root=False)
    change_root(both, wish, one, two, three)

    publish(both, three)
    theirs = propose_root(Wish(), both.publisher.parts(), three.signatory, both.clock)
    assert {need.what for need in missing(theirs)} == {
        "root, by those who signed the last one",
        "root, by those it names",
    }
    with pytest.raises(SignaturesMissing):
        change_root(both, Wish(threshold=1), one)


# ---- what a new root may be


@pytest.mark.parametrize("threshold", [0, 3])
def test_refuses_a_threshold_that_nobody_could_meet_or_everybody_does(
    threshold: int, centre: Centre, one: Person, two: Person
) -> None:
    with pytest.raises(RootUnusable):
        change_root(centre, added(two, threshold=threshold), one, two)
    assert change_root(centre, added(two, threshold=2), one, two) == 2


def test_refuses_two_signers_of_one_name(centre: Centre, one: Person) -> None:
    first, second = another(centre, "Grace"), another(centre, "Grace")

    with pytest.raises(RootUnusable, match="two keys carry the name Grace"):
        change_root(centre, added(first, second), one, first, second)


@pytest.mark.parametrize("name", ["Grace\x1b[2J", "Gra\u202ece", "", 5, ["Grace"]])
def test_refuses_a_name_that_is_none(name: object, centre: Centre, one: Person, two: Person) -> None:
    """It would be shown to whoever is asked to sign, on their terminal."""
    key = two.key.key
    key.unrecognized_fields["name"] = name

    with pytest.raises(RootUnusable, match="no name"):
        change_root(centre, Wish(add=(key,)), one)
    assert change_root(centre, added(two), one, two) == 2


def test_refuses_to_add_who_signs_already_and_to_remove_who_does_not(both: Centre, one: Person, two: Person) -> None:
    with pytest.raises(RootUnusable, match="is a signer already"):
        change_root(both, added(two), one)
    with pytest.raises(SignerUnknown, match="Grace"):
        change_root(both, Wish(remove=("Edsger",)), one)


def test_refuses_a_root_that_changes_a_policy_on_the_way(centre: Centre, one: Person) -> None:
    publish(centre, one)
    parts = centre.publisher.parts()
    draft = propose_root(Wish(), parts, one.signatory, centre.clock)
    change = draft.change
    assert change is not None
    other = policy_of(centre, one, authored=OTHER).bundle

    with pytest.raises(PolicyChanged):
        centre.publisher.change_root(replace(change, layers=(other,)), one.name)
    with pytest.raises(LayersDiffer):
        centre.publisher.change_root(replace(change, layers=()), one.name)
    assert centre.publisher.change_root(change, one.name) == 2


def test_refuses_a_root_that_gives_the_online_roles_to_a_key_that_the_centre_has_not(
    centre: Centre, one: Person, two: Person
) -> None:
    with pytest.raises(WrongOnlineKey):
        change_root(centre, Wish(online=two.key.key), one)


def test_of_two_roots_on_their_way_the_second_finds_its_version_taken(both: Centre, one: Person, two: Person) -> None:
    slow = propose_root(Wish(threshold=1), both.publisher.parts(), one.signatory, both.clock)
    change_root(both, Wish(), two, one)
    late = signed_by(slow, two).change

    assert late is not None
    with pytest.raises(PolicyVersionTaken):
        both.publisher.change_root(late, one.name)


def test_a_root_that_no_host_would_follow_in_the_end_leaves_everything_as_it_was(
    both: Centre, one: Person, two: Person
) -> None:
    """The last look, at the whole as a host sees it, comes after everything else was written: nothing of that stays."""

    def never(*_: object) -> None:
        raise MetadataMismatch("what hosts see", described_by="nobody")

    before = published(both)
    careful = PolicyPublisher(both.database, both.keys, both.journal, both.clock, verify_whole=never)
    with pytest.raises(MetadataMismatch):
        change_root(replace(both, publisher=careful), Wish(), one, two)

    assert published(both.restarted()) == before
    assert both.journal.events()[-1] is Event.POLICY_REFUSED
    assert change_root(both, Wish(), one, two) == 3


def test_a_root_can_be_changed_before_anything_is_published(
    centre: Centre, one: Person, two: Person, modality: Modality
) -> None:
    change_root(centre, added(two, threshold=2), one, two)
    before = centre.publisher.head()
    publish(centre, one, two)
    modality.offer_published(centre)

    assert before is None
    assert modality.versions == (1, 1)


# ---- a year


def test_a_renewal_begins_a_new_year_for_root_targets_and_layer(both: Centre, one: Person, two: Person) -> None:
    both.clock.pass_time(timedelta(days=340))
    change_root(both, Wish(), one, two)

    fresh = both.clock.now() + PEOPLE_HOLD_FOR - timedelta(seconds=1)
    expiries = both.publisher.expiries()
    assert all(expiries[role] >= fresh for role in (ROOT, "targets", ORGANISATION))


def test_a_root_that_has_expired_is_renewed_and_a_host_goes_on(
    both: Centre, one: Person, two: Person, tmp_path: Path
) -> None:
    root = both.publisher.newest_root()
    both.clock.pass_time(PEOPLE_HOLD_FOR + timedelta(days=1))
    with pytest.raises(PolicyExpired):
        publish(both, one, two)
    change_root(both, Wish(), one, two)
    version = publish(both, one, two)

    back = Modality(tmp_path / "back", root)
    both.clock.pass_time(-PEOPLE_HOLD_FOR)
    back.offer_published(both)
    assert back.versions == (version, version)


# ---- the online key


def test_fast_forward_a_misused_online_key_is_replaced_and_hosts_take_a_lower_timestamp(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    """TUF 5.3.11. Without a new key every honest head stays refused; with one the policy version still only rises."""
    modality.offer_published(both)
    _, layer = published(both)
    modality.offer(vouched_for(both, layer, ahead=1_000_000), layer)
    publish(both, one, two)
    modality.offer_published(both)
    stuck = modality.errors, modality.versions
    change_root(both, online_key(both), one, two)
    modality.offer_published(both)

    assert stuck == (("MetadataRollback", "MetadataRollback"), (2, 2))
    assert (modality.errors, modality.versions) == (("", ""), (4, 4))
    assert json.loads(published(both)[0].timestamp)["signed"]["version"] < 1_000


def test_after_the_online_key_was_replaced_the_stolen_one_rolls_nothing_back(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    old = published(both)
    stolen = vouched_for(both, old[1], ahead=50)
    change_root(both, online_key(both), one, two)
    modality.offer_published(both)
    before = modality.versions

    modality.offer(*old)
    errors = [modality.errors]
    modality.offer(replace(stolen, roots=published(both)[0].roots), old[1])
    errors.append(modality.errors)
    assert errors[1] == ("PolicyNotSigned", "PolicyNotSigned")
    assert "" not in errors[0]
    assert modality.versions == before


def test_fast_forward_of_the_clock_ends_for_a_guard_with_the_next_root(
    both: Centre, one: Person, two: Person, modality: Modality
) -> None:
    """A stolen online key says that it is the year after next: the guard takes its own clock for wrong until then."""
    now = Reading(both.clock.now(), timedelta(hours=1), is_kept=True)
    modality.offer_published(both)
    before = modality.guard.is_clock_sure(now)
    both.clock.pass_time(timedelta(days=300))
    modality.offer(vouched_for(both, published(both)[1]), published(both)[1])
    both.clock.pass_time(-timedelta(days=300))
    misled = modality.guard.is_clock_sure(now)
    both.publisher.refresh()
    both.publisher.refresh()
    modality.offer_published(both)
    still = modality.errors, modality.guard.is_clock_sure(now)
    change_root(both, online_key(both), one, two)
    modality.offer_published(both)

    assert (before, misled, still) == (True, False, (("", ""), False))
    assert modality.guard.is_clock_sure(now)
    modality.start()
    assert modality.guard.is_clock_sure(now)


def test_the_centre_signs_on_with_the_key_that_the_root_names(both: Centre, one: Person, two: Person) -> None:
    change_root(both, online_key(both), one, two)
    both.clock.pass_time(ONLINE_HOLDS_FOR / 2)
    again = both.restarted()
    again.publisher.refresh()

    root = parse_role(Root, again.publisher.newest_root()).signed
    timestamp = json.loads(published(again)[0].timestamp)
    assert [signature["keyid"] for signature in timestamp["signatures"]] == root.roles[TIMESTAMP].keyids


def test_asking_twice_for_the_next_online_key_makes_one(centre: Centre) -> None:
    assert centre.publisher.next_online_key() == centre.publisher.next_online_key()
    assert len(centre.keys.online_keys()) == 2


# ---- what signing offline relies on


def test_a_signer_refuses_a_draft_of_strangers(both: Centre, two: Person, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = new_centre(tmp_path / "other")
    assert stranger.credential is not None
    draft = propose_policy(POLICY, stranger.publisher.parts(), stranger.credential, stranger.clock)

    with pytest.raises(ForeignRoot):
        sign(draft, two.signatory)


def test_who_becomes_a_signer_compares_the_root_first(centre: Centre, one: Person, two: Person, tmp_path: Path) -> None:
    """Otherwise a stranger's draft could collect a signature that counts among one's own people."""
    (tmp_path / "other").mkdir()
    stranger = new_centre(tmp_path / "other")
    ours, theirs = (
        propose_root(added(two, threshold=2), at.publisher.parts(), ada(at).signatory, at.clock)
        for at in (centre, stranger)
    )
    told = sha256(centre.publisher.newest_root()).hexdigest()

    for draft, root in ((ours, ""), (theirs, ""), (theirs, told), (ours, told[:-1])):
        with pytest.raises(RootNotCompared):
            sign(draft, replace(two.signatory, root_sha256=root))
    assert missing(sign(ours, replace(two.signatory, root_sha256=told))) == ()


def test_a_stranger_who_gives_their_key_the_id_of_ours_is_not_believed(centre: Centre, one: Person) -> None:
    """Ids of keys are whatever a root says; what counts is the key in the signer's own hands."""
    parts = centre.publisher.parts()
    thief = another(centre, "Mallory")
    key = thief.key.key
    disguised = type(key)(one.signatory.key_id, key.keytype, key.scheme, key.keyval)
    held = RoleKeys((disguised,))
    now = centre.clock.now()
    online = held_keys(parse_role(Root, parts.roots[0]).signed, TIMESTAMP)
    made: list[Metadata[Any]] = [
        Metadata(build_root(root=held, targets=held, online=online, version=1, now=now)),
        Metadata(build_targets({ORGANISATION: held}, version=1, now=now)),
    ]
    for metadata in made:
        signature = thief.signatory.signer.sign(metadata.signed_bytes)
        metadata.signatures[disguised.keyid] = Signature(disguised.keyid, signature.signature)
    root, targets = (metadata.to_bytes() for metadata in made)

    with pytest.raises(ForeignRoot):
        centre.sign(parts=replace(parts, roots=(root,), targets=targets))
    assert centre.sign(parts=parts).layer == ORGANISATION


def test_a_key_alone_signs_a_policy_only_if_it_seals_to_the_keys_of_the_published_one(
    centre: Centre, one: Person
) -> None:
    recovery = key_alone(centre, "recovery")
    change_root(centre, added(recovery, threshold=2), one, recovery)
    assert one.signatory.credential is not None
    draft = propose_policy(POLICY, centre.publisher.parts(), one.signatory.credential, centre.clock)
    with pytest.raises(KeyNotPublished):
        sign(draft, recovery.signatory)
    publish(centre, one, second_with_credential(centre, recovery))

    again = propose_policy(POLICY, centre.publisher.parts(), one.signatory.credential, centre.clock)
    assert missing(sign(again, recovery.signatory)) == ()


def second_with_credential(centre: Centre, person: Person) -> Person:
    return replace(person, signatory=Signatory(person.signatory.signer, centre.credential))


def test_a_draft_prints_and_parses_unchanged(both: Centre, one: Person) -> None:
    assert one.signatory.credential is not None
    for draft in (
        propose_root(Wish(), both.publisher.parts(), one.signatory, both.clock),
        propose_policy(POLICY, both.publisher.parts(), one.signatory.credential, both.clock),
    ):
        assert Draft.parse(draft.encode()) == draft
        assert Draft.is_one(draft.encode())


# ---- what was


def test_an_earlier_policy_is_still_proved_by_those_who_signed_it_then(both: Centre, one: Person, two: Person) -> None:
    publish(both, one, two)
    verified = VerifiedPolicy(both.database, both.keys, both.publisher)

    assert [verified.version(version).version for version in (1, 2, 3)] == [1, 2, 3]
    newest = verified.newest()
    assert newest is not None
    assert newest.version == 3


def test_who_signed_once_cannot_put_a_later_policy_into_the_database(both: Centre, one: Person, two: Person) -> None:
    """Ada alone could sign version 1. With the database in her hands she still cannot make a version 3."""
    publish(both, one, two)
    forged = both.signed(replace(both.document(), version=3, modalities=OTHER.modalities), [one.private])
    with both.database.begin() as session:
        row = session.get(PolicyMetadata, (ORGANISATION, 3))
        assert row is not None
        row.metadata_bytes, row.policy = forged.metadata, forged.policy
    verified = VerifiedPolicy(both.database, both.keys, both.restarted().publisher)

    with pytest.raises(SignaturesMissing):
        verified.version(3)
    assert PolicyDocument.parse(forged.policy).version == 3


def test_the_log_says_who_sent_a_policy_and_who_else_signed_it(both: Centre, one: Person, two: Person) -> None:
    publish(both, one, two)

    assert [(who.name, who.requestor) for who in both.journal.kept[-1].who] == [("Ada", True), ("Grace", False)]
    assert both.journal.kept[-1].what[0].name.startswith("organisation version 3 ")


def test_a_new_root_is_recorded_once(both: Centre) -> None:
    both.restarted().publisher.announce()

    told = [happening.what[0].name for happening in both.journal.kept if happening.event is Event.POLICY_PUBLISHED]
    assert [name.rsplit(" sha256", 1)[0] for name in told].count("root version 2") == 1

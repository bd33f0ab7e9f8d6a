"""Sites and types of modality with policies of their own: added without a new root, and tried together."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import DelegatedRole, TargetFile, Targets

from control_plane.db.models import PolicyMetadata
from control_plane.policy.authoring import ForeignRoot
from control_plane.policy.drafts import Draft, missing, sign, tell
from control_plane.policy.exchange import LayerAddition, Publication, RootChange
from control_plane.policy.layers_added import (
    LayerExists,
    LayerTakenAway,
    NoLayerAdded,
    TargetsChanged,
    TooManyLayers,
    build_added,
    verify_layers_added,
)
from control_plane.policy.proposing import Wish, propose_layers, propose_root
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import (
    PEOPLE_HOLD_FOR,
    begins_with,
    delegated_layers,
    held_keys,
    parse_role,
    sign_role,
)
from control_plane.policy.root_change import PolicyChanged
from control_plane.policy.rows import PolicyRowMissing
from control_plane.policy.together import (
    LayerDocument,
    LayersDisagree,
    OrganisationFirst,
    TooManyCombinations,
    parse_document,
    verify_together,
)
from control_plane.policy.verified import VerifiedPolicy
from control_plane.policy.verify import (
    CentreKeys,
    Held,
    PolicyExpired,
    PolicyVersionSkipped,
    PolicyVersionTaken,
    SignaturesMissing,
    SignersDiffer,
    verify_layer,
)
from control_plane.policy.versions import SIGNED, PolicyVersions, VersionUnknown
from shared.audit.events import Event
from shared.canonical import Json
from shared.errors import Malformed, Refused
from shared.identity import HostId
from shared.policy.document import ORGANISATION, Modality
from shared.policy.part import PartDocument
from tests.control_plane.policy.centre import POLICY, Centre, MemoryJournal
from tests.control_plane.policy.layers import (
    CT,
    HOST,
    NORTH,
    SOUTH,
    HostOf,
    add_layers,
    added,
    part,
    publish_part,
    signed,
    titles,
)
from tests.control_plane.policy.people import Person, ada, another, change_root, publish, signed_by
from tests.control_plane.policy.people import added as with_signer

OTHER_HOST = HostId(bytes(15) + b"\1")


@pytest.fixture
def one(centre: Centre) -> Person:
    return ada(centre)


@pytest.fixture
def two(centre: Centre) -> Person:
    return another(centre, "Grace")


@pytest.fixture
def layered(centre: Centre, one: Person) -> Centre:
    """Return the centre with a published policy, CT1, and three layers of which nothing is published."""
    publish(centre, one)
    add_layers(centre, [NORTH, SOUTH, CT], one)
    return centre


# ---- adding layers


def test_a_layer_is_added_under_the_same_root_and_hosts_go_by_its_policy(
    centre: Centre, one: Person, tmp_path: Path
) -> None:
    host = HostOf(tmp_path / "host", centre.publisher.newest_root(), NORTH)
    publish(centre, one)
    before = titles(host.take_published(centre))

    version = add_layers(centre, [NORTH], one)
    publish_part(centre, part(NORTH, 1, "CT9"), one)

    assert (version, before, titles(host.take_published(centre))) == (2, ["CT1"], ["CT1", "CT9"])
    head = centre.publisher.head()
    assert head is not None
    assert len(head.roots) == 1


def test_layers_can_be_added_before_anything_is_published(centre: Centre, one: Person) -> None:
    add_layers(centre, [NORTH], one)
    assert centre.publisher.head() is None
    publish(centre, one)

    head = centre.publisher.head()
    assert head is not None
    assert delegated_layers(parse_role(Targets, head.targets).signed) == (ORGANISATION, NORTH)


def test_it_takes_everybody_whom_a_policy_takes(centre: Centre, one: Person, two: Person) -> None:
    publish(centre, one)
    change_root(centre, with_signer(two, threshold=2), one, two)

    with pytest.raises(SignaturesMissing, match="1 valid signatures of its own keys and needs 2"):
        add_layers(centre, [NORTH], one)
    assert centre.journal.events()[-1] is Event.POLICY_REFUSED
    assert add_layers(centre, [NORTH], one, two) == 3
    assert [(who.name, who.requestor) for who in centre.journal.kept[-1].who] == [("Ada", True), ("Grace", False)]
    assert centre.journal.kept[-1].what[0].name.startswith("targets version 3 ")


def test_a_draft_of_layers_travels_says_what_it_adds_and_nobody_else_signs_it(
    centre: Centre, one: Person, two: Person
) -> None:
    publish(centre, one)
    change_root(centre, with_signer(two, threshold=2), one, two)
    draft = propose_layers([NORTH, CT], centre.publisher.parts(), one.signatory, centre.clock)

    assert Draft.parse(draft.encode()) == draft
    assert f"it adds the layers {CT}, {NORTH}" in " ".join(tell(draft))
    assert [need.text for need in missing(draft)] == ["targets: 1 more, of Grace"]
    with pytest.raises(ForeignRoot):
        sign(draft, another(centre, "Mallory").signatory)
    assert missing(signed_by(draft, two)) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda draft: replace(draft, targets=b"{}"),
        lambda draft: replace(draft, layers=draft.parts.layers),
    ],
)
def test_a_draft_of_layers_has_targets_that_hold_and_no_policy(
    layered: Centre, one: Person, change: Callable[[Draft], Draft]
) -> None:
    draft = propose_layers(["site-west"], layered.publisher.parts(), one.signatory, layered.clock)

    with pytest.raises(Malformed):
        sign(Draft.parse(change(draft).encode()), one.signatory)


def test_a_layer_is_added_once_and_there_are_at_most_a_hundred(layered: Centre, one: Person) -> None:
    with pytest.raises(LayerExists, match=NORTH):
        add_layers(layered, [NORTH], one)
    add_layers(layered, [f"site-{number}" for number in range(96)], one)
    with pytest.raises(TooManyLayers, match="101"):
        add_layers(layered, ["site-one-more"], one)
    for name in ("radiology", "site-", "site-North", ORGANISATION):
        with pytest.raises(Refused):
            add_layers(layered, [name], one)


def test_what_travels_to_the_centre_is_targets_and_nothing_more(layered: Centre, one: Person) -> None:
    offered = added(layered, ["site-west"], one)

    assert LayerAddition.parse(offered.json()) == offered
    malformed: list[Json] = [{}, {**offered.json(), "root": ""}, {"targets": "not base64"}, {"targets": None}]
    for wrong in malformed:
        with pytest.raises(Malformed):
            LayerAddition.parse(wrong)


# ---- targets that do more than add; each is signed by whoever signs


def following(centre: Centre, *names: str, version: int = 0) -> Targets:
    published = parse_role(Targets, centre.publisher.parts().targets).signed
    until = (centre.clock.now() + PEOPLE_HOLD_FOR).replace(microsecond=0)
    return build_added(published, names, version=version or published.version + 1, expires=until)


def roles(targets: Targets) -> dict[str, DelegatedRole]:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    return targets.delegations.roles


def takes_a_layer_away(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    del roles(targets)[SOUTH]
    return targets


def gives_a_new_layer_to_another_key(centre: Centre, stranger: Person) -> Targets:
    targets = following(centre, "site-west")
    key = stranger.key.key
    assert targets.delegations is not None
    targets.delegations.keys[key.keyid] = key
    roles(targets)["site-west"].keyids = [key.keyid]
    return targets


def gives_a_layer_to_another_key(centre: Centre, stranger: Person) -> Targets:
    targets = gives_a_new_layer_to_another_key(centre, stranger)
    roles(targets)[NORTH].keyids, roles(targets)["site-west"].keyids = (
        roles(targets)["site-west"].keyids,
        roles(targets)[NORTH].keyids,
    )
    return targets


def smuggles_a_target(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    path = f"{ORGANISATION}/policy.json"
    targets.targets[path] = TargetFile.from_data(path, b"{}", ["sha256"])
    return targets


def reaches_further_than_its_layer(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    roles(targets)["site-west"].paths = ["site-west/*", f"{NORTH}/*"]
    return targets


def does_not_end_the_search(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    roles(targets)["site-west"].terminating = False
    return targets


def rewrites_who_signed_earlier(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    targets.unrecognized_fields["since"] = {ORGANISATION: 1}
    return targets


def says_something_more(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    targets.unrecognized_fields["note"] = "nobody reads this"
    return targets


def adds_nothing(centre: Centre, _: Person) -> Targets:
    return following(centre)


def skips_a_version(centre: Centre, _: Person) -> Targets:
    return following(centre, "site-west", version=9)


def is_a_version_again(centre: Centre, _: Person) -> Targets:
    return following(centre, "site-west", version=2)


def has_expired(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    targets.expires = (centre.clock.now() - timedelta(days=1)).replace(microsecond=0)
    return targets


def names_a_layer_that_no_host_can_have(centre: Centre, _: Person) -> Targets:
    targets = following(centre, "site-west")
    roles(targets)["radiology"] = replace_role(roles(targets).pop("site-west"), "radiology")
    return targets


def replace_role(role: DelegatedRole, name: str) -> DelegatedRole:
    return DelegatedRole(name, role.keyids, role.threshold, terminating=True, paths=[f"{name}/*"])


Attack = Callable[[Centre, Person], Targets]
ATTACKS: list[tuple[Attack, type[Exception]]] = [
    (takes_a_layer_away, LayerTakenAway),
    (gives_a_new_layer_to_another_key, SignersDiffer),
    (gives_a_layer_to_another_key, SignersDiffer),
    (smuggles_a_target, Malformed),
    (reaches_further_than_its_layer, TargetsChanged),
    (does_not_end_the_search, TargetsChanged),
    (rewrites_who_signed_earlier, TargetsChanged),
    (says_something_more, TargetsChanged),
    (adds_nothing, NoLayerAdded),
    (skips_a_version, PolicyVersionSkipped),
    (is_a_version_again, PolicyVersionTaken),
    (has_expired, PolicyExpired),
    (names_a_layer_that_no_host_can_have, Malformed),
]


@pytest.mark.parametrize("attack, error", ATTACKS)
def test_the_centre_refuses_targets_that_do_more_than_add_layers(
    layered: Centre, one: Person, two: Person, attack: Attack, error: type[Exception]
) -> None:
    before = layered.publisher.parts().targets
    offered = LayerAddition(sign_role(attack(layered, two), [one.signatory.signer]))

    with pytest.raises(error):
        layered.publisher.add_layers(offered, one.name)
    assert layered.publisher.parts().targets == before
    assert layered.journal.events()[-1] is Event.POLICY_REFUSED
    # The control: what adds and nothing else is taken from the same hands.
    harmless = LayerAddition(sign_role(following(layered, "site-west"), [one.signatory.signer]))
    assert layered.publisher.add_layers(harmless, one.name) == 3


@pytest.mark.parametrize("attack", [takes_a_layer_away, reaches_further_than_its_layer, rewrites_who_signed_earlier])
def test_control_a_centre_that_looks_at_signatures_alone_publishes_them(
    layered: Centre, one: Person, two: Person, attack: Attack
) -> None:
    def trusting(offered: LayerAddition, _held: Held, _now: datetime) -> Targets:
        return parse_role(Targets, offered.targets).signed

    broken = PolicyPublisher(layered.database, layered.keys, MemoryJournal(), layered.clock, verify_added=trusting)

    assert broken.add_layers(LayerAddition(sign_role(attack(layered, two), [one.signatory.signer])), one.name) == 3


def test_of_two_who_add_layers_at_once_one_wins_and_the_other_is_told(layered: Centre, one: Person) -> None:
    mine, theirs = (added(layered, [name], one) for name in ("site-west", "site-east"))
    other, refused = layered.restarted().publisher, list[Refused]()

    def add_theirs() -> None:
        try:
            other.add_layers(theirs, "Grace")
        except Refused as exc:
            refused.append(exc)

    thread = threading.Thread(target=add_theirs)

    def interrupted(offered: LayerAddition, held: Held, now: datetime) -> Targets:
        thread.start()
        return verify_layers_added(offered, held, now)

    slow = PolicyPublisher(layered.database, layered.keys, MemoryJournal(), layered.clock, verify_added=interrupted)

    assert slow.add_layers(mine, one.name) == 3
    thread.join()

    assert [type(exc) for exc in refused] == [PolicyVersionTaken]
    assert other.parts().targets == mine.targets


# ---- layers together


def test_a_part_waits_for_the_organisation(centre: Centre, one: Person) -> None:
    add_layers(centre, [NORTH], one)

    with pytest.raises(OrganisationFirst, match=NORTH):
        publish_part(centre, part(NORTH, 1, "CT9"), one)
    publish(centre, one)
    assert publish_part(centre, part(NORTH, 1, "CT9"), one) == 1


def test_a_part_that_hosts_would_refuse_with_the_organisation_is_refused(layered: Centre, one: Person) -> None:
    with pytest.raises(LayersDisagree, match="organisation version 1 and site-north version 1 cannot be together"):
        publish_part(layered, part(NORTH, 1, "CT1"), one)
    assert layered.publisher.layer(NORTH) is None
    assert publish_part(layered, part(NORTH, 1, "CT9"), one) == 1


def test_a_part_that_hosts_would_refuse_with_another_part_is_refused(layered: Centre, one: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)

    with pytest.raises(LayersDisagree, match="organisation version 1 and modality-ct version 1 and site-north"):
        publish_part(layered, part(CT, 1, "CT9"), one)
    # No host is at two sites.
    assert publish_part(layered, part(SOUTH, 1, "CT9"), one) == 1


def test_an_exception_that_its_host_would_refuse_is_refused_and_the_host_named(layered: Centre, one: Person) -> None:
    publish_part(layered, part(CT, 1, "CT7"), one)

    with pytest.raises(LayersDisagree, match=str(HOST)):
        publish_part(layered, part(NORTH, 1, "CT9", hosts={OTHER_HOST: "CT8", HOST: "CT7"}), one)
    assert publish_part(layered, part(NORTH, 1, "CT9", hosts={OTHER_HOST: "CT8", HOST: "CT6"}), one) == 1


def test_the_organisation_may_not_say_what_a_part_says_already(layered: Centre, one: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9", hosts={HOST: "CT8"}), one)

    for title in ("CT9", "CT8"):
        with pytest.raises(LayersDisagree, match="organisation version 2 and site-north version 1"):
            publish(layered, one, authored=replace(POLICY, modalities=(Modality(title, ""),)))
    assert layered.published_version == 1


def test_control_a_centre_that_does_not_try_them_publishes_what_hosts_refuse(
    layered: Centre, one: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.policy.publisher.dangers", lambda *_: ())  # it puts them together as well

    def careless(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
        return verify_layer(parse_role(Targets, held.targets).signed, offered.bundle)

    broken = PolicyPublisher(layered.database, layered.keys, MemoryJournal(), layered.clock, careless)
    broken.publish(signed(layered, part(NORTH, 1, "CT1"), one), one.name)
    host = HostOf(tmp_path / "host", layered.publisher.newest_root(), NORTH)

    with pytest.raises(Malformed):
        host.take_published(layered)


def test_more_combinations_than_are_tried_are_refused(layered: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = {HostId(bytes(14) + bytes(divmod(number, 256))): f"X{number}" for number in range(30)}
    crowded, organisation = part(NORTH, 1, hosts=hosts), layered.document()
    verify_together(crowded, [organisation])
    monkeypatch.setattr("control_plane.policy.together.MAX_COMBINATIONS", 30)

    with pytest.raises(TooManyCombinations, match=NORTH):
        verify_together(crowded, [organisation])
    # One exception for many hosts is tried once.
    verify_together(part(NORTH, 1, hosts=dict.fromkeys(hosts, "X1")), [organisation])


# ---- a new root, and what was


def test_a_new_root_takes_every_layer_along_as_it_is(layered: Centre, one: Person, two: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)

    change_root(layered, with_signer(two, threshold=2), one, two)

    parts = layered.publisher.parts()
    targets = parse_role(Targets, parts.targets).signed
    assert delegated_layers(targets) == (CT, ORGANISATION, NORTH, SOUTH)
    assert all(held_keys(targets, layer).threshold == 2 for layer in delegated_layers(targets))
    assert [parse_document(layer.layer, layer.policy).version for layer in parts.layers] == [2, 2]
    with pytest.raises(SignaturesMissing):
        publish_part(layered, part(NORTH, 3, "CT9"), one)
    assert publish_part(layered, part(NORTH, 3, "CT9"), one, two) == 3
    # A layer of which nothing was published begins with its first version, whoever signs now.
    assert publish_part(layered, part(SOUTH, 1, "CT9"), two, one) == 1


def test_a_new_root_changes_no_part(layered: Centre, one: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)
    change = propose_root(Wish(), layered.publisher.parts(), one.signatory, layered.clock).change
    assert change is not None
    other = signed(layered, part(NORTH, 2, "EVIL"), one).bundle
    forged = RootChange(change.root, change.targets, (change.layers[0], other))

    with pytest.raises(PolicyChanged, match=NORTH):
        layered.publisher.change_root(forged, one.name)
    assert layered.publisher.change_root(change, one.name) == 2


def test_an_earlier_version_is_judged_by_the_targets_of_its_time_also_across_added_layers(
    layered: Centre, one: Person, two: Person
) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)
    change_root(layered, with_signer(two, threshold=2), one, two)
    add_layers(layered, ["site-west"], one, two)
    add_layers(layered, ["site-east"], one, two)
    publish(layered, one, two)
    verified = VerifiedPolicy(layered.database, layered.keys, layered.publisher)

    assert [verified.version(version).version for version in (1, 2, 3)] == [1, 2, 3]
    assert [verified.version_of(NORTH, version).version for version in (1, 2)] == [1, 2]
    targets = parse_role(Targets, layered.publisher.parts().targets).signed
    assert (begins_with(targets, ORGANISATION), begins_with(targets, NORTH), begins_with(targets, SOUTH)) == (2, 2, 1)


def test_who_signed_once_cannot_put_a_later_part_into_the_database(layered: Centre, one: Person, two: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)
    change_root(layered, with_signer(two, threshold=2), one, two)
    add_layers(layered, ["site-west"], one, two)
    forged = signed(layered, part(NORTH, 2, "EVIL"), one)
    with layered.database.begin() as session:
        row = session.get(PolicyMetadata, (NORTH, 2))
        assert row is not None
        row.metadata_bytes, row.policy = forged.metadata, forged.policy
    verified = VerifiedPolicy(layered.database, layered.keys, layered.restarted().publisher)

    with pytest.raises(SignaturesMissing):
        verified.version_of(NORTH, 2)
    # The control: alone she could sign version 1, and it stays proved.
    assert verified.version_of(NORTH, 1).version == 1


def test_the_history_of_a_part_is_its_own(layered: Centre, one: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)
    publish_part(layered, part(NORTH, 2, "CT8"), one)
    verified = VerifiedPolicy(layered.database, layered.keys, layered.publisher)
    versions = PolicyVersions(layered.database, verified)

    assert [(past.version, past.state) for past in versions.history(9, NORTH)] == [(2, SIGNED), (1, SIGNED)]
    assert [past.version for past in versions.history(9)] == [1]
    assert PartDocument.parse(versions.bundle(1, NORTH).policy) == part(NORTH, 1, "CT9")
    assert set(versions.published(NORTH)) == {1, 2}
    with pytest.raises(VersionUnknown, match="no policy version 3 of layer site-north; there are 1 to 2"):
        versions.bundle(3, NORTH)
    with pytest.raises(PolicyRowMissing):
        verified.version_of(SOUTH, 1)


def test_what_the_centre_does_for_all_sites_it_does_for_the_modalities_of_every_part(
    layered: Centre, one: Person
) -> None:
    publish_part(layered, part(NORTH, 1, "CT9", hosts={HOST: "CT8"}), one)
    publish_part(layered, part(SOUTH, 1, "CT9", "MR1"), one)
    verified = VerifiedPolicy(layered.database, layered.keys, layered.publisher)

    everywhere, organisation = verified.with_modalities_of_parts(), verified.newest()

    assert everywhere is not None
    assert organisation is not None
    assert [modality.ae_title for modality in everywhere.modalities] == ["CT1", "CT9", "CT8", "MR1"]
    assert [modality.ae_title for modality in organisation.modalities] == ["CT1"]
    assert replace(everywhere, modalities=organisation.modalities) == organisation


def test_a_part_in_the_database_that_people_did_not_sign_is_acted_on_nowhere(layered: Centre, one: Person) -> None:
    publish_part(layered, part(NORTH, 1, "CT9"), one)
    with layered.database.begin() as session:
        row = session.get(PolicyMetadata, (NORTH, 1))
        assert row is not None
        row.policy = part(NORTH, 1, "EVIL").encode()

    with pytest.raises(Refused):
        VerifiedPolicy(layered.database, layered.keys, layered.restarted().publisher).with_modalities_of_parts()

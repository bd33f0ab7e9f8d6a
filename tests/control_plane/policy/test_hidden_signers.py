"""Who signs targets gives the layers away. So a root cannot have them signed by others than are shown for the layers.

Mallory is one of two who have to sign. She makes "a renewal" in which targets alone are laxer, and asks Ada to sign it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Key, Root, Targets

from control_plane.policy import root_change
from control_plane.policy.drafts import Draft, sign, tell
from control_plane.policy.exchange import RootChange
from control_plane.policy.proposing import Wish, propose_policy, propose_root
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import (
    SNAPSHOT,
    TARGETS,
    RoleKeys,
    build_layer,
    build_targets,
    parse_role,
    sign_role,
    with_signatures,
)
from control_plane.policy.root_change import RootUnusable
from control_plane.policy.verify import SignersDiffer, WrongOnlineKey
from edge_agent.policy_sync import verification
from shared.policy.bundle import LayerBundle
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
    publish,
    published,
    signed_by,
    vouched_for,
)

EVIL = (Scanner("EVIL", "nobody approved it"),)


@dataclass(frozen=True)
class Scene:
    """`renewal` is what Mallory proposed before she altered it. Eve is a second key of hers."""

    centre: Centre
    ada: Person
    mallory: Person
    eve: Person
    renewal: Draft


Trick = Callable[[Root, Scene], Sequence[Signer]]


@pytest.fixture
def scene(centre: Centre) -> Scene:
    one, two = ada(centre), another(centre, "Mallory")
    publish(centre, one)
    change_root(centre, added(two, threshold=2), one, two)
    renewal = propose_root(Wish(), centre.publisher.parts(), two.signatory, centre.clock)
    return Scene(centre, one, two, another(centre, "Eve"), renewal)


@pytest.fixture
def modality(scene: Scene, tmp_path: Path) -> Modality:
    host = Modality(tmp_path / "modality", scene.centre.publisher.parts().roots[0])
    host.offer_published(scene.centre)
    return host


def one_is_enough(root: Root, scene: Scene) -> Sequence[Signer]:
    root.roles[TARGETS].threshold = 1
    return [scene.mallory.signatory.signer]


def a_key_more(root: Root, scene: Scene) -> Sequence[Signer]:
    root.keys[scene.eve.key.key.keyid] = scene.eve.key.key
    root.roles[TARGETS].keyids.append(scene.eve.key.key.keyid)
    return [scene.mallory.signatory.signer, scene.eve.signatory.signer]


TRICKS = pytest.mark.parametrize("trick", [one_is_enough, a_key_more])


def altered(scene: Scene, trick: Trick) -> tuple[Draft, Sequence[Signer]]:
    """Return the draft as Ada gets it, and with whose keys Mallory can sign targets under it."""
    root = parse_role(Root, scene.renewal.root)
    hers = trick(root.signed, scene)
    root.signatures.clear()
    targets = with_signatures(parse_role(Targets, scene.renewal.targets), hers)
    return replace(scene.renewal, root=with_signatures(root, hers), targets=targets), hers


def carelessly_signed(draft: Draft, person: Person) -> RootChange:
    """Return what a tool that looks at nothing makes of it."""
    signers = [person.signatory.signer]
    layers = tuple(
        replace(layer, metadata=with_signatures(parse_role(Targets, layer.metadata), signers)) for layer in draft.layers
    )
    return RootChange(with_signatures(parse_role(Root, draft.root), signers), draft.targets, layers)


def anything(_: Root, __: Targets) -> None:
    """Stands in for the check that both have the same signers: the negative control."""


# ---- the signer's tool


@TRICKS
def test_a_signer_refuses_a_renewal_in_which_targets_are_signed_by_others_than_the_layer(
    scene: Scene, trick: Trick, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, _ = altered(scene, trick)

    with pytest.raises(SignersDiffer, match="whoever signs targets can give the layer to anybody"):
        sign(draft, scene.ada.signatory)
    # The controls: the honest renewal is signed, and without this one check the altered one is too.
    assert sign(scene.renewal, scene.ada.signatory) != scene.renewal
    monkeypatch.setattr(root_change, "verify_signers_agree", anything)
    assert sign(draft, scene.ada.signatory) != draft


@pytest.mark.parametrize(
    "trick, said",
    [
        (one_is_enough, "targets, which say who signs the policies: 1 of 2 have to sign (before: 2 of 2)"),
        (a_key_more, "  new signer: Eve, key "),
    ],
)
def test_what_is_told_of_a_draft_tells_of_targets_that_differ(scene: Scene, trick: Trick, said: str) -> None:
    honest, told = list(tell(scene.renewal)), list(tell(altered(scene, trick)[0]))

    assert [line for line in told if line.startswith(said)]
    assert not [line for line in honest if line.startswith((said, "targets"))]


def test_a_signer_refuses_another_key_under_the_id_of_a_colleague(scene: Scene) -> None:
    """In targets the id still stands for Carol's key. In the root it is Eve's, who would be Carol there."""
    carol = another(scene.centre, "Carol")
    change_root(scene.centre, added(carol), scene.mallory, scene.ada, carol)
    honest = propose_root(Wish(), scene.centre.publisher.parts(), scene.mallory.signatory, scene.centre.clock)
    root = parse_role(Root, honest.root)
    eve = {**scene.eve.key.key.to_dict(), "name": "Carol"}
    root.signed.keys[carol.key.key.keyid] = Key.from_dict(carol.key.key.keyid, eve)
    draft = replace(honest, root=with_signatures(root, [scene.mallory.signatory.signer]))

    with pytest.raises(RootUnusable, match="under an id that is not its own"):
        sign(draft, scene.ada.signatory)
    assert sign(honest, scene.ada.signatory) != honest


def test_a_signer_refuses_a_root_that_has_snapshots_signed_by_somebody_else(scene: Scene) -> None:
    root = parse_role(Root, scene.renewal.root)
    root.signed.keys[scene.eve.key.key.keyid] = scene.eve.key.key
    root.signed.roles[SNAPSHOT].keyids = [scene.eve.key.key.keyid]

    with pytest.raises(WrongOnlineKey):
        sign(replace(scene.renewal, root=root.to_bytes()), scene.ada.signatory)


# ---- the centre


@TRICKS
def test_the_centre_refuses_such_a_root_although_enough_people_signed_it(
    scene: Scene, trick: Trick, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, _ = altered(scene, trick)
    before = published(scene.centre)

    with pytest.raises(SignersDiffer):
        scene.centre.publisher.change_root(carelessly_signed(draft, scene.ada), "Mallory")
    assert published(scene.centre) == before
    # The control: nothing but that check is in its way, and then the whole is looked at once more.
    monkeypatch.setattr(root_change, "verify_signers_agree", anything)
    with pytest.raises(SignersDiffer):
        scene.centre.publisher.change_root(carelessly_signed(draft, scene.ada), "Mallory")
    assert careless(scene.centre).change_root(carelessly_signed(draft, scene.ada), "Mallory") == 3


def careless(centre: Centre) -> PolicyPublisher:
    return PolicyPublisher(centre.database, centre.keys, centre.journal, centre.clock, verify_whole=lambda *_: None)


@TRICKS
def test_where_such_a_root_is_published_nobody_signs_a_policy_until_a_renewal_shows_and_ends_it(
    scene: Scene, trick: Trick, modality: Modality
) -> None:
    centre, draft = scene.centre, altered(scene, trick)[0]
    assert scene.ada.signatory.credential is not None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(root_change, "verify_signers_agree", anything)
        careless(centre).change_root(carelessly_signed(draft, scene.ada), "Mallory")

    with pytest.raises(SignersDiffer):
        propose_policy(POLICY, centre.publisher.parts(), scene.ada.signatory.credential, centre.clock)
    with pytest.raises(SignersDiffer):
        centre.publisher.publish(centre.signed(replace(centre.document(), version=4)), "Mallory")
    wish = Wish(threshold=2) if trick is one_is_enough else Wish(remove=("Eve",), of_root=False)
    renewal = propose_root(wish, centre.publisher.parts(), scene.ada.signatory, centre.clock)
    assert any(line.startswith("targets, which say who signs the policies: 2 of 2") for line in tell(renewal))
    change = signed_by(renewal, scene.mallory).change
    assert change is not None
    centre.publisher.change_root(change, "Ada")
    modality.offer_published(centre)
    assert (modality.versions, modality.errors) == ((4, 4), ("", ""))


# ---- the host


@TRICKS
def test_a_host_refuses_such_a_root_and_the_layer_that_one_alone_then_gives_to_herself(
    scene: Scene, trick: Trick, modality: Modality
) -> None:
    before, offer = modality.versions, attack(scene, trick)
    offer(modality)

    assert (modality.versions, modality.errors) == (before, ("MetadataInvalid", "MetadataInvalid"))


@TRICKS
def test_control_a_host_that_does_not_compare_the_signers_takes_her_policy(
    scene: Scene, trick: Trick, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "verify_signers_agree", anything)
    attack(scene, trick)(modality)

    policy = modality.host.store.in_force()
    assert policy is not None
    assert (modality.versions, policy.modalities) == ((4, 4), EVIL)


def attack(scene: Scene, trick: Trick) -> Callable[[Modality], None]:
    """Return what a centre does that is in on it: Ada signed carelessly, the rest is Mallory's keys alone."""
    draft, hers = altered(scene, trick)
    change = carelessly_signed(draft, scene.ada)
    centre, now = scene.centre, scene.centre.clock.now()
    mine = RoleKeys((scene.mallory.key.key,))
    version = parse_role(Targets, change.targets).signed.version + 1
    targets = sign_role(build_targets({ORGANISATION: mine}, version=version, now=now), hers)
    policy = replace(centre.document(), version=4, modalities=EVIL).encode()
    metadata = build_layer(ORGANISATION, policy, version=4, now=now)
    layer = LayerBundle(ORGANISATION, sign_role(metadata, [scene.mallory.signatory.signer]), policy)

    def offer(modality: Modality) -> None:
        modality.offer(
            vouched_for(centre, change.layers[0], root=change.root, targets=change.targets), change.layers[0]
        )
        modality.offer(vouched_for(centre, layer, root=change.root, targets=targets, ahead=2), layer)

    return offer

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, text
from sqlalchemy.orm import sessionmaker
from tuf.api.metadata import Root, TargetFile, Targets

from control_plane.db.models import PolicyMetadata
from control_plane.keys.store import POLICY_ONLINE
from control_plane.policy.authoring import make_root_and_targets
from control_plane.policy.exchange import PolicyParts, Publication, RootChange
from control_plane.policy.publisher import (
    AlreadyEstablished,
    PolicyPublisher,
    RootReplaced,
)
from control_plane.policy.roles import (
    ONLINE_HOLDS_FOR,
    PEOPLE_HOLD_FOR,
    TARGETS,
    RoleKeys,
    build_layer,
    build_root,
    build_targets,
    held_keys,
    key_of,
    parse_role,
    policy_path,
    sign_role,
    signer_of,
    with_signatures,
)
from control_plane.policy.root_change import LayersDiffer
from control_plane.policy.rows import NotEstablished, PolicyRowMissing
from control_plane.policy.together import LayerDocument
from control_plane.policy.verify import (
    CentreKeys,
    ForeignReceiptKey,
    ForeignSealingKey,
    Held,
    LayerNotDelegated,
    MetadataMismatch,
    PolicyExpired,
    PolicyVersionsDiffer,
    PolicyVersionSkipped,
    PolicyVersionTaken,
    SignaturesMissing,
    SignersDiffer,
    WrongOnlineKey,
    verify_head,
    verify_layer,
    verify_publication,
)
from shared.audit.events import Event, Outcome
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fields import encode_base64
from shared.policy.accept import WrongLayer
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, KeyPurpose, PolicyDocument
from shared.sealing.hpke import SealingPrivateKey
from shared.signing import EvidencePublicKey
from tests.control_plane.begun import database_at
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, MemoryJournal, new_centre, new_keys


def new_p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Pushes:
    """A subscriber that remembers, and fails when told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.seen: list[tuple[HeadBundle, tuple[LayerBundle, ...]]] = []
        self.failure = failure

    def __call__(self, head: HeadBundle, layers: tuple[LayerBundle, ...]) -> None:
        self.seen.append((head, layers))
        if self.failure is not None:
            raise self.failure


# ---- what is published


def test_nothing_is_published_before_the_first_publication(centre: Centre) -> None:
    assert centre.publisher.head() is None
    assert centre.publisher.layer(ORGANISATION) is None
    assert centre.publisher.document() is None
    assert centre.publisher.history() == ()
    assert centre.publisher.expiries() == {}
    assert not centre.publisher.refresh_due(centre.clock.now() + PEOPLE_HOLD_FOR)


def test_a_publication_is_there_to_fetch_and_says_what_was_written(centre: Centre) -> None:
    offered = centre.sign()

    assert centre.publisher.publish(offered, PERSON) == 1
    assert centre.publisher.layer(ORGANISATION) == offered.bundle
    assert centre.published_version == 1
    document = centre.publisher.document()
    assert document is not None
    assert (document.modalities, document.default_grade) == (POLICY.modalities, POLICY.grading.default)
    assert set(document.keys) == set(centre.keys.sealing_keys())


def test_a_layer_that_was_never_published_is_not_there(centre: Centre) -> None:
    centre.publish()

    assert centre.publisher.layer("site") is None


def test_history_tells_every_version_with_its_person_and_digest(centre: Centre) -> None:
    centre.publish()
    offered = centre.sign()
    centre.publisher.publish(offered, "Grace")

    first, second = centre.publisher.history()
    assert (first.version, first.person) == (1, PERSON)
    assert (second.version, second.person, second.sha256) == (2, "Grace", sha256(offered.policy).digest())


def test_parts_print_and_parse_unchanged(centre: Centre) -> None:
    for next_version in (1, 2):
        parts = centre.publisher.parts()

        assert PolicyParts.parse(parts.json()) == parts
        assert parts.next_version == next_version
        centre.publish()


def test_publications_print_and_parse_unchanged(centre: Centre) -> None:
    offered = centre.sign()

    assert Publication.parse(offered.json()) == offered


def test_refuses_a_publication_that_brings_targets_along(centre: Centre) -> None:
    """Who signs changes with a root alone, where everybody who signs it can see it."""
    offered = centre.sign()

    with pytest.raises(Malformed, match="targets"):
        Publication.parse({**offered.json(), "targets": encode_base64(centre.publisher.parts().targets)})


def test_a_publication_names_the_person_and_the_version_in_the_audit_log(centre: Centre) -> None:
    centre.publish()

    (happening,) = centre.journal.kept
    assert (happening.event, happening.outcome) == (Event.POLICY_PUBLISHED, Outcome.SUCCESS)
    assert [(who.kind, who.name) for who in happening.who] == [("person", PERSON)]
    assert happening.what[0].name.startswith("organisation version 1 sha256 ")


def test_every_role_holds_for_as_long_as_it_should(centre: Centre) -> None:
    centre.publish()

    now = centre.clock.now().replace(microsecond=0)
    assert centre.publisher.expiries() == {
        "root": now + PEOPLE_HOLD_FOR,
        "targets": now + PEOPLE_HOLD_FOR,
        "organisation": now + PEOPLE_HOLD_FOR,
        "snapshot": now + ONLINE_HOLDS_FOR,
        "timestamp": now + ONLINE_HOLDS_FOR,
    }


# ---- what is refused


def test_refuses_what_another_administrator_published_first(centre: Centre) -> None:
    mine, theirs = centre.sign(), centre.sign(replace(POLICY, pull_every_s=60))
    centre.publisher.publish(theirs, "Grace")

    with pytest.raises(PolicyVersionTaken) as refused:
        centre.publisher.publish(mine, PERSON)
    assert (refused.value.offered, refused.value.held) == (1, 1)
    assert "publish version 2" in str(refused.value)
    assert centre.publisher.layer(ORGANISATION) == theirs.bundle


def edited(centre: Centre, **changes: object) -> PolicyDocument:
    return replace(centre.document(), **changes)  # type: ignore[arg-type]  # the tests name fields that exist


def foreign_sealing_key(centre: Centre) -> Publication:
    foreign = SealingPrivateKey(bytes(32)).public
    keys = (replace(key, key=foreign) if key.purpose is KeyPurpose.DATA else key for key in centre.document().keys)
    return centre.signed(edited(centre, keys=tuple(keys)))


def sealing_key_for_another_purpose(centre: Centre) -> Publication:
    """Index and data key exchanged: the centre holds both, each for the other purpose."""
    data, index, audit = sorted(centre.document().keys, key=lambda key: list(KeyPurpose).index(key.purpose))
    exchanged = (replace(data, key=index.key), replace(index, key=data.key), audit)
    return centre.signed(edited(centre, keys=exchanged))


def expired(centre: Centre) -> Publication:
    centre.clock.pass_time(-PEOPLE_HOLD_FOR)
    offered = centre.signed(centre.document())
    centre.clock.pass_time(PEOPLE_HOLD_FOR)
    return offered


def signed_twice_by_one_key(centre: Centre) -> Publication:
    """Two signatures and one signer: both keys are called by the same name, so only one can be there."""
    offered = centre.signed(centre.document())
    start = offered.metadata.index(b'{"keyid"')
    signature = offered.metadata[start : offered.metadata.index(b"}", start) + 1]
    doubled = offered.metadata.replace(signature, signature + b"," + signature)
    return replace(offered, metadata=doubled)


def with_a_second_target(centre: Centre) -> Publication:
    offered = centre.sign()
    layer = build_layer(ORGANISATION, offered.policy, version=1, now=centre.clock.now())
    layer.targets["organisation/extra.json"] = TargetFile.from_data("organisation/extra.json", b"{}", ["sha256"])
    return replace(offered, metadata=sign_role(layer, [centre.credential.signer]))


def with_a_weak_digest(centre: Centre) -> Publication:
    offered = centre.sign()
    layer = build_layer(ORGANISATION, offered.policy, version=1, now=centre.clock.now())
    path = policy_path(ORGANISATION)
    layer.targets[path] = TargetFile.from_data(path, offered.policy, ["md5"])
    return replace(offered, metadata=sign_role(layer, [centre.credential.signer]))


def with_unsigned_words(centre: Centre) -> Publication:
    offered = centre.sign()
    return replace(offered, metadata=offered.metadata.replace(b'{"signatures"', b'{"remark":"x","signatures"', 1))


def in_another_encoding(centre: Centre) -> Publication:
    offered = centre.sign()
    return replace(offered, metadata=offered.metadata + b"\n")


def snapshot_as_layer(centre: Centre) -> Publication:
    centre.publish()
    head = centre.publisher.head()
    assert head is not None
    return replace(centre.sign(), metadata=head.snapshot)


def edited_after_signing(centre: Centre) -> Publication:
    offered = centre.sign()
    return replace(offered, policy=offered.policy.replace(b"CT1", b"CT2"))


def signature_of_another_document(centre: Centre) -> Publication:
    other = centre.sign(replace(POLICY, pull_every_s=60))
    mine = centre.sign()
    return replace(mine, metadata=other.metadata)


def flipped_signature(centre: Centre) -> Publication:
    offered = centre.sign()
    start = offered.metadata.index(b'"sig":"') + 20
    digit = b"0" if offered.metadata[start : start + 1] != b"0" else b"1"
    return replace(offered, metadata=offered.metadata[:start] + digit + offered.metadata[start + 1 :])


def other_layer_in_the_document(centre: Centre) -> Publication:
    return centre.signed(edited(centre, layer="site"))


def undelegated_layer(centre: Centre) -> Publication:
    document = edited(centre, layer="site")
    layer = build_layer("site", document.encode(), version=1, now=centre.clock.now())
    return Publication("site", sign_role(layer, [centre.credential.signer]), document.encode())


def top_level_name_as_layer(centre: Centre) -> Publication:
    document = edited(centre, layer="snapshot")
    layer = build_layer("snapshot", document.encode(), version=1, now=centre.clock.now())
    return Publication("snapshot", sign_role(layer, [centre.credential.signer]), document.encode())


def foreign_receipt_key(centre: Centre) -> Publication:
    return centre.signed(edited(centre, receipt_key=EvidencePublicKey(new_p256().public_key())))


def without_an_audit_key(centre: Centre) -> Publication:
    kept = tuple(key for key in centre.document().keys if key.purpose is not KeyPurpose.AUDIT)
    return centre.signed(edited(centre, keys=kept))


REFUSALS: list[tuple[Callable[[Centre], Publication], type[Exception]]] = [
    (lambda centre: centre.signed(centre.document(), [new_p256()]), SignaturesMissing),
    (flipped_signature, SignaturesMissing),
    (signed_twice_by_one_key, Malformed),
    (lambda centre: centre.signed(edited(centre, version=2)), PolicyVersionSkipped),
    (lambda centre: centre.signed(edited(centre, version=2), version=1), PolicyVersionsDiffer),
    (edited_after_signing, MetadataMismatch),
    (signature_of_another_document, MetadataMismatch),
    (with_a_weak_digest, MetadataMismatch),
    (with_a_second_target, Malformed),
    (with_unsigned_words, Malformed),
    (in_another_encoding, Malformed),
    (snapshot_as_layer, Malformed),
    (without_an_audit_key, Malformed),
    (other_layer_in_the_document, WrongLayer),
    (undelegated_layer, LayerNotDelegated),
    (top_level_name_as_layer, LayerNotDelegated),
    (foreign_sealing_key, ForeignSealingKey),
    (sealing_key_for_another_purpose, ForeignSealingKey),
    (foreign_receipt_key, ForeignReceiptKey),
    (expired, PolicyExpired),
    (lambda centre: replace(centre.sign(), metadata=b"{}"), Malformed),
    (lambda centre: replace(centre.sign(), metadata=b"[" * 100_000), Malformed),
    (lambda centre: replace(centre.sign(), metadata=b" " * 1_000_000), Malformed),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: getattr(refusal[0], "__name__", ""))
def test_refuses(refusal: tuple[Callable[[Centre], Publication], type[Exception]], centre: Centre) -> None:
    make, expected = refusal
    offered = make(centre)
    before = (centre.publisher.head(), centre.publisher.history())

    with pytest.raises(expected) as refused:
        centre.publisher.publish(offered, PERSON)
    assert isinstance(refused.value, Refused)
    assert (centre.publisher.head(), centre.publisher.history()) == before
    recorded = centre.journal.kept[-1]
    assert (recorded.event, recorded.who[0].name) == (Event.POLICY_REFUSED, PERSON)
    assert recorded.reason == str(refused.value)


def test_a_refused_sealing_key_is_named(centre: Centre) -> None:
    offered = foreign_sealing_key(centre)

    with pytest.raises(ForeignSealingKey, match=str(SealingPrivateKey(bytes(32)).public.key_id)):
        centre.publisher.publish(offered, PERSON)


def test_nothing_is_pushed_when_a_publication_is_refused(centre: Centre) -> None:
    pushes = Pushes()
    centre.publisher.subscribe(pushes)

    with pytest.raises(SignaturesMissing):
        centre.publisher.publish(centre.signed(centre.document(), [new_p256()]), PERSON)
    assert pushes.seen == []


# ---- negative controls: a broken part lets the attack through, so the tests above do test it


def careless(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> PolicyDocument:
    return PolicyDocument.parse(offered.policy)


def test_control_verifiers_that_skip_the_signatures_let_a_forged_layer_through(centre: Centre) -> None:
    journal = MemoryJournal()
    broken = PolicyPublisher(centre.database, centre.keys, journal, centre.clock, careless, lambda *_: None)
    forged = centre.signed(centre.document(), [new_p256()])

    broken.publish(forged, PERSON)

    assert broken.layer(ORGANISATION) == forged.bundle


def test_the_look_at_the_whole_before_the_commit_catches_what_the_first_missed(centre: Centre) -> None:
    broken = PolicyPublisher(centre.database, centre.keys, MemoryJournal(), centre.clock, careless)

    with pytest.raises(SignaturesMissing):
        broken.publish(centre.signed(centre.document(), [new_p256()]), PERSON)
    assert broken.head() is None


def test_control_a_verifier_that_skips_the_keys_lets_a_foreign_key_through(centre: Centre) -> None:
    def trusting(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
        document = PolicyDocument.parse(offered.policy)
        keys = CentreKeys(document.keys, document.receipt_key)
        return verify_publication(offered, held, keys, centre.clock.now())

    broken = PolicyPublisher(centre.database, centre.keys, MemoryJournal(), centre.clock, trusting)

    broken.publish(foreign_sealing_key(centre), PERSON)

    document = broken.document()
    assert document is not None
    assert document.key_for(KeyPurpose.DATA, "restricted") == SealingPrivateKey(bytes(32)).public


# ---- two at once, crashes, pushes


def test_of_two_who_publish_at_once_one_wins_and_the_other_is_told(centre: Centre) -> None:
    mine, theirs = centre.sign(), centre.sign(replace(POLICY, pull_every_s=60))
    barrier, outcomes = threading.Barrier(2), dict[str, object]()

    def publish(publisher: PolicyPublisher, offered: Publication, person: str) -> None:
        barrier.wait()
        try:
            outcomes[person] = publisher.publish(offered, person)
        except Refused as exc:
            outcomes[person] = exc

    # Two publishers share nothing but the database, as two processes do.
    threads = [
        threading.Thread(target=publish, args=(centre.publisher, mine, PERSON)),
        threading.Thread(target=publish, args=(centre.restarted().publisher, theirs, "Grace")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    won = [person for person, outcome in outcomes.items() if outcome == 1]
    lost = [outcome for outcome in outcomes.values() if outcome != 1]
    assert len(won) == 1
    assert [type(outcome) for outcome in lost] == [PolicyVersionTaken]
    assert [(entry.version, entry.person) for entry in centre.publisher.history()] == [(1, won[0])]


def test_who_comes_while_another_publication_is_checked_waits_and_is_refused(centre: Centre) -> None:
    """The race at its narrowest: both have looked at the same version, and one has not committed yet."""
    mine, theirs = centre.sign(), centre.sign(replace(POLICY, pull_every_s=60))
    other, refused = centre.restarted().publisher, list[Refused]()

    def publish_theirs() -> None:
        try:
            other.publish(theirs, "Grace")
        except Refused as exc:
            refused.append(exc)

    thread = threading.Thread(target=publish_theirs)

    def interrupted(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
        thread.start()
        return verify_publication(offered, held, keys, now)

    slow = PolicyPublisher(centre.database, centre.keys, MemoryJournal(), centre.clock, interrupted)

    slow.publish(mine, PERSON)
    thread.join()

    assert [type(exc) for exc in refused] == [PolicyVersionTaken]
    assert other.layer(ORGANISATION) == mine.bundle


def test_a_locked_database_is_unavailable_and_nothing_is_published(centre: Centre) -> None:
    offered = centre.sign()
    with centre.database.begin() as session:
        session.execute(text("PRAGMA busy_timeout=1"))
        session.execute(text("BEGIN IMMEDIATE"))
        short = create_engine(session.get_bind().engine.url, connect_args={"timeout": 0.01})
        publisher = PolicyPublisher(sessionmaker(short), centre.keys, centre.journal, centre.clock)

        with pytest.raises(Unavailable):
            publisher.publish(offered, PERSON)
    short.dispose()
    assert centre.publisher.head() is None
    assert centre.publish() == 1


def test_a_publisher_sees_at_once_what_another_process_published(centre: Centre) -> None:
    centre.publish()
    assert centre.published_version == 1

    centre.restarted().publish()

    assert centre.published_version == 2


def test_a_publication_is_pushed_after_it_can_be_fetched(centre: Centre) -> None:
    fetched = []
    centre.publisher.subscribe(lambda head, _layers: fetched.append(centre.restarted().publisher.head() == head))

    centre.publish()

    assert fetched == [True]


@pytest.mark.parametrize("failure", [Unavailable("no broker"), OSError("cable"), ValueError("a bug")])
def test_a_push_that_fails_neither_undoes_the_publication_nor_stops_other_pushes(
    failure: Exception, centre: Centre, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = Pushes(failure), Pushes()
    centre.publisher.subscribe(failing)
    centre.publisher.subscribe(other)

    assert centre.publish() == 1
    assert centre.restarted().published_version == 1
    assert (len(failing.seen), len(other.seen)) == (1, 1)
    assert [record.message for record in caplog.records if record.name.endswith("publisher")] == ["policy.push-failed"]


class PowerCut(BaseException):
    """Not an Exception, so that nothing of ours gets to tidy up after it."""


class CutJournal(MemoryJournal):
    def record(self, happening: object) -> None:
        raise PowerCut


def test_what_a_crash_left_unrecorded_and_unpushed_is_made_good_at_the_next_start(centre: Centre) -> None:
    offered = centre.sign()
    crashing = PolicyPublisher(centre.database, centre.keys, CutJournal(), centre.clock)
    with pytest.raises(PowerCut):
        crashing.publish(offered, "Grace")

    started, pushes = centre.restarted(), Pushes()
    started.publisher.subscribe(pushes)
    started.publisher.announce()

    assert [layers for _, layers in pushes.seen] == [(offered.bundle,)]
    assert centre.journal.events() == [Event.POLICY_PUBLISHED]
    assert centre.journal.kept[0].who[0].name == "Grace"


def test_what_is_recorded_is_pushed_again_at_a_start_and_not_recorded_again(centre: Centre) -> None:
    centre.publish()
    pushes = Pushes()
    started = centre.restarted()
    started.publisher.subscribe(pushes)

    started.publisher.announce()

    assert len(pushes.seen) == 1
    assert centre.journal.events() == [Event.POLICY_PUBLISHED]


def test_a_crash_before_the_commit_leaves_nothing(centre: Centre) -> None:
    def cut(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> PolicyDocument:
        verify_publication(offered, held, keys, centre.clock.now())
        raise PowerCut

    crashing = PolicyPublisher(centre.database, centre.keys, MemoryJournal(), centre.clock, cut)
    with pytest.raises(PowerCut):
        crashing.publish(centre.sign(), PERSON)

    assert centre.restarted().publisher.head() is None
    assert centre.publish() == 1


def test_a_missing_row_is_named_and_not_papered_over(centre: Centre) -> None:
    centre.publish()
    with centre.database.begin() as session:
        session.execute(delete(PolicyMetadata).where(PolicyMetadata.role == ORGANISATION))

    with pytest.raises(PolicyRowMissing, match="version 1 of policy role organisation"):
        centre.restarted().publisher.head()


# ---- snapshot and timestamp


def test_a_refresh_is_due_long_before_hosts_would_refuse(centre: Centre) -> None:
    centre.publish()

    assert not centre.publisher.refresh_due(centre.clock.now() + timedelta(days=6))
    assert centre.publisher.refresh_due(centre.clock.now() + timedelta(days=8))


def test_a_refresh_renews_what_the_centre_signs_and_nothing_else(centre: Centre) -> None:
    centre.publish()
    before, pushes = centre.publisher.head(), Pushes()
    centre.publisher.subscribe(pushes)
    centre.clock.pass_time(timedelta(days=8))

    centre.publisher.refresh()

    after = centre.publisher.head()
    assert before is not None
    assert after is not None
    assert (after.roots, after.targets) == (before.roots, before.targets)
    assert after.timestamp != before.timestamp
    assert centre.publisher.expiries()["timestamp"] == (centre.clock.now() + ONLINE_HOLDS_FOR).replace(microsecond=0)
    assert not centre.publisher.refresh_due(centre.clock.now())
    assert [head for head, _ in pushes.seen] == [after]
    assert centre.published_version == 1
    assert centre.journal.events() == [Event.POLICY_PUBLISHED]


def test_a_refresh_before_anything_is_published_does_nothing(centre: Centre) -> None:
    centre.publisher.refresh()

    assert centre.publisher.head() is None


def test_the_centre_cannot_prolong_what_people_signed(centre: Centre) -> None:
    centre.publish()
    centre.clock.pass_time(PEOPLE_HOLD_FOR + timedelta(days=1))

    with pytest.raises(PolicyExpired, match="root"):
        centre.publisher.refresh()


def test_an_expired_policy_can_be_followed_by_a_new_one(tmp_path: Path) -> None:
    centre = new_centre(tmp_path)
    centre.clock.pass_time(-timedelta(days=30))
    centre.publish()
    centre.clock.pass_time(PEOPLE_HOLD_FOR)

    assert centre.publish() == 2


# ---- targets


def changed(centre: Centre, targets: bytes) -> RootChange:
    """Return a new root of the same people with `targets`."""
    mine = RoleKeys((centre.credential.signer.public_key,))
    online = RoleKeys((key_of(centre.keys.p256(POLICY_ONLINE).public_key()),))
    root = build_root(root=mine, targets=mine, online=online, version=2, now=centre.clock.now())
    return RootChange(sign_role(root, [centre.credential.signer]), targets, ())


def next_targets(centre: Centre, *layers: str, version: int = 2) -> Targets:
    mine = RoleKeys((centre.credential.signer.public_key,))
    return build_targets(dict.fromkeys(layers, mine), version=version, now=centre.clock.now())


def shadowed_targets(centre: Centre) -> Targets:
    targets = next_targets(centre, "first", ORGANISATION)
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles["first"].paths = ["*/policy.json"]
    return targets


def refused_targets(centre: Centre) -> list[tuple[bytes, type[Exception]]]:
    signer = [centre.credential.signer]
    with_target = next_targets(centre, ORGANISATION)
    path = policy_path(ORGANISATION)
    with_target.targets[path] = TargetFile.from_data(path, b"{}", ["sha256"])
    return [
        (sign_role(next_targets(centre, ORGANISATION), [signer_of(new_p256())]), SignaturesMissing),
        (sign_role(next_targets(centre, ORGANISATION, version=1), signer), PolicyVersionTaken),
        (sign_role(next_targets(centre, ORGANISATION, version=3), signer), PolicyVersionSkipped),
        (sign_role(with_target, signer), Malformed),
        (sign_role(shadowed_targets(centre), signer), LayersDiffer),
        (sign_role(next_targets(centre, "site"), signer), LayersDiffer),
    ]


@pytest.mark.parametrize("case", range(6))
def test_refuses_targets(case: int, centre: Centre) -> None:
    targets, expected = refused_targets(centre)[case]
    before = centre.publisher.parts()

    with pytest.raises(expected):
        centre.publisher.change_root(changed(centre, targets), PERSON)
    assert centre.publisher.parts() == before
    # The control: with what is refused put right, the same root is taken.
    right = sign_role(next_targets(centre, ORGANISATION), [centre.credential.signer])
    assert centre.publisher.change_root(changed(centre, right), PERSON) == 2


def test_refuses_a_layer_that_another_one_stands_in_front_of(centre: Centre) -> None:
    with pytest.raises(LayerNotDelegated):
        verify_layer(shadowed_targets(centre), centre.sign().bundle)
    assert verify_layer(next_targets(centre, "site", ORGANISATION), centre.sign().bundle).version == 1


# ---- the first root


def unestablished(centre: Centre, folder: Path) -> tuple[PolicyPublisher, ec.EllipticCurvePublicKey]:
    database = database_at(folder / "other.sqlite")
    keys = new_keys(database, centre.clock)
    return PolicyPublisher(database, keys, MemoryJournal(), centre.clock), keys.p256(POLICY_ONLINE).public_key()


def test_nothing_can_be_published_before_the_root(centre: Centre, tmp_path: Path) -> None:
    publisher, _ = unestablished(centre, tmp_path)

    for attempt in (publisher.parts, publisher.newest_root, lambda: publisher.publish(centre.sign(), PERSON)):
        with pytest.raises(NotEstablished):
            attempt()


def test_refuses_first_targets_that_fewer_may_sign_than_the_layer(centre: Centre, tmp_path: Path) -> None:
    publisher, online = unestablished(centre, tmp_path)
    people = [signer_of(new_p256()), signer_of(new_p256())]
    root, targets = make_root_and_targets(people, online, centre.clock, threshold=2)
    laxer = parse_role(Root, root)
    laxer.signed.roles[TARGETS].threshold = 1
    laxer.signatures.clear()

    with pytest.raises(SignersDiffer):
        publisher.establish(with_signatures(laxer, people), targets, PERSON)
    publisher.establish(root, targets, PERSON)


def test_a_root_is_never_established_twice(centre: Centre) -> None:
    online = centre.keys.p256(POLICY_ONLINE).public_key()
    root, targets = make_root_and_targets([signer_of(new_p256())], online, centre.clock)

    with pytest.raises(AlreadyEstablished):
        centre.publisher.establish(root, targets, PERSON)


def test_refuses_to_hand_out_a_policy_root_that_was_put_in_the_place_of_the_first(centre: Centre) -> None:
    online = centre.keys.p256(POLICY_ONLINE).public_key()
    theirs, _ = make_root_and_targets([signer_of(new_p256())], online, centre.clock)
    first = centre.publisher.newest_root()
    with centre.database.begin() as session:
        session.get_one(PolicyMetadata, ("root", 1)).metadata_bytes = theirs

    with pytest.raises(RootReplaced):
        centre.publisher.newest_root()
    with centre.database.begin() as session:
        session.get_one(PolicyMetadata, ("root", 1)).metadata_bytes = first
    assert centre.publisher.newest_root() == first


def test_refuses_a_root_that_names_another_online_key(centre: Centre, tmp_path: Path) -> None:
    publisher, _ = unestablished(centre, tmp_path)
    root, targets = make_root_and_targets([signer_of(new_p256())], new_p256().public_key(), centre.clock)

    with pytest.raises(WrongOnlineKey):
        publisher.establish(root, targets, PERSON)


def test_refuses_a_root_below_its_own_threshold(centre: Centre, tmp_path: Path) -> None:
    publisher, online = unestablished(centre, tmp_path)
    people = [signer_of(new_p256()), signer_of(new_p256())]
    root, targets = make_root_and_targets(people, online, centre.clock, threshold=2)
    publisher_root = parse_role(Root, root)
    publisher_root.signatures.popitem()

    with pytest.raises(SignaturesMissing) as refused:
        publisher.establish(publisher_root.to_bytes(), targets, PERSON)
    assert (refused.value.valid, refused.value.needed) == (1, 2)


def test_refuses_targets_of_another_root(centre: Centre, tmp_path: Path) -> None:
    publisher, online = unestablished(centre, tmp_path)
    root, _ = make_root_and_targets([signer_of(new_p256())], online, centre.clock)
    _, targets = make_root_and_targets([signer_of(new_p256())], online, centre.clock)

    with pytest.raises(SignaturesMissing):
        publisher.establish(root, targets, PERSON)


def test_a_threshold_of_two_needs_two_people(centre: Centre, tmp_path: Path) -> None:
    publisher, online = unestablished(centre, tmp_path)
    keys = [new_p256(), new_p256()]
    publisher.establish(
        *make_root_and_targets([signer_of(key) for key in keys], online, centre.clock, threshold=2), PERSON
    )
    parts = publisher.parts()
    document = replace(centre.document(), keys=parts.keys, receipt_key=parts.receipt_key)

    with pytest.raises(SignaturesMissing) as refused:
        publisher.publish(centre.signed(document, keys[:1]), PERSON)
    assert (refused.value.valid, refused.value.needed) == (1, 2)
    assert publisher.publish(centre.signed(document, keys), PERSON) == 1


def test_a_head_with_a_later_root_is_verified_link_by_link(centre: Centre) -> None:
    centre.publish()
    head, layer = centre.publisher.head(), centre.publisher.layer(ORGANISATION)
    assert head is not None
    assert layer is not None
    mine = held_keys(parse_role(Root, head.roots[0]).signed, TARGETS)
    online = RoleKeys((key_of(centre.keys.p256(POLICY_ONLINE).public_key()),))
    now = centre.clock.now()
    second = build_root(root=mine, targets=mine, online=online, version=2, now=now)

    verify_head(replace(head, roots=(*head.roots, sign_role(second, [centre.credential.signer]))), [layer], now)

    with pytest.raises(SignaturesMissing):
        verify_head(replace(head, roots=(*head.roots, sign_role(second, [signer_of(new_p256())]))), [layer], now)
    second.version = 3
    with pytest.raises(PolicyVersionSkipped):
        verify_head(replace(head, roots=(*head.roots, sign_role(second, [centre.credential.signer]))), [layer], now)


# ---- the law


@given(
    offers=st.lists(
        st.tuples(st.integers(min_value=-2, max_value=2), st.booleans(), st.booleans()), min_size=1, max_size=8
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_offered_the_published_version_never_goes_down_and_never_skips(
    centre: Centre, offers: list[tuple[int, bool, bool]]
) -> None:
    for step, genuine, restart in offers:
        before = centre.published_version
        version = max(1, before + step)
        offered = centre.signed(edited(centre, version=version), [] if genuine else [new_p256()])
        publisher = centre.restarted().publisher if restart else centre.publisher
        try:
            publisher.publish(offered, PERSON)
        except (Refused, IntegrityFailure):
            expected = before
        else:
            expected = before + 1
            assert genuine
            assert version == before + 1

        assert centre.published_version == expected
    assert [entry.version for entry in centre.publisher.history()] == list(
        range(1, len(centre.publisher.history()) + 1)
    )

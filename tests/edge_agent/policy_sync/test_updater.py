"""Policy: verified, accepted, in force; and whatever a broker does, the accepted version never goes down."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.policy_sync.updater import PolicyUpdater
from shared.audit.events import Event
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from tests.fakes.host import Host
from tests.fakes.signers import PolicySigners, document


class Bench:
    """A host and the people who sign its policies."""

    def __init__(self, folder: Path, signers: PolicySigners | None = None) -> None:
        self.host = Host(folder)
        self.signers = signers or PolicySigners()
        self.missing = 0
        self.current: list[tuple[bytes, bytes]] = []
        self.start()

    def start(self) -> None:
        self.updater = PolicyUpdater(
            trust_folder=self.host.folder / "policy",
            policy_root=self.signers.root,
            host_id=self.host.host_id,
            store=self.host.store,
            journal=self.host.journal,
            database=self.host.database,
            log=self.host.log,
            on_layer_missing=self.count_missing,
            on_current=lambda head, layers: self.current.append((head, layers[ORGANISATION])),
            self_check=self.check,
        )

    def check(self, policy: PolicyDocument) -> None:
        """Pass whatever comes."""

    def count_missing(self) -> None:
        self.missing += 1

    def restart(self) -> None:
        self.host.restart()
        self.start()

    def publish(self, version: int, ae_title: str = "CT1") -> tuple[bytes, bytes]:
        policy = document(version, self.host.keys, self.host.receipts.public, (ae_title,)).encode()
        head, layer = self.signers.publish(policy, version)
        return head.encode(), layer.encode()

    def offer(self, head: bytes, layer: bytes) -> None:
        self.updater.offer_layer(layer)
        self.updater.offer_head(head)

    def version(self) -> int:
        policy = self.host.store.in_force()
        return policy.version if policy else 0

    def held(self) -> int:
        held = self.host.store.held().get(ORGANISATION)
        return held.version if held else 0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "host")


def test_a_signed_policy_comes_in_force_and_is_recorded(bench: Bench) -> None:
    bench.offer(*bench.publish(1))

    assert (bench.version(), bench.updater.error) == (1, "")
    assert bench.host.events() == [Event.POLICY_ACCEPTED]


def test_the_order_of_arrival_does_not_matter(bench: Bench) -> None:
    head, layer = bench.publish(1)
    bench.updater.offer_head(head)
    before = (bench.version(), bench.missing)
    bench.updater.offer_layer(layer)

    assert before == (0, 1)
    assert (bench.version(), bench.updater.error) == (1, "")


def test_the_same_offer_again_changes_and_records_nothing(bench: Bench) -> None:
    bundles = bench.publish(1)
    for _ in range(3):
        bench.offer(*bundles)
    bench.restart()
    bench.offer(*bundles)

    assert bench.host.events() == [Event.POLICY_ACCEPTED]


def test_a_newer_policy_replaces_it(bench: Bench) -> None:
    bench.offer(*bench.publish(1, "CT1"))
    bench.offer(*bench.publish(2, "CT2"))

    policy = bench.host.store.in_force()
    assert policy is not None
    assert (policy.version, policy.allows("CT2"), policy.allows("CT1")) == (2, True, False)


def lose_cache(bench: Bench) -> None:
    shutil.rmtree(bench.host.folder / "policy")
    bench.restart()


@pytest.mark.parametrize("between", [lambda _: None, Bench.restart, lose_cache])
def test_refuses_a_replayed_older_policy(bench: Bench, between: Callable[[Bench], None]) -> None:
    old = bench.publish(1)
    bench.offer(*old)
    bench.offer(*bench.publish(2))
    between(bench)
    for _ in range(2):
        bench.offer(*old)

    assert bench.version() == 2
    assert bench.updater.error == "PolicyRollback: policy version 1 is older than version 2, which is accepted here"
    assert bench.host.events() == [Event.POLICY_ACCEPTED, Event.POLICY_ACCEPTED, Event.POLICY_REFUSED]
    assert bench.host.records()[2].reason == bench.updater.error


@pytest.mark.parametrize("between", [lambda _: None, Bench.restart, lose_cache])
def test_refuses_an_older_head_beside_the_newest_layer(bench: Bench, between: Callable[[Bench], None]) -> None:
    old_head, _ = bench.publish(1)
    head, layer = bench.publish(2)
    bench.offer(head, layer)
    between(bench)
    bench.offer(old_head, layer)

    assert bench.version() == 2
    assert bench.updater.error.startswith("PolicyRollback")


def test_refuses_an_older_head_over_the_same_policy(bench: Bench) -> None:
    head, layer = bench.publish(1)
    bundle = LayerBundle.parse(layer)
    newer = bench.signers.head(bundle.metadata, 1).encode()
    bench.offer(newer, layer)
    bench.updater.offer_head(head)

    assert bench.updater.error.startswith("MetadataRollback")


def test_refuses_two_stories_under_one_version(bench: Bench) -> None:
    bench.offer(*bench.publish(1, "CT1"))
    bench.offer(*bench.publish(1, "EVIL"))

    policy = bench.host.store.in_force()
    assert policy is not None
    assert policy.allows("CT1")
    assert bench.updater.error.startswith("PolicyEquivocation")


def test_refuses_a_policy_that_strangers_signed(bench: Bench, tmp_path: Path) -> None:
    bench.offer(*Bench(tmp_path / "stranger").publish(1))

    assert bench.version() == 0
    assert bench.updater.error.startswith("PolicyNotSigned")


def test_a_layer_signed_by_the_online_key_alone_is_refused(bench: Bench) -> None:
    thief = PolicySigners(person=bench.signers.online, online=bench.signers.online)
    policy = document(1, bench.host.keys, bench.host.receipts.public).encode()
    head, layer = thief.publish(policy, 1)
    bench.offer(replace(head, targets=bench.signers.targets, roots=(bench.signers.root,)).encode(), layer.encode())

    assert bench.version() == 0
    assert bench.host.events() == [Event.POLICY_REFUSED]


def test_an_expired_offer_is_refused_and_what_is_in_force_stays(bench: Bench) -> None:
    bench.offer(*bench.publish(1))
    bench.signers.lasts = timedelta(days=-1)
    bench.offer(*bench.publish(2))

    assert bench.version() == 1
    assert bench.updater.error.startswith("PolicyExpired")


def test_a_policy_past_its_expiry_keeps_capturing_also_after_a_restart(bench: Bench) -> None:
    bench.offer(*bench.publish(1))
    bench.signers.lasts = timedelta(days=-1)
    expired = bench.signers.head(LayerBundle.parse(bench.publish(1)[1]).metadata, 1)
    bench.updater.offer_head(expired.encode())
    bench.restart()
    bench.updater.offer_head(expired.encode())

    assert bench.version() == 1
    bench.host.capture()
    assert bench.host.spool.waiting() == 1


@pytest.mark.parametrize("damage", ["garbage", "folder", "file", "gone"])
def test_a_damaged_tuf_cache_is_rebuilt_and_still_refuses_a_rollback(bench: Bench, damage: str) -> None:
    old = bench.publish(1)
    bench.offer(*old)
    bench.offer(*bench.publish(2))
    trust = bench.host.folder / "policy"
    if damage == "garbage":
        for path in trust.rglob("*.json"):
            path.write_bytes(b"\x00garbage")
    elif damage == "folder":
        (trust / "timestamp.json").unlink()
        (trust / "timestamp.json").mkdir()
    else:
        shutil.rmtree(trust)
        if damage == "file":
            trust.write_bytes(b"not a folder")
    bench.restart()
    bench.offer(*old)
    after_replay = bench.version()
    bench.offer(*bench.publish(3))

    assert (after_replay, bench.version()) == (2, 3)


def test_altered_stored_bytes_are_not_used_and_the_version_is_still_held(bench: Bench) -> None:
    old, newest = bench.publish(1), bench.publish(2, "CT1")
    bench.offer(*old)
    bench.offer(*newest)
    evil = document(2, bench.host.keys, bench.host.receipts.public, ("EVIL",)).encode()
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE accepted_policy SET document = ? WHERE version = 2", (evil,))
    bench.restart()
    in_force_after_damage = bench.version()
    bench.offer(*old)
    after_replay = bench.version()
    bench.offer(*newest)

    assert (in_force_after_damage, after_replay, bench.version()) == (0, 0, 2)
    bench.restart()
    assert bench.version() == 2


def test_a_policy_that_does_not_parse_is_refused_whole(bench: Bench) -> None:
    head, layer = bench.signers.publish(b'{"v":1}', 1)
    bench.offer(head.encode(), layer.encode())

    assert bench.version() == 0
    assert bench.updater.error.startswith("Malformed")


def test_a_policy_of_another_layer_is_refused(bench: Bench) -> None:
    policy = replace(document(1, bench.host.keys, bench.host.receipts.public), layer="site")
    head, layer = bench.signers.publish(policy.encode(), 1)
    bench.offer(head.encode(), layer.encode())

    assert bench.updater.error.startswith("WrongLayer")


@pytest.mark.parametrize("noise", [b"", b"{}", b"\xff" * 100, b'{"v":1,"kind":"head"}'])
def test_noise_is_refused_and_harms_nothing(bench: Bench, noise: bytes) -> None:
    bench.offer(*bench.publish(1))
    bench.updater.offer_head(noise)
    bench.updater.offer_layer(noise)

    assert bench.version() == 1
    assert bench.updater.error.startswith("Malformed")
    bench.offer(*bench.publish(2))
    assert (bench.version(), bench.updater.error) == (2, "")


def test_a_forged_layer_cannot_keep_the_true_one_out(bench: Bench, tmp_path: Path) -> None:
    head, layer = bench.publish(1)
    _, forged = Bench(tmp_path / "stranger").publish(1)
    bench.updater.offer_head(head)
    bench.updater.offer_layer(forged)
    asked_again = bench.missing
    bench.updater.offer_layer(layer)

    assert asked_again == 2
    assert bench.version() == 1


def test_a_flood_of_forgeries_does_not_fill_the_journal(bench: Bench) -> None:
    bench.offer(*bench.publish(1))
    for n in range(200):
        bench.updater.offer_head(b"forgery %d" % n)

    assert bench.host.events().count(Event.POLICY_REFUSED) == 64


def test_a_power_cut_before_the_switch_leaves_the_former_policy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.offer(*bench.publish(1))
    newest = bench.publish(2)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.host.journal, "record", cut)
    with pytest.raises(KeyboardInterrupt):
        bench.offer(*newest)
    bench.restart()

    assert bench.version() == 1
    bench.offer(*newest)
    assert bench.version() == 2


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_arrives_the_accepted_version_never_goes_down(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(tmp_path_factory.mktemp("law") / "host")
    offers = [bench.publish(version) for version in (1, 2, 3)]
    heads = [head for head, _ in offers] + [b"noise"]
    layers = [layer for _, layer in offers] + [b"noise"]
    held = 0
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(["head", "layer", "restart", "lose cache"]))
        if step == "head":
            bench.updater.offer_head(data.draw(st.sampled_from(heads)))
        elif step == "layer":
            bench.updater.offer_layer(data.draw(st.sampled_from(layers)))
        elif step == "restart":
            bench.restart()
        elif (bench.host.folder / "policy").exists():
            lose_cache(bench)

        assert bench.version() >= held
        held = bench.version()
    bench.host.database.close()


def test_a_root_that_the_people_rotated_is_followed(bench: Bench) -> None:
    bench.offer(*bench.publish(1))
    head, layer = bench.publish(2)
    with_unknown_root = HeadBundle.parse(head)
    bench.offer(replace(with_unknown_root, roots=(*with_unknown_root.roots, b"{}")).encode(), layer)

    # A root that says nothing of itself is never asked for.
    assert bench.version() == 2


# ---- for whoever verifies them for themselves


def test_bundles_that_hold_are_handed_on_as_they_came(bench: Bench) -> None:
    first, second = bench.publish(1), bench.publish(2)
    bench.offer(*first)
    bench.offer(*second)

    assert bench.current == [first, second]


def test_a_fresher_head_over_the_same_policy_is_handed_on_too(bench: Bench) -> None:
    policy = document(1, bench.host.keys, bench.host.receipts.public).encode()
    first, second = (bench.signers.publish(policy, 1) for _ in range(2))
    bench.offer(first[0].encode(), first[1].encode())
    bench.offer(second[0].encode(), second[1].encode())

    assert [head for head, _ in bench.current] == [first[0].encode(), second[0].encode()]


def test_after_a_restart_what_came_again_is_handed_on_again(bench: Bench) -> None:
    offered = bench.publish(1)
    bench.offer(*offered)
    bench.restart()
    bench.offer(*offered)

    assert bench.current == [offered, offered]


def test_what_is_refused_is_never_handed_on(bench: Bench, tmp_path: Path) -> None:
    older = bench.publish(1)
    newer = bench.publish(2)
    bench.offer(*newer)
    bench.offer(*older)
    bench.offer(*Bench(tmp_path / "stranger").publish(3))
    bench.offer(b"{}", b"{}")

    assert bench.current == [newer]

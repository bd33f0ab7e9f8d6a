"""A host takes all its layers or none, and each layer's accepted version never goes down."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.policy_sync.verification import PolicyVerification
from shared.audit.events import Event, Outcome
from shared.policy.accept import PolicyRollback
from shared.policy.bundle import HeadBundle
from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import ELSEWHERE, LAYERS, SITE, TYPE, LayeredBench, Publisher, State


@pytest.fixture
def bench(tmp_path: Path) -> LayeredBench:
    return LayeredBench(tmp_path / "host")


def names(bench: LayeredBench, number: int = -1) -> list[str]:
    return [subject.name for subject in bench.host.records()[number].what]


# ---- together


def test_all_layers_come_in_force_together_and_are_one_record(bench: LayeredBench) -> None:
    bench.begin()

    assert bench.acts_by() == bench.held() == dict.fromkeys(LAYERS, 1)
    assert bench.ae_titles() == ["ORGANISATI 1", "MODALITY-C 1", "SITE-NORTH 1"]
    assert bench.host.events() == [Event.POLICY_ACCEPTED]
    assert names(bench) == ["organisation 1", "modality-ct 1", "site-north 1"]


def test_nothing_is_in_force_before_the_last_layer_has_come(bench: LayeredBench) -> None:
    for layer in LAYERS:
        bench.sign(layer, 1)
    bench.updater.offer_head(bench.publisher.head())
    seen = []
    for layer in LAYERS:
        seen.append((bench.acts_by(), bench.missing))
        bench.updater.offer_layer(bench.publisher.bundles[layer].encode())

    assert seen == [({}, 1), ({}, 2), ({}, 3)], "each layer that is missing is asked for"
    assert bench.acts_by() == dict.fromkeys(LAYERS, 1)
    assert bench.updater.error == ""


def test_a_part_that_says_nothing_yet_is_not_waited_for(bench: LayeredBench) -> None:
    bench.begin(ORGANISATION)
    before = bench.acts_by()
    bench.sign(SITE, 1)
    bench.pull()

    assert (before, bench.acts_by()) == ({ORGANISATION: 1}, {ORGANISATION: 1, SITE: 1})
    assert names(bench) == ["site-north 1"]


def test_all_bundles_are_handed_on_together_and_only_those_that_hold(bench: LayeredBench) -> None:
    bench.sign(ORGANISATION, 1)
    bench.sign(SITE, 1)
    head = bench.publisher.head()
    bench.sign(TYPE, 1)
    bench.pull(head)

    layers = {layer: bench.publisher.bundles[layer].encode() for layer in (ORGANISATION, SITE)}
    assert bench.current == [(head, layers)]


# ---- or not at all


def not_a_policy(bench: LayeredBench) -> None:
    bench.publisher.sign(SITE, 2, b'{"v":1}')


def of_another_layer(bench: LayeredBench) -> None:
    bench.publisher.sign(SITE, 2, bench.policy(ELSEWHERE, 2))


def not_together_with_the_organisation_s(bench: LayeredBench) -> None:
    bench.sign(SITE, 2, ae_title="ORGANISATI 2")


@pytest.mark.parametrize(
    "spoil, said",
    [
        (not_a_policy, r"Malformed: .*layer site-north"),
        (of_another_layer, r"WrongLayer: .*site-south, expected site-north"),
        (not_together_with_the_organisation_s, r"Malformed: .*organisation 2 and modality-ct 1 and site-north 2"),
    ],
)
def test_a_policy_that_is_invalid_in_one_layer_changes_nothing_in_any(
    bench: LayeredBench, spoil: Callable[[LayeredBench], None], said: str
) -> None:
    bench.begin()
    before = bench.state()
    bench.sign(ORGANISATION, 2)
    spoil(bench)
    bench.pull()

    assert bench.state() == before
    assert re.match(said, bench.updater.error)
    assert bench.host.events() == [Event.POLICY_ACCEPTED, Event.POLICY_REFUSED]
    bench.restart()
    assert bench.state() == before


def test_control_the_same_policy_of_the_organisation_is_accepted_beside_a_valid_one(bench: LayeredBench) -> None:
    bench.begin()
    bench.sign(ORGANISATION, 2)
    bench.sign(SITE, 2)
    bench.pull()

    assert bench.acts_by() == {ORGANISATION: 2, TYPE: 1, SITE: 2}


def test_a_part_that_this_host_cannot_act_by_keeps_the_whole_before_it_in_force_and_is_named(
    bench: LayeredBench,
) -> None:
    bench.begin()
    bench.sign(SITE, 2, ae_title="BAD")
    bench.pull()

    assert bench.held() == {ORGANISATION: 1, TYPE: 1, SITE: 2}
    assert bench.acts_by() == dict.fromkeys(LAYERS, 1)
    assert bench.updater.error.startswith("site-north 2 failed its self-check here, site-north 1 goes on: Lacking")
    assert names(bench) == ["site-north 2"]
    assert bench.host.records()[-1].outcome is Outcome.SERIOUS_FAILURE
    bench.restart()
    assert bench.acts_by() == dict.fromkeys(LAYERS, 1)

    bench.sign(SITE, 3)
    bench.pull()
    assert (bench.acts_by(), bench.updater.error) == ({ORGANISATION: 1, TYPE: 1, SITE: 3}, "")


# ---- attacks


def test_refuses_the_layer_of_another_site(bench: LayeredBench) -> None:
    bench.begin()
    before = bench.state()
    bench.publisher.sign(ELSEWHERE, 1, bench.policy(ELSEWHERE, 1))
    bench.updater.offer_layer(bench.publisher.bundles[ELSEWHERE].encode())

    assert bench.updater.error == (
        "WrongLayer: policy is for layer site-south, expected organisation or modality-ct or site-north"
    )
    assert bench.host.events() == [Event.POLICY_ACCEPTED, Event.POLICY_REFUSED]
    assert bench.state() == before
    bench.pull()
    assert (bench.state(), bench.updater.error) == (before, ""), "a head that names it is no matter of this host's"


def test_control_a_host_of_that_site_takes_it(tmp_path: Path) -> None:
    bench = LayeredBench(tmp_path / "host", layers=(ORGANISATION, ELSEWHERE))
    bench.begin()

    assert bench.acts_by() == {ORGANISATION: 1, ELSEWHERE: 1}


@pytest.mark.parametrize("between", [lambda _: None, LayeredBench.restart, LayeredBench.lose_cache])
def test_refuses_an_older_version_of_a_part_beside_the_newest_of_the_others(
    bench: LayeredBench, between: Callable[[LayeredBench], None]
) -> None:
    bench.begin()
    old = bench.publisher.bundles[SITE]
    bench.sign(SITE, 2)
    bench.pull()
    before = bench.state()
    between(bench)
    bench.publisher.bundles[SITE] = old
    bench.sign(ORGANISATION, 2)
    bench.pull()

    assert bench.updater.error.startswith("PolicyRollback: policy version 1 of layer site-north is older than ")
    assert bench.state() == before


@pytest.mark.parametrize("between", [lambda _: None, LayeredBench.restart, LayeredBench.lose_cache])
def test_refuses_a_head_from_which_a_part_was_withdrawn(
    bench: LayeredBench, between: Callable[[LayeredBench], None]
) -> None:
    bench.begin()
    before = bench.state()
    between(bench)
    bench.pull(bench.publisher.head(without=SITE))

    refused = "PolicyRollback" if between is LayeredBench.lose_cache else "MetadataInvalid"  # TUF notices it first
    assert bench.updater.error.startswith(refused)
    assert bench.state() == before
    assert bench.host.events()[-1] is Event.POLICY_REFUSED


def test_control_without_what_is_held_a_part_is_withdrawn_once_tuf_s_cache_is_lost(
    bench: LayeredBench, tmp_path: Path
) -> None:
    bench.begin()
    head = HeadBundle.parse(bench.publisher.head(without=SITE))
    verification = PolicyVerification(
        layers=LAYERS, host=bench.host.host_id, folder=tmp_path / "lost", root=bench.publisher.root
    )

    assert [each.layer for each in verification.verify(head, bench.publisher.bundles, {})] == [ORGANISATION, TYPE]
    with pytest.raises(PolicyRollback):
        verification.verify(head, bench.publisher.bundles, bench.host.store.held())


def test_refuses_two_stories_under_one_version_of_a_part(bench: LayeredBench) -> None:
    bench.begin()
    before = bench.state()
    bench.lose_cache()
    bench.sign(SITE, 1, ae_title="EVIL")
    bench.pull()

    assert bench.updater.error.startswith("PolicyEquivocation: policy version 1 of layer site-north")
    assert bench.state() == before


def test_refuses_layers_that_strangers_signed(bench: LayeredBench) -> None:
    bench.begin()
    before = bench.state()
    ours, bench.publisher = bench.publisher, Publisher()
    for layer in LAYERS:
        bench.sign(layer, 2)
    bench.pull()

    assert bench.updater.error.startswith("PolicyNotSigned")
    assert bench.state() == before
    bench.publisher = ours
    bench.sign(ORGANISATION, 2)
    bench.pull()
    assert bench.acts_by() == {ORGANISATION: 2, TYPE: 1, SITE: 1}


# ---- what is on the disk


@pytest.mark.parametrize("layer", LAYERS)
def test_altered_stored_bytes_of_any_layer_are_not_used_and_every_version_is_still_held(
    bench: LayeredBench, layer: str
) -> None:
    bench.begin()
    old = bench.publisher.head()
    bench.sign(layer, 2)
    bench.pull()
    before = bench.state()
    evil = bench.policy(layer, 2, "EVIL")
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE accepted_policy SET document = ? WHERE layer = ? AND version = 2", (evil, layer))
    bench.restart()
    damaged = bench.state()
    bench.updater.offer_head(old)
    replayed = bench.state()
    bench.pull()

    nothing: State = (before[0], {}, [])
    assert (damaged, replayed, bench.state()) == (nothing, nothing, before)
    bench.restart()
    assert bench.state() == before


def spoil(bench: LayeredBench, layer: str, version: int) -> None:
    with bench.host.database.transaction() as connection:
        connection.execute(
            "UPDATE accepted_policy SET document = x'00' WHERE layer = ? AND version = ?", (layer, version)
        )


@pytest.mark.parametrize("is_offered_again", [True, False])
def test_what_is_damaged_beneath_a_policy_that_failed_here_is_mended_too(
    bench: LayeredBench, is_offered_again: bool
) -> None:
    bench.begin()
    bench.sign(ORGANISATION, 2, ae_title="BAD")
    bench.pull()
    before, error = bench.state(), bench.updater.error
    spoil(bench, SITE, 1)
    bench.restart()
    damaged = bench.acts_by()
    if is_offered_again:
        bench.pull()
        assert (bench.state(), bench.updater.error) == (before, error)
    bench.restart()

    assert damaged == {}
    assert (bench.state() == before) is is_offered_again, "control: nothing else mends it"


def test_what_is_mended_is_in_force_at_once_as_it_is_after_a_restart(bench: LayeredBench) -> None:
    bench.begin()
    bench.check = lambda policy: None  # type: ignore[method-assign]
    bench.start()
    bench.sign(ORGANISATION, 2, ae_title="BAD")
    bench.pull()
    before = bench.state()
    spoil(bench, ORGANISATION, 2)
    del bench.check
    bench.restart()
    bench.pull()
    mended = bench.state()
    bench.restart()

    assert (mended, bench.state()) == (before, before)


def test_what_is_offered_while_nothing_is_in_force_and_fails_leaves_what_a_restart_has(bench: LayeredBench) -> None:
    bench.begin()
    before = bench.acts_by()
    spoil(bench, SITE, 1)
    bench.restart()
    damaged = bench.acts_by()
    bench.sign(ORGANISATION, 2, ae_title="BAD")
    bench.pull()
    failed = bench.acts_by()
    bench.restart()

    assert (damaged, failed, bench.acts_by()) == ({}, before, before)


@pytest.mark.parametrize("layers", [(ORGANISATION,), (ORGANISATION, SITE), (ORGANISATION, "modality-mr", SITE)])
def test_a_host_whose_parts_were_changed_goes_on_by_those_that_are_still_its(
    bench: LayeredBench, layers: tuple[str, ...]
) -> None:
    bench.begin()
    bench.host.layers = layers
    bench.restart()
    at_start = bench.acts_by()
    bench.pull()

    kept = {layer: 1 for layer in layers if layer in LAYERS}
    assert (at_start, bench.acts_by(), bench.updater.error) == (kept, kept, "")


def test_a_damaged_set_is_not_used_and_is_made_anew(bench: LayeredBench) -> None:
    bench.begin()
    before = bench.state()
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE policy_set SET versions = 'no JSON'")
    bench.restart()
    damaged = bench.state()
    bench.pull()

    assert (damaged, bench.state()) == ((before[0], {}, []), before)

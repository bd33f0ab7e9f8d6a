"""The pull over HTTPS, which makes good whatever a broker does not bring."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_identity
from edge_agent.https import DoorUnavailable, HttpsDoor, verified_context
from edge_agent.parts import Bell
from edge_agent.policy_sync.hints import Hearing, Hints
from edge_agent.policy_sync.pull import PolicyNotCurrent, PolicyPull, PolicyPuller
from edge_agent.policy_sync.updater import PolicyUpdater
from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import LAYERS, SITE, TYPE, LayeredBench
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.threads import in_thread


@pytest.fixture
def host(enrolled: AgentFolder, tmp_path: Path) -> Host:
    return Host(tmp_path / "host", host_id=load_identity(enrolled).config.host_id)


@pytest.fixture
def updater(host: Host, centre: Centre) -> PolicyUpdater:
    return PolicyUpdater(
        trust_folder=host.folder / "policy",
        policy_root=centre.signers.root,
        host_id=host.host_id,
        store=host.store,
        journal=host.journal,
        database=host.database,
        log=host.log,
    )


@pytest.fixture
def puller(host: Host, enrolled: AgentFolder, updater: PolicyUpdater) -> Iterator[PolicyPuller]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield PolicyPuller(door, (ORGANISATION,), updater, policy=host.store.in_force, log=host.log, bell=Bell())
    door.close()


def version(host: Host) -> int:
    policy = host.store.in_force()
    return policy.version if policy else 0


def test_nothing_published_is_no_error(host: Host, puller: PolicyPuller) -> None:
    puller.pull()

    assert version(host) == 0


def test_what_is_published_comes_in_force(centre: Centre, host: Host, puller: PolicyPuller) -> None:
    centre.publish(1)
    puller.pull()
    first = version(host)
    centre.publish(2)
    puller.pull()

    assert (first, version(host)) == (1, 2)


@pytest.fixture
def pull(host: Host, enrolled: AgentFolder, updater: PolicyUpdater) -> Iterator[PolicyPull]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield PolicyPull(door, (ORGANISATION,), updater)
    door.close()


def test_what_is_refreshed_is_current_only_where_the_head_was_taken(
    centre: Centre, host: Host, pull: PolicyPull
) -> None:
    centre.publish(1)
    pull.refresh()
    centre.head = b"no head"
    with pytest.raises(PolicyNotCurrent):
        pull.refresh()
    with pytest.raises(PolicyNotCurrent):
        pull.refresh()
    centre.publish(2)
    pull.refresh()

    assert version(host) == 2


def test_what_a_broker_spoiled_is_mended_by_a_refresh(
    centre: Centre, host: Host, pull: PolicyPull, updater: PolicyUpdater
) -> None:
    centre.publish(1)
    pull.refresh()
    updater.offer_head(b"no head")
    spoiled = updater.refused
    pull.refresh()

    assert (bool(spoiled), updater.refused) == (True, "")


def test_without_an_answer_nothing_is_current(centre: Centre, pull: PolicyPull) -> None:
    centre.publish(1)
    centre.stop()

    with pytest.raises(PolicyNotCurrent):
        pull.refresh()


def test_what_has_not_changed_is_not_sent_again(
    centre: Centre, host: Host, puller: PolicyPuller, updater: PolicyUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre.publish(1)
    puller.pull()
    offered: list[bytes] = []
    monkeypatch.setattr(updater, "offer", lambda head, layers: offered.extend([*layers, *([head] if head else [])]))
    puller.pull()

    assert offered == []
    centre.publish(2)
    puller.pull()
    assert offered == [centre.layer, centre.head], "control: what has changed is"


def test_after_a_refused_offer_the_true_bundles_are_fetched_again(
    centre: Centre, host: Host, puller: PolicyPuller, updater: PolicyUpdater
) -> None:
    centre.publish(1)
    puller.pull()
    updater.offer_head(b"forgery")
    refused = updater.error
    puller.pull()

    assert refused
    assert (updater.error, version(host)) == ("", 1)


def test_a_centre_that_serves_an_older_policy_is_refused(centre: Centre, host: Host, puller: PolicyPuller) -> None:
    older = centre.publish(1)
    centre.publish(2)
    puller.pull()
    centre.head, centre.layer = older
    puller.pull()

    assert version(host) == 2


def test_a_centre_that_does_not_answer_changes_nothing(centre: Centre, host: Host, puller: PolicyPuller) -> None:
    centre.publish(1)
    puller.pull()
    centre.stop()
    try:
        with pytest.raises(DoorUnavailable):
            puller.pull()
    finally:
        centre.start()
    assert version(host) == 1


def test_a_host_that_loses_its_broker_asks_at_once_and_not_when_it_would_have(
    centre: Centre, host: Host, enrolled: AgentFolder, updater: PolicyUpdater
) -> None:
    bell = Bell()
    hints = Hints(on_lost=bell.ring)
    hints.subscribed()
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    puller = PolicyPuller(
        door, (ORGANISATION,), updater, policy=lambda: centre.policy(1), log=host.log, bell=bell, hints=hints,
        spread=lambda: 0.0,
    )  # fmt: skip
    with in_thread(puller, bell.ring):
        centre.wait_for(lambda: centre.requests.count("GET /api/v1/policy/head") == 1)
        hints.lost()
        centre.wait_for(lambda: centre.requests.count("GET /api/v1/policy/head") == 2)

    assert centre.policy(1).pull_every_s > 10


def test_a_first_policy_that_no_broker_told_of_shows_a_silent_one(
    centre: Centre, host: Host, enrolled: AgentFolder, updater: PolicyUpdater
) -> None:
    hints = Hints()
    hints.subscribed()
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    puller = PolicyPuller(
        door, (ORGANISATION,), updater, policy=host.store.in_force, log=host.log, bell=Bell(), hints=hints
    )
    puller.pull()
    before = hints.state
    centre.publish(1)
    puller.pull()
    door.close()

    assert (before, hints.state, version(host)) == (Hearing.HEARING, Hearing.SILENT, 1)


# ---- several layers


@pytest.fixture
def layered(tmp_path: Path) -> LayeredBench:
    return LayeredBench(tmp_path / "layered")


@pytest.fixture
def pull_of_layers(layered: LayeredBench, enrolled: AgentFolder) -> Iterator[PolicyPull]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield PolicyPull(door, LAYERS, layered.updater)
    door.close()


def serve(centre: Centre, bench: LayeredBench) -> None:
    bundles = {layer: bundle.encode() for layer, bundle in bench.publisher.bundles.items()}
    centre.head, centre.layer = bench.publisher.head(), bundles.pop(ORGANISATION)
    centre.parts = bundles


def test_every_layer_is_pulled_before_the_head_and_one_that_says_nothing_yet_is_no_error(
    centre: Centre, layered: LayeredBench, pull_of_layers: PolicyPull
) -> None:
    layered.sign(ORGANISATION, 1)
    layered.sign(SITE, 1)
    serve(centre, layered)
    centre.requests.clear()
    pull_of_layers.refresh()
    first = layered.acts_by()
    layered.sign(TYPE, 1)
    serve(centre, layered)
    pull_of_layers.refresh()

    layers = [f"GET /api/v1/policy/layers/{layer}" for layer in LAYERS]
    assert centre.requests == [*layers, "GET /api/v1/policy/head"] * 2
    assert (first, layered.acts_by()) == ({ORGANISATION: 1, SITE: 1}, dict.fromkeys(LAYERS, 1))


def test_a_part_that_a_head_names_and_that_no_broker_brought_is_pulled(
    centre: Centre, layered: LayeredBench, pull_of_layers: PolicyPull
) -> None:
    layered.begin()
    serve(centre, layered)
    pull_of_layers.refresh()
    layered.sign(SITE, 2)
    serve(centre, layered)
    layered.updater.offer_head(centre.head)
    before = layered.missing, layered.acts_by()
    pull_of_layers.refresh()

    assert before == (1, dict.fromkeys(LAYERS, 1))
    assert layered.acts_by() == {ORGANISATION: 1, TYPE: 1, SITE: 2}


def test_a_head_that_waits_is_not_hidden_by_the_one_that_was_accepted_before_it(
    centre: Centre, layered: LayeredBench, pull_of_layers: PolicyPull
) -> None:
    layered.begin()
    serve(centre, layered)
    accepted = centre.head
    pull_of_layers.refresh()
    layered.sign(SITE, 2)
    layered.updater.offer_head(layered.publisher.head())
    layered.updater.offer_head(accepted)

    assert "layer site-north that has not arrived" in layered.updater.error
    with pytest.raises(PolicyNotCurrent, match="layer site-north"):
        pull_of_layers.refresh()
    centre.requests.clear()
    serve(centre, layered)
    pull_of_layers.refresh()
    assert layered.acts_by() == {ORGANISATION: 1, TYPE: 1, SITE: 2}


def test_what_was_given_before_is_asked_for_again_while_a_head_waits(
    centre: Centre, layered: LayeredBench, pull_of_layers: PolicyPull, monkeypatch: pytest.MonkeyPatch
) -> None:
    layered.begin()
    serve(centre, layered)
    pull_of_layers.refresh()
    offered: list[int] = []
    monkeypatch.setattr(layered.updater, "offer", lambda _head, layers: offered.append(len(layers)))
    pull_of_layers.pull()
    monkeypatch.undo()
    layered.sign(SITE, 2)
    layered.updater.offer_head(layered.publisher.head())
    monkeypatch.setattr(layered.updater, "offer", lambda _head, layers: offered.append(len(layers)))
    pull_of_layers.pull()

    assert offered == [0, len(LAYERS)]


def test_what_a_centre_does_not_serve_of_a_part_that_its_head_names_is_not_current(
    centre: Centre, layered: LayeredBench, pull_of_layers: PolicyPull
) -> None:
    layered.begin()
    layered.sign(SITE, 2)
    serve(centre, layered)
    del centre.parts[SITE]
    layered.restart()

    with pytest.raises(PolicyNotCurrent, match="layer site-north"):
        PolicyPull(pull_of_layers._door, LAYERS, layered.updater).refresh()
    assert layered.acts_by() == dict.fromkeys(LAYERS, 1)

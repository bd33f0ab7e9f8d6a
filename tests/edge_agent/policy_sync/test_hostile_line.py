"""Between centre and host sits a line that delays, repeats, reorders and drops, and gives everything out in the end."""

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config import AgentFolder, load_identity
from edge_agent.https import Answer, HttpsDoor, verified_context
from edge_agent.policy_sync.candidates import Candidates
from edge_agent.policy_sync.pull import PolicyPull
from shared.policy.bundle import HeadBundle
from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import EVERYBODY, LAYERS, NOBODY, SITE, TYPE, LayeredBench, State
from tests.edge_agent.policy_sync.test_pull import serve
from tests.fakes.centre import Centre

PUBLISHED = ((ORGANISATION, EVERYBODY), (SITE, NOBODY), (TYPE, EVERYBODY), (SITE, EVERYBODY), (ORGANISATION, NOBODY))
Message = tuple[Callable[[bytes], None], bytes]


def said_by_centre(bench: LayeredBench) -> tuple[list[Message], list[dict[str, int]]]:
    """Return what the centre says from the first policy on, in its order, and by what a host acts at each time."""
    messages, acted_by = list[Message](), list[dict[str, int]]()
    versions, acts = dict.fromkeys(LAYERS, 0), dict.fromkeys(LAYERS, 0)
    for layer, rings in (*((layer, EVERYBODY) for layer in LAYERS), *PUBLISHED):
        versions[layer] += 1
        bench.sign(layer, versions[layer], rings=rings)
        acts[layer] = versions[layer] - (rings is NOBODY)
        messages.append((bench.updater.offer_layer, bench.publisher.bundles[layer].encode()))
        if all(versions.values()):
            messages.append((bench.updater.offer_head, bench.publisher.head()))
            acted_by.append(dict(acts))
    return messages, acted_by


def deliver(message: Message) -> None:
    offer, data = message
    offer(data)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_a_line_delays_repeats_reorders_or_drops_a_host_goes_only_forward_and_by_whole_policies(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = LayeredBench(tmp_path_factory.mktemp("line") / "host")
    messages, acted_by = said_by_centre(bench)
    order = data.draw(st.lists(st.integers(0, len(messages) - 1), max_size=3 * len(messages)), label="the line gives")
    at = -1
    for number in order:
        held = bench.held()
        deliver(messages[number])

        assert all(bench.held()[layer] >= version for layer, version in held.items())
        if acts := bench.acts_by():
            assert acts in acted_by[max(at, 0) :], "never back, and never a policy that nobody published"
            at = acted_by.index(acts)
    for message in messages[-2 * len(LAYERS) :]:
        deliver(message)
    bench.pull()

    assert bench.held() == {ORGANISATION: 3, SITE: 3, TYPE: 2}
    assert bench.acts_by() == acted_by[-1]
    bench.host.database.close()


class FloodedDoor(HttpsDoor):
    """The way to the centre; before each of its answers a broker gives out all that there ever was."""

    def flooded_by(self, flood: Callable[[], None]) -> "FloodedDoor":
        self._flood = flood
        return self

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        self._flood()
        return super().get(path, headers)


@pytest.mark.parametrize("is_forged", [False, True])
def test_a_host_whose_broker_floods_it_with_replays_and_forgeries_converges_with_one_pull(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path, is_forged: bool
) -> None:
    bench = LayeredBench(tmp_path / "host")
    bench.begin()
    old = [bundle.encode() for bundle in bench.publisher.bundles.values()]
    for layer in LAYERS:
        bench.sign(layer, 2)
    if is_forged:
        stranger = LayeredBench(tmp_path / "stranger")
        for layer, version in product(LAYERS, (2, 9)):
            stranger.sign(layer, version)
            old.append(stranger.publisher.bundles[layer].encode())
    serve(centre, bench)
    flooded = list[str]()

    def flood() -> None:
        bench.updater.offer_head(centre.head)
        for replay in old:
            bench.updater.offer_layer(replay)
        flooded.append(bench.updater.refused)

    doors = load_identity(enrolled).config.doors
    context = verified_context(enrolled.ca, enrolled.tls)
    with closing(FloodedDoor(doors.host, doors.https_port, context, timeout_s=30).flooded_by(flood)) as door:
        PolicyPull(door, LAYERS, bench.updater).pull()

    assert len(flooded) == len(LAYERS) + 1
    assert all(flooded)
    assert (bench.held(), bench.acts_by()) == (dict.fromkeys(LAYERS, 2),) * 2
    assert bench.updater.is_settled


def test_what_a_waiting_head_needs_is_not_lost_to_replays_where_the_broker_brings_it_between_them(
    tmp_path: Path,
) -> None:
    bench = LayeredBench(tmp_path / "host")
    bench.begin()
    old = [bundle.encode() for bundle in bench.publisher.bundles.values()]
    for layer in LAYERS:
        bench.sign(layer, 2)
    bench.updater.offer_head(bench.publisher.head())
    for layer in LAYERS:
        bench.updater.offer_layer(bench.publisher.bundles[layer].encode())
        for replay in old:
            bench.updater.offer_layer(replay)

    assert bench.acts_by() == dict.fromkeys(LAYERS, 2)


def test_replays_cost_a_host_no_layer_that_the_next_head_over_the_same_layers_needs(tmp_path: Path) -> None:
    bench = LayeredBench(tmp_path / "host")
    bench.begin()
    old = [bundle.encode() for bundle in bench.publisher.bundles.values()]
    for layer in LAYERS:
        bench.sign(layer, 2, rings=NOBODY)
        bench.updater.offer_layer(bench.publisher.bundles[layer].encode())
    bench.updater.offer_head(bench.publisher.head())
    for replay in old:
        bench.updater.offer_layer(replay)
    for layer in LAYERS:
        bench.roll_out(layer, bench.here)

    assert (bench.acts_by(), bench.updater.error, bench.missing) == (dict.fromkeys(LAYERS, 2), "", 0)


def test_control_one_place_for_what_the_centre_and_the_broker_give_is_filled_by_whoever_is_last(tmp_path: Path) -> None:
    bench = LayeredBench(tmp_path / "host")
    bench.begin()
    old = bench.publisher.bundles[SITE]
    bench.sign(SITE, 2)
    head, newest = HeadBundle.parse(bench.publisher.head()), bench.publisher.bundles[SITE]
    apart, together = Candidates(), Candidates()
    apart.pull(newest)
    together.hint(newest, None)
    for candidates in (apart, together):
        candidates.hint(old, None)

    assert (apart.fitting(head), together.fitting(head)) == ({SITE: newest}, {SITE: old})


def test_control_a_host_that_remembers_nothing_is_led_back_by_the_same_line(tmp_path: Path) -> None:
    bench = LayeredBench(tmp_path / "host")
    messages, _ = said_by_centre(bench)
    bench.pull()
    newest: State = bench.state()
    replayed = messages[: len(LAYERS) + 1]

    for message in replayed:
        deliver(message)
    assert bench.state() == newest

    forgetful = LayeredBench(tmp_path / "forgetful", bench.publisher)
    for offer, data in replayed:
        (forgetful.updater.offer_head if offer == bench.updater.offer_head else forgetful.updater.offer_layer)(data)
    assert forgetful.acts_by() == dict.fromkeys(LAYERS, 1)

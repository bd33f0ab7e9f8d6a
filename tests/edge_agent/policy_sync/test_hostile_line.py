"""Between centre and host sits a line that delays, repeats, reorders and drops, and gives everything out in the end."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import EVERYBODY, LAYERS, NOBODY, SITE, TYPE, LayeredBench, State

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
        messages.append((bench.updater.offer_layer, bench.publisher.layers[layer].encode()))
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

"""A roll-out says by which of two signed versions a host acts. What it has accepted never falls, whatever is chosen."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.database import DatabaseUnavailable
from edge_agent.policy_sync.store import PolicyStore
from shared.audit.events import Event
from shared.policy.bundle import HeadBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.rollout import Rings
from tests.edge_agent.policy_sync.layered import EVERYBODY, LAYERS, NOBODY, SITE, TYPE, Lacking, LayeredBench
from tests.fakes.host import Host

FIRST = dict.fromkeys(LAYERS, 1)


@pytest.fixture
def bench(tmp_path: Path) -> LayeredBench:
    bench = LayeredBench(tmp_path / "host")
    bench.begin()
    return bench


def reason(bench: LayeredBench) -> tuple[list[str], str]:
    record = bench.host.records()[-1]
    assert record.event is Event.POLICY_ACCEPTED
    return [subject.name for subject in record.what], record.reason


@pytest.mark.parametrize("layer", LAYERS)
def test_a_host_outside_the_rings_accepts_the_newest_and_acts_by_the_one_before(
    bench: LayeredBench, layer: str
) -> None:
    titles = bench.ae_titles()
    bench.sign(layer, 2, rings=NOBODY)
    bench.pull()

    assert bench.updater.error == ""
    assert bench.state() == ({**FIRST, layer: 2}, FIRST, titles)
    assert reason(bench) == ([f"{layer} 2"], f"by a roll-out this host acts by {layer} 1")


@pytest.mark.parametrize(
    "rings",
    [lambda bench: bench.here, lambda _: Rings(layers=(SITE,)), lambda _: Rings(percent=100), lambda _: EVERYBODY],
)
def test_a_host_within_the_rings_acts_by_the_newest(
    bench: LayeredBench, rings: Callable[[LayeredBench], Rings | None]
) -> None:
    bench.sign(TYPE, 2, rings=rings(bench))
    bench.pull()

    assert bench.held() == bench.acts_by() == {**FIRST, TYPE: 2}
    assert reason(bench) == (["modality-ct 2"], "")


def test_a_ring_that_opens_later_needs_no_layer_to_come_again(bench: LayeredBench) -> None:
    bench.sign(SITE, 2, rings=NOBODY)
    bench.pull()
    bench.roll_out(SITE, bench.here)

    assert (bench.acts_by(), bench.missing, bench.updater.error) == ({**FIRST, SITE: 2}, 0, "")
    assert reason(bench) == (["site-north 2"], "by a roll-out this host acts by site-north 2")
    bench.roll_out(SITE, EVERYBODY)
    assert bench.acts_by() == {**FIRST, SITE: 2}
    assert bench.host.events() == [Event.POLICY_ACCEPTED] * 3, "the last ring changes nothing here"


def test_what_is_taken_back_goes_back_and_the_accepted_version_does_not(bench: LayeredBench) -> None:
    old = bench.publisher.head()
    bench.sign(ORGANISATION, 2, rings=bench.here)
    bench.pull()
    between = bench.state()
    bench.roll_out(ORGANISATION, NOBODY)

    assert between[:2] == ({**FIRST, ORGANISATION: 2}, {**FIRST, ORGANISATION: 2})
    assert bench.state()[:2] == ({**FIRST, ORGANISATION: 2}, FIRST)
    assert reason(bench) == (["organisation 2"], "by a roll-out this host acts by organisation 1")
    bench.lose_cache()
    bench.pull(old)
    assert bench.updater.error.startswith("PolicyRollback"), "a choice is no rollback, and a rollback no choice"
    assert bench.state()[:2] == ({**FIRST, ORGANISATION: 2}, FIRST)


def test_the_same_choice_again_is_neither_recorded_nor_tried_again(bench: LayeredBench) -> None:
    tried: list[PolicyDocument] = []
    bench.check = tried.append  # type: ignore[method-assign, assignment]
    bench.start()
    bench.sign(SITE, 2, rings=NOBODY)
    for _ in range(3):
        bench.pull()

    assert bench.host.events() == [Event.POLICY_ACCEPTED] * 2
    assert tried == [], "it acts by what it acted by"


@pytest.mark.parametrize("is_known", [True, False])
def test_refuses_a_choice_that_was_replaced_also_where_tuf_s_cache_was_lost(
    bench: LayeredBench, is_known: bool
) -> None:
    bench.sign(ORGANISATION, 2, rings=bench.here)
    reached = bench.publisher.head()
    bench.pull(reached)
    bench.roll_out(ORGANISATION, NOBODY)
    if not is_known:
        with bench.host.database.transaction() as connection:
            connection.execute("UPDATE policy_set SET snapshot = 0")
    bench.lose_cache()
    bench.pull(reached)

    if is_known:
        assert (bench.acts_by(), bench.updater.error.partition(":")[0]) == (FIRST, "MetadataRollback")
    else:
        assert bench.acts_by() == {**FIRST, ORGANISATION: 2}, "control: nothing else shows that it is older"


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_refuses_a_choice_that_was_replaced_while_this_host_was_away(bench: LayeredBench, is_confirmed: bool) -> None:
    bench.sign(ORGANISATION, 2, rings=NOBODY)
    first = bench.publisher.head()
    bench.pull(first)
    bench.publisher.roll_out(ORGANISATION, bench.here)
    unheard = bench.publisher.head()
    if is_confirmed:
        bench.roll_out(ORGANISATION, NOBODY)
    bench.lose_cache()
    bench.pull(first)  # which is no harm: it chooses what is in force
    assert (bench.acts_by(), bench.updater.error) == (FIRST, "")
    bench.pull(unheard)

    if is_confirmed:
        assert (bench.acts_by(), bench.updater.error.partition(":")[0]) == (FIRST, "MetadataRollback")
    else:
        assert bench.acts_by() == {**FIRST, ORGANISATION: 2}, "control: it is the newest that this host knows of"


def test_refuses_a_choice_that_was_replaced_under_a_root_that_came_later(bench: LayeredBench) -> None:
    bench.sign(ORGANISATION, 2, rings=bench.here)
    reached = HeadBundle.parse(bench.publisher.head())
    bench.pull(reached.encode())
    bench.roll_out(ORGANISATION, NOBODY)
    bench.lose_cache()
    bench.pull(replace(reached, roots=(*reached.roots, bench.publisher.renewed_root())).encode())

    assert (bench.acts_by(), bench.updater.error.partition(":")[0]) == (FIRST, "MetadataRollback")


# ---- what the online key cannot choose


def test_refuses_a_roll_out_of_what_people_signed_without_an_earlier_one(bench: LayeredBench) -> None:
    before = bench.state()
    bench.publisher.sign(SITE, 2, bench.policy(SITE, 2), b"", NOBODY)
    bench.pull()
    refused = bench.state(), bench.updater.error
    bench.roll_out(SITE, EVERYBODY)

    assert refused[0] == before
    assert refused[1].startswith("MetadataInvalid: ")
    assert "layer site-north" in refused[1]
    assert bench.acts_by() == {**FIRST, SITE: 2}, "control: without rings it is accepted"


@pytest.mark.parametrize("stable", [2, 3])
def test_refuses_to_be_left_with_what_is_not_older(bench: LayeredBench, stable: int) -> None:
    before = bench.state()
    bench.publisher.sign(SITE, 2, bench.policy(SITE, 2), bench.policy(SITE, stable, "ANOTHER"), NOBODY)
    bench.pull()

    assert bench.updater.error.startswith("Malformed: policy of layer site-north")
    assert bench.state() == before


def test_refuses_another_story_of_the_version_before(bench: LayeredBench, tmp_path: Path) -> None:
    before = bench.state()
    bench.publisher.sign(SITE, 2, bench.policy(SITE, 2), bench.policy(SITE, 1, "EVIL"), NOBODY)
    bench.pull()
    assert bench.updater.error.startswith("PolicyEquivocation: policy version 1 of layer site-north")
    assert bench.state() == before

    other = LayeredBench(tmp_path / "other", bench.publisher)
    for layer in LAYERS:
        stable = other.policy(layer, 1, "EVIL" if layer == SITE else "")
        other.publisher.sign(layer, 2, other.policy(layer, 2), stable, NOBODY if layer == SITE else EVERYBODY)
    other.pull()
    assert "EVIL" in other.ae_titles(), "control: a host that never had version 1 cannot know"


def test_refuses_another_story_of_the_version_before_also_where_the_newest_has_reached_this_host(
    bench: LayeredBench,
) -> None:
    before = bench.state()
    bench.publisher.sign(SITE, 2, bench.policy(SITE, 2), bench.policy(SITE, 1, "EVIL"), bench.here)
    bench.pull()

    assert bench.updater.error.startswith("PolicyEquivocation: policy version 1 of layer site-north")
    assert bench.state() == before


def no_policy(bench: LayeredBench) -> tuple[bytes, bytes]:
    return bench.policy(SITE, 2), b'{"not":"a policy"}'


def not_beside_the_others(bench: LayeredBench) -> tuple[bytes, bytes]:
    return bench.policy(SITE, 3), bench.policy(SITE, 2, "ORGANISATI 1")


@pytest.mark.parametrize("signed", [no_policy, not_beside_the_others])
@pytest.mark.parametrize("rings", ["everybody", "here", "nobody"])
def test_refuses_a_version_from_which_there_is_no_way_back(
    bench: LayeredBench, signed: Callable[[LayeredBench], tuple[bytes, bytes]], rings: str
) -> None:
    before = bench.state()
    newest, stable = signed(bench)
    bench.publisher.sign(SITE, 2 if signed is no_policy else 3, newest, stable, rings_named(bench, rings))
    bench.pull()

    assert bench.updater.error.startswith("Malformed")
    assert bench.state() == before


def test_refuses_to_wait_for_a_version_that_is_none_beside_the_other_layers(bench: LayeredBench) -> None:
    before = bench.state()
    bench.sign(SITE, 2, rings=NOBODY, ae_title="ORGANISATI 1")
    bench.pull()

    assert bench.updater.error.startswith("Malformed: policy (of organisation 1 and modality-ct 1 and site-north 2")
    assert bench.state() == before


def test_control_a_version_that_is_valid_in_every_combination_may_be_waited_for_and_taken_back(
    bench: LayeredBench,
) -> None:
    for layer in LAYERS:
        bench.sign(layer, 2, rings=NOBODY)
    bench.pull()
    acted_by = [bench.acts_by()]
    for rings in (bench.here, NOBODY):
        for layer in LAYERS:
            bench.roll_out(layer, rings)
        acted_by.append(bench.acts_by())

    assert acted_by == [FIRST, dict.fromkeys(LAYERS, 2), FIRST]


# ---- restarts and kills


def waiting(bench: LayeredBench) -> None:
    bench.sign(SITE, 2, rings=NOBODY)
    bench.pull()


def reached(bench: LayeredBench) -> None:
    waiting(bench)
    bench.roll_out(SITE, bench.here)


def taken_back(bench: LayeredBench) -> None:
    reached(bench)
    bench.roll_out(SITE, NOBODY)


def failed(bench: LayeredBench) -> None:
    waiting(bench)
    bench.sign(ORGANISATION, 2, rings=bench.here, ae_title="BAD")
    bench.pull()


def failed_and_taken_back(bench: LayeredBench) -> None:
    failed(bench)
    bench.roll_out(ORGANISATION, NOBODY)


@pytest.mark.parametrize("state", [waiting, reached, taken_back, failed, failed_and_taken_back])
def test_a_restart_in_every_state_comes_back_to_the_same(
    bench: LayeredBench, state: Callable[[LayeredBench], None]
) -> None:
    state(bench)
    before, error = bench.state(), bench.updater.error
    for again in (LayeredBench.restart, LayeredBench.lose_cache, LayeredBench.pull, LayeredBench.restart):
        again(bench)

        assert (bench.state(), bench.updater.error) == (before, error)


def test_what_failed_is_said_until_it_was_taken_back(bench: LayeredBench) -> None:
    failed(bench)
    assert bench.updater.error.startswith("organisation 2 failed its self-check here, organisation 1 goes on")
    bench.roll_out(ORGANISATION, NOBODY)

    assert bench.updater.error == ""
    bench.roll_out(ORGANISATION, bench.here)
    assert bench.updater.error.startswith("organisation 2 failed"), "a choice that comes again is tried again"


def test_only_what_failed_its_self_check_is_reported_as_failed(bench: LayeredBench) -> None:
    assert bench.host.store.failed_here() == {}
    failed(bench)
    assert bench.host.store.failed_here() == {ORGANISATION: 2}
    bench.updater.offer_head(b"no head")
    assert bench.updater.refused
    assert bench.host.store.failed_here() == {ORGANISATION: 2}
    bench.roll_out(ORGANISATION, NOBODY)
    assert bench.host.store.failed_here() == {}


def test_what_is_in_force_needs_no_trial_to_be_gone_back_to(
    bench: LayeredBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks_everything(_: PolicyDocument) -> None:
        raise Lacking("the disk is gone")

    monkeypatch.setattr(bench.updater, "_self_check", lacks_everything)
    bench.sign(ORGANISATION, 2, rings=bench.here)
    bench.pull()
    assert bench.host.store.failed_here() == {ORGANISATION: 2}
    bench.roll_out(ORGANISATION, NOBODY)

    assert (bench.updater.error, bench.acts_by(), bench.host.store.failed_here()) == ("", FIRST, {})


def test_a_trial_that_a_failing_disk_cut_off_is_made_again_by_the_next_offer(
    bench: LayeredBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise DatabaseUnavailable("no space left on device")

    bench.sign(SITE, 2)
    with monkeypatch.context() as patched:
        patched.setattr(bench.host.store, "passed", fails)
        with pytest.raises(DatabaseUnavailable):
            bench.pull()
    assert (bench.acts_by(), bench.host.store.failed_here()) == (FIRST, {})
    bench.pull()

    assert (bench.acts_by(), bench.updater.error) == ({**FIRST, SITE: 2}, "")


def test_a_broker_that_repeats_the_last_head_does_not_switch_the_pull_off(bench: LayeredBench) -> None:
    head = bench.publisher.head()
    bench.pull(head)
    bench.updater.offer_head(b"no head")
    bench.updater.offer_head(head)
    assert (bench.updater.error, bench.updater.is_settled) == ("", False), "or the pull would ask for nothing but news"
    bench.updater.offer(head, [])
    assert bench.updater.is_settled


KILLED = """\
import sys
from pathlib import Path
from tests.edge_agent.policy_sync.test_rollouts import killed_at
killed_at(Path(sys.argv[1]), sys.argv[2])
"""


def killed_at(folder: Path, where: str) -> None:
    """Have a first policy in force, and be killed while a roll-out brings the second one."""
    bench = LayeredBench(folder)
    bench.begin()

    def end(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "trial":
        bench.check = end  # type: ignore[method-assign, assignment]
        bench.start()
    else:
        PolicyStore.switch = end  # type: ignore[method-assign, assignment]
    bench.sign(SITE, 2, rings=bench.here)
    bench.pull()


@pytest.mark.parametrize("where, comes_back_with", [("trial", 1), ("switch", 2)])
def test_an_agent_that_is_killed_between_keeping_and_switching_has_one_whole_set(
    tmp_path: Path, where: str, comes_back_with: int
) -> None:
    folder = tmp_path / "host"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), where], check=False, timeout=180)
    assert done.returncode == -signal.SIGKILL

    host = Host(folder, layers=LAYERS)
    assert dict(host.store.in_force_versions()) == {**FIRST, SITE: comes_back_with}
    assert {layer: accepted.version for layer, accepted in host.store.held().items()} == {**FIRST, SITE: 2}
    host.database.close()
    assert LayeredBench(folder).acts_by() == {**FIRST, SITE: 2}, "what the kill cut off is tried again"


# ---- the law


class Expected:
    """What a host is to accept and act by, told by rules of three lines."""

    def __init__(self) -> None:
        self.newest, self.is_reached = dict(FIRST), dict.fromkeys(LAYERS, True)
        self.bad: set[tuple[str, int]] = set()
        self.sets, self.failed = [dict(FIRST)], False

    def choose(self) -> None:
        chosen = {layer: version - (not self.is_reached[layer]) for layer, version in self.newest.items()}
        self.failed = bool(self.bad & set(chosen.items()))
        if not self.failed:
            self.sets.append(chosen)


RINGS = ["everybody", "here", "share", "nobody", "elsewhere"]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["good", "bad"]), st.sampled_from(LAYERS), st.sampled_from(RINGS)),
    st.tuples(st.just("roll out"), st.sampled_from(LAYERS), st.sampled_from(RINGS)),
    st.tuples(st.sampled_from(["restart", "lose cache", "replay", "replay without cache"]), st.just(""), st.just("")),
)


def rings_named(bench: LayeredBench, name: str) -> Rings | None:
    return {
        "everybody": EVERYBODY,
        "here": bench.here,
        "share": Rings(percent=100),
        "nobody": NOBODY,
        "elsewhere": Rings(layers=("site-south",)),
    }[name]


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=12), data=st.data())
def test_whatever_is_published_rolled_out_and_taken_back_a_host_acts_by_whole_sets_and_holds_what_it_accepted(
    steps: list[tuple[str, str, str]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench, expected = LayeredBench(tmp_path_factory.mktemp("law") / "host"), Expected()
    bench.begin()
    replayed = [bench.current[-1]]
    for step, layer, ring in steps:
        held = bench.held()
        if step in ("good", "bad"):
            publish(bench, expected, layer, ring, is_bad=step == "bad")
        elif step == "roll out" and bench.publisher.bundles[layer].stable:
            expected.is_reached[layer] = ring not in ("nobody", "elsewhere")
            bench.roll_out(layer, rings_named(bench, ring))
            bench.pull()  # as the puller does that was rung for a layer
            expected.choose()
        elif step == "restart":
            bench.restart()
        elif step == "lose cache":
            bench.lose_cache()
            bench.pull()
        elif step.startswith("replay"):
            if step == "replay without cache":
                bench.lose_cache()
            head, layers = data.draw(st.sampled_from(replayed))
            for bundle in layers.values():
                bench.updater.offer_layer(bundle)
            bench.updater.offer_head(head)
        replayed.append(bench.current[-1])

        assert all(bench.held()[each] >= version for each, version in held.items())
        assert bench.held() == expected.newest
        assert bench.acts_by() == expected.sets[-1]
        assert ("failed its self-check" in bench.updater.error) == expected.failed
        assert bench.ae_titles() == [TITLES[each].format(expected.sets[-1][each]) for each in LAYERS]
    bench.host.database.close()


def publish(bench: LayeredBench, expected: Expected, layer: str, ring: str, *, is_bad: bool) -> None:
    """Publish the next version; people never name as stable what they know to have failed."""
    version = expected.newest[layer] + 1
    if (layer, version - 1) in expected.bad:
        ring = "everybody"
    expected.newest[layer] = version
    expected.is_reached[layer] = ring not in ("nobody", "elsewhere")
    if is_bad:
        expected.bad.add((layer, version))
    bench.sign(layer, version, rings=rings_named(bench, ring), ae_title=f"BAD {layer[:4]} {version}" if is_bad else "")
    bench.pull()
    expected.choose()


TITLES = {ORGANISATION: "ORGANISATI {}", TYPE: "MODALITY-C {}", SITE: "SITE-NORTH {}"}

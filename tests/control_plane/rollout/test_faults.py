"""The centre killed in the middle of a step, two people at once, and a broker that is gone: never half of anything."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from control_plane.policy.publisher import RolloutOpen
from control_plane.policy.verify import PolicyVersionTaken
from control_plane.rollout.service import NotSteered, Rollouts, Steering
from shared.audit.events import Happening
from shared.errors import Refused, Unavailable
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from tests.control_plane.policy.centre import PERSON
from tests.control_plane.rollout.bench import EVEN_MORE, Bench, rollouts_of


class Killed(BaseException):
    """The process ends here; nothing that follows is run."""


class DyingJournal:
    """Kills the centre while the record of a step is written: after the row, before the commit."""

    def append(self, session: object, happening: Happening) -> None:
        raise Killed


def dying(bench: Bench) -> Rollouts:
    return Rollouts(bench.centre.database, bench.centre.publisher, DyingJournal(), bench.centre.clock)


def kill_when_announcing(bench: Bench) -> None:
    def die(_head: HeadBundle, _layers: tuple[LayerBundle, ...]) -> None:
        raise Killed

    bench.centre.publisher.subscribe(die)


def heard_by(bench: Bench) -> list[HeadBundle]:
    """Return what the bench's centre announces from now on."""
    heads: list[HeadBundle] = []
    bench.centre.publisher.subscribe(lambda head, _layers: heads.append(head))
    return heads


def test_a_centre_killed_between_signing_and_publishing_has_published_nothing(bench: Bench) -> None:
    signed = bench.signed()
    with pytest.raises(Killed):
        dying(bench).publish(signed, bench.plan(), PERSON)
    after = bench.restarted()

    assert after.centre.published_version == 1
    assert after.rollouts.told()[0] == []
    after.sync()
    assert after.in_force() == [1, 1, 1, 1]
    assert after.rollouts.publish(signed, after.plan(), PERSON) == 2  # what was signed is still good


def test_a_centre_killed_while_it_opens_a_ring_has_opened_none(bench: Bench) -> None:
    bench.publish()
    bench.later(1)
    bench.sync()
    bench.later()
    with pytest.raises(Killed):
        dying(bench).step()
    after = bench.restarted()

    assert after.state() == "running 1"
    after.sync()
    assert after.in_force() == [2, 1, 1, 1]
    after.rollouts.step()
    assert after.state() == "running 2"


@pytest.mark.parametrize(
    "ends, state, in_force",
    [
        (lambda bench: bench.rollouts.step(), "running 2", [2, 2, 2, 2]),
        (lambda bench: bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON), "reverted 1", [1, 1, 1, 1]),
    ],
)
def test_a_centre_killed_before_it_announces_announces_at_its_next_start(
    bench: Bench, ends: Callable[[Bench], None], state: str, in_force: list[int]
) -> None:
    bench.publish()
    bench.later(1)
    bench.sync()
    bench.later()
    kill_when_announcing(bench)
    with pytest.raises(Killed):
        ends(bench)
    after = bench.restarted()
    heads = heard_by(after)
    after.centre.publisher.announce()

    assert [head.snapshot for head in heads] == [after.centre.publisher.head().snapshot]  # type: ignore[union-attr]
    assert after.state() == state
    after.sync()
    assert after.in_force() == in_force


def at_once(*what: Callable[[], object]) -> list[object]:
    """Return what became of things that people did at the same moment, each from a process of their own."""
    together = Barrier(len(what))

    def one(do: Callable[[], object]) -> object:
        together.wait()
        try:
            return do()
        except Refused as exc:
            return exc

    with ThreadPoolExecutor(len(what)) as pool:
        return list(pool.map(one, what))


def another_process(bench: Bench) -> Rollouts:
    return rollouts_of(bench.centre.restarted())


def test_of_one_who_pauses_and_one_who_widens_each_is_done_whole_or_not_at_all(bench: Bench) -> None:
    bench.publish()
    first, second = another_process(bench), another_process(bench)
    paused, widened = at_once(
        lambda: first.steer(ORGANISATION, Steering.PAUSE, "Ada"),
        lambda: second.steer(ORGANISATION, Steering.WIDEN, "Grace"),
    )
    after = bench.restarted()
    after.sync()

    assert paused is None
    if widened is None:  # she was faster
        assert (after.state(), after.in_force()) == ("paused 2", [2, 2, 2, 2])
    else:
        assert isinstance(widened, NotSteered)
        assert (after.state(), after.in_force()) == ("paused 1", [2, 1, 1, 1])


def test_of_two_who_publish_at_once_one_has_published(bench: Bench) -> None:
    mine, theirs = bench.signed(), bench.signed(EVEN_MORE)
    first, second = another_process(bench), another_process(bench)
    became = at_once(
        lambda: first.publish(mine, bench.plan(), "Ada"), lambda: second.publish(theirs, bench.plan(), "Grace")
    )

    assert [one for one in became if not isinstance(one, Refused)] == [2]
    assert any(isinstance(one, PolicyVersionTaken | RolloutOpen) for one in became)
    assert bench.restarted().state() == "running 1"
    assert len([event for event, _, _ in bench.recorded() if event == "policy.rollout-started"]) == 1


def test_two_centres_that_look_at_once_open_one_ring(bench: Bench) -> None:
    bench.publish(plan=bench.plan(percent=50))
    bench.later(1)
    bench.sync()
    bench.later()
    first, second = another_process(bench), another_process(bench)
    assert at_once(first.step, second.step) == [None, None]

    assert bench.restarted().state() == "running 2"


def test_a_broker_that_is_gone_stops_nothing_that_hosts_pull(bench: Bench) -> None:
    def broker_is_gone(_head: HeadBundle, _layers: tuple[LayerBundle, ...]) -> None:
        raise Unavailable("the broker does not answer")

    bench.centre.publisher.subscribe(broker_is_gone)
    bench.publish()
    bench.later(1)
    bench.sync()  # over HTTPS: they fetch what the doors serve, and report there
    bench.later()
    bench.rollouts.step()
    bench.sync()
    assert (bench.state(), bench.in_force()) == ("running 2", [2, 2, 2, 2])

    bench.rollouts.steer(ORGANISATION, Steering.REVERT, PERSON)
    bench.sync()
    assert bench.in_force() == [1, 1, 1, 1]

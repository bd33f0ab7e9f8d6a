"""The gate, by itself: what one report says of a host, and what no order, loss or delay of reports may bring about."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.rollout.gate import (
    Health,
    Member,
    Observation,
    Step,
    decide,
    health_of,
    judge,
    members_of,
    noted,
    with_heard,
)
from control_plane.rollout.plan import OnAbort, Plan
from control_plane.rollout.state import Heard, Rollout, State
from shared import clock
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.policy.rollout import EVERYBODY, Rings

START = clock.parse("2026-03-01T08:00:00Z")
NEW, OLD = 7, 6
HOSTS = [HostId(bytes([number] * 16)) for number in range(12)]
PLAN = Plan((Rings(tuple(HOSTS[:2])), Rings(percent=50), Rings(percent=EVERYBODY)), 600, 90, 5, OnAbort.REVERT, 120)


def member(number: int, seen: Observation | None = None) -> Member:
    return Member(HOSTS[number], f"CT {number}", frozenset({ORGANISATION}), seen)


def report(after_s: int, *, in_force: int = NEW, accepted: int = NEW, failed: int = 0, listening: bool = True,
           guard: int | None = None, guard_error: str = "", isolated: bool = False) -> Observation:  # fmt: skip
    received = START + timedelta(seconds=after_s)
    return Observation(received, accepted, in_force, failed, listening, guard, guard_error, isolated)


def begun(plan: Plan = PLAN, *, heard: bool = True) -> Rollout:
    before = report(-1, in_force=OLD, accepted=OLD) if heard else None
    rollout = Rollout(ORGANISATION, NEW, plan, (START,), {}, State.RUNNING, START, "Ada", "")
    return with_heard(rollout, [member(number, before) for number in range(len(HOSTS))], START)


@pytest.mark.parametrize(
    "seen, health",
    [
        (None, Health.NOT_HEARD),
        (report(0), Health.NOT_HEARD),  # it may have been made before the ring opened
        (report(1), Health.HEALTHY),
        (report(1, guard=NEW), Health.HEALTHY),
        (report(1, failed=OLD), Health.HEALTHY),
        (report(1, guard=OLD), Health.WAITING),
        (report(1, guard=OLD, guard_error="it does not hold"), Health.WAITING),  # that may be passing
        (report(1, in_force=OLD), Health.WAITING),
        (report(1, in_force=OLD, failed=NEW), Health.FAILED),
        (report(1, in_force=OLD, failed=NEW, isolated=True), Health.WAITING),
        (report(1, in_force=OLD, failed=OLD), Health.WAITING),  # that is about another one
        (report(1, in_force=NEW + 1, accepted=NEW + 1), Health.WAITING),
        (report(1, listening=False), Health.WAITING),  # an agent that starts anew
        (report(1, in_force=OLD, accepted=OLD, listening=False), Health.WAITING),
        (report(1, listening=False, isolated=True), Health.WAITING),
    ],
)
def test_what_one_report_says_of_a_host(seen: Observation | None, health: Health) -> None:
    assert judge(begun(), member(0, seen), START) is health


def judged(*seen: Observation, rollout: Rollout | None = None) -> list[Health]:
    """Return what is said of a host after each of its reports."""
    rollout, said = begun() if rollout is None else rollout, []
    for one in seen:
        said.append(judge(rollout, member(0, one), START))
        rollout = noted(rollout, [member(0, one)])
        assert judge(rollout, member(0, one), START) is said[-1]  # looked at again, it is no other report
    return said


DAYS = 3 * 86_400


@pytest.mark.parametrize("first_s", [1, DAYS])
@pytest.mark.parametrize(
    "lacks, lasts_s",
    [
        ({"in_force": OLD}, 120),
        ({"guard": OLD}, 120),
        ({"guard": OLD, "guard_error": "it does not hold"}, 120),
        ({"listening": False}, 60),
    ],
)
def test_what_goes_on_fails_a_host_by_its_own_reports_whenever_they_begin(
    lacks: dict[str, Any], lasts_s: int, first_s: int
) -> None:
    def at(after_s: int) -> Observation:
        return report(first_s + after_s, **lacks)

    assert judged(at(0), at(lasts_s - 1), at(lasts_s)) == [Health.WAITING, Health.WAITING, Health.FAILED]
    # Controls: what ends in between, or a host that was off, did not go on.
    ended = judged(at(0), report(first_s + 30), at(lasts_s), at(2 * lasts_s - 1))
    assert ended == [Health.WAITING, Health.HEALTHY, Health.WAITING, Health.WAITING]
    assert judged(at(0), at(DAYS)) == [Health.WAITING, Health.WAITING]
    # One that has failed stays so until it says otherwise.
    assert judged(at(0), at(lasts_s), at(DAYS), report(first_s + DAYS + 1))[1:] == [
        Health.FAILED,
        Health.FAILED,
        Health.HEALTHY,
    ]


def test_a_host_that_has_not_been_given_the_version_has_all_the_time() -> None:
    old: dict[str, Any] = {"in_force": OLD, "accepted": OLD}

    assert judged(report(1, **old), report(DAYS, **old), report(DAYS + 1, in_force=OLD)) == [Health.WAITING] * 3


def guarded(before: Observation, *, for_guards: bool = True) -> Rollout:
    """Return a roll-out that began when a host's last report was `before`."""
    rollout = Rollout(ORGANISATION, NEW, PLAN, (START,), {}, State.RUNNING, START, "Ada", "", for_guards=for_guards)
    return with_heard(rollout, [member(0, before)], START)


WITH_GUARD = report(-1, in_force=OLD, accepted=OLD, guard=OLD)
WITHOUT_POLICY = replace(WITH_GUARD, guard=0)
UNPINNED = replace(WITHOUT_POLICY, guard_error="nobody pinned a root")
NO_GUARD = replace(WITH_GUARD, guard=None)


@pytest.mark.parametrize(
    "before, guard, error, then",
    [
        (WITH_GUARD, None, "", [Health.WAITING, Health.FAILED]),  # it has died of the version, or whoever reports has
        (WITH_GUARD, 0, "it refused it", [Health.WAITING, Health.FAILED]),
        (WITHOUT_POLICY, 0, "it refused it", [Health.WAITING, Health.FAILED]),  # the first policy with rules
        (WITHOUT_POLICY, NEW, "", [Health.HEALTHY, Health.HEALTHY]),
        (UNPINNED, 0, "nobody pinned a root", [Health.WAITING, Health.WAITING]),  # it could not before either
        (NO_GUARD, None, "", [Health.HEALTHY, Health.HEALTHY]),
        (NO_GUARD, 0, "", [Health.WAITING, Health.WAITING]),  # somebody is about to install one
    ],
)
def test_a_guard_that_answered_has_to_answer_and_to_come_to_the_version(
    before: Observation, guard: int | None, error: str, then: list[Health]
) -> None:
    said = [report(after_s, guard=guard, guard_error=error) for after_s in (1, 121)]

    assert judged(*said, rollout=guarded(before)) == then


def test_a_version_without_rules_for_devices_is_none_that_a_guard_comes_to() -> None:
    rollout = guarded(WITH_GUARD, for_guards=False)

    assert judged(report(1, guard=0), rollout=rollout) == [Health.HEALTHY]
    unpinned = guarded(UNPINNED, for_guards=False)
    assert judged(report(1, guard=0, guard_error="nobody pinned a root"), rollout=unpinned) == [Health.HEALTHY]
    # Controls: it has not followed; or it has lost what a part has for it.
    lost = [report(after_s, guard=0, guard_error="it refused it") for after_s in (1, 121)]
    assert judged(*lost, rollout=rollout) == [Health.WAITING, Health.FAILED]
    assert judged(report(1, guard=OLD), report(121, guard=OLD), rollout=rollout) == [Health.WAITING, Health.FAILED]


def test_a_host_that_did_not_listen_before_need_not_listen_after() -> None:
    deaf = replace(begun(), heard={str(HOSTS[0]): Heard(listened=False)})

    assert judge(deaf, member(0, report(1, listening=False)), START) is Health.HEALTHY
    assert judge(begun(heard=False), member(0, report(1, listening=False)), START) is Health.HEALTHY


def test_who_is_isolated_or_revoked_is_not_waited_for_and_a_ring_without_others_says_so() -> None:
    alone = replace(PLAN, rings=(Rings((HOSTS[0],)), Rings(percent=EVERYBODY)))
    later = START + timedelta(days=1)
    for hosts in ([], [member(1, report(1))], [member(0, report(1, isolated=True))]):
        decision = decide(begun(alone), hosts, later)
        assert decision.step is Step.WAIT
        assert "no host of ring 1 is left that could show anything" in decision.why
        assert "`policy rollout widen`" in decision.why
    # Control: beside an isolated one, another one is enough; in silence it is waited for.
    two = replace(alone, rings=(Rings(tuple(HOSTS[:2])), Rings(percent=EVERYBODY)), healthy_percent=100)
    isolated, other = member(0, report(1, isolated=True)), member(1, report(1))
    assert decide(begun(two), [isolated, other], later).step is Step.OPEN
    assert decide(begun(two), [member(0), other], later).step is Step.WAIT


def test_hosts_that_were_all_off_leave_a_ring_waiting_but_not_the_last_one() -> None:
    alone = replace(PLAN, rings=(Rings((HOSTS[0],)), Rings(percent=EVERYBODY)))
    hosts = [member(0), member(1)]
    first = begun(alone, heard=False)
    assert decide(first, hosts, START + timedelta(days=1)).step is Step.WAIT

    last = replace(first, opened=(START, START))
    assert decide(last, hosts, START + timedelta(days=1)).step is Step.FINISH


def test_a_ring_without_hosts_of_its_own_waits_for_nothing_but_its_time() -> None:
    nobody_new = replace(PLAN, rings=(Rings((HOSTS[0],)), Rings(layers=("site-north",)), Rings(percent=EVERYBODY)))
    rollout = replace(begun(nobody_new), opened=(START, START))
    hosts = [member(0, report(1))]

    assert decide(rollout, hosts, START + timedelta(seconds=599)).step is Step.WAIT
    assert decide(rollout, hosts, START + timedelta(seconds=600)).step is Step.OPEN


def test_failures_count_by_ring_so_a_large_one_hides_none_of_a_small_one() -> None:
    hosts = [member(number, report(1)) for number in range(12)]
    rollout = replace(begun(), opened=(START, START, START))
    (first, *_) = members_of(rollout, hosts)
    broken = report(1, in_force=OLD, failed=NEW)
    failed = [replace(each, seen=broken) if each == first[0] else each for each in hosts]

    # One of twelve hosts, but one of two canaries.
    half = replace(rollout, plan=replace(PLAN, abort_percent=50))
    assert decide(half, failed, START + timedelta(days=1)).step is Step.REVERT
    assert decide(half, hosts, START + timedelta(days=1)).step is Step.FINISH


def test_each_host_is_in_the_first_ring_with_which_hosts_themselves_would_act_by_it() -> None:
    plan = replace(PLAN, rings=(Rings((HOSTS[0],), (), 10), Rings((HOSTS[5],), ("site-north",), 40), *PLAN.rings[1:]))
    rollout, at_site = begun(plan), frozenset({ORGANISATION, "site-north"})
    hosts = [replace(member(number), layers=at_site) if number % 4 == 1 else member(number) for number in range(12)]

    def is_reached(each: Member, count: int) -> bool:
        return plan.opened(count).holds(each.host, each.layers, layer=ORGANISATION, version=NEW)

    rings = members_of(rollout, hosts)

    for number, ring in enumerate(rings, 1):
        assert all(is_reached(each, number) and not is_reached(each, number - 1) for each in ring)
    assert all(rings)
    assert sorted(each.asset for ring in rings for each in ring) == sorted(each.asset for each in hosts)


# ---- whatever happens, in whatever order

reports = st.builds(
    report,
    st.integers(0, 4000),
    in_force=st.sampled_from([OLD, NEW]),
    failed=st.sampled_from([0, 0, OLD, NEW]),
    listening=st.sampled_from([True, True, True, False]),
    guard=st.sampled_from([None, 0, OLD, NEW, NEW]),
    isolated=st.sampled_from([False, False, False, True]),
)
good_reports = st.builds(
    report,
    st.integers(0, 4000),
    in_force=st.sampled_from([NEW, NEW, NEW, OLD]),
    isolated=st.sampled_from([False, False, False, True]),
)
plans = st.builds(
    replace,
    st.just(PLAN),
    soak_s=st.sampled_from([0, 600]),
    healthy_percent=st.sampled_from([1, 50, 90, 100]),
    abort_percent=st.sampled_from([1, 5, 50]),
    on_abort=st.sampled_from(list(OnAbort)),
)


def played(plan: Plan, said: list[tuple[int, Observation]], ends_s: int = 4000) -> list[Rollout]:
    """Return every state that a roll-out goes through while hosts say this, looked at each minute."""
    rollout, went_through, last = begun(plan), [], dict[int, Observation]()
    for after_s in range(0, ends_s + 1, 60):
        now = START + timedelta(seconds=after_s)
        for number, seen in said:
            if seen.received <= now and (number not in last or seen.received >= last[number].received):
                last[number] = seen
        hosts = [member(number, last.get(number)) for number in range(len(HOSTS))]
        rollout = applied(rollout, hosts, now)
        went_through.append(rollout)
    return went_through


def applied(rollout: Rollout, hosts: list[Member], now: datetime) -> Rollout:
    """Return what the decision makes of it, as the service does."""
    rollout = noted(rollout, hosts)
    step = decide(rollout, hosts, now).step
    if step is Step.OPEN:
        return with_heard(replace(rollout, opened=(*rollout.opened, now)), hosts, now)
    ends = {Step.FINISH: State.FINISHED, Step.REVERT: State.REVERTED, Step.PAUSE: State.PAUSED}
    return replace(rollout, state=ends[step]) if step in ends else rollout


said = st.lists(st.tuples(st.integers(0, 11), reports), max_size=60)
said_well = st.lists(st.tuples(st.integers(0, 11), good_reports), max_size=60)


@settings(max_examples=150, deadline=None)
@given(plans, said)
def test_rings_open_one_by_one_and_none_after_it_ended(plan: Plan, told: list[tuple[int, Observation]]) -> None:
    states = played(plan, told)

    for before, after in pairwise(states):
        assert len(after.opened) - len(before.opened) in (0, 1)
        assert after.version == NEW
        if before.state is not State.RUNNING:
            assert (after.state, after.opened) == (before.state, before.opened)
        if after.state is State.FINISHED:
            assert after.is_everywhere


@settings(max_examples=200, deadline=None)
@given(plans, st.lists(st.one_of(st.none(), reports), min_size=12, max_size=12), st.integers(1, 3))
def test_nothing_opens_while_too_many_failed_or_nobody_is_healthy(
    plan: Plan, seen: list[Observation | None], count: int
) -> None:
    rollout = replace(begun(plan), opened=(START,) * count)
    hosts = [member(number, one) for number, one in enumerate(seen)]
    rings = health_of(rollout, hosts)
    step = decide(rollout, hosts, START + timedelta(days=1)).step

    if any(ring.count(Health.FAILED) and ring.failed_percent() >= plan.abort_percent for ring in rings):
        assert step is (Step.REVERT if plan.on_abort is OnAbort.REVERT else Step.PAUSE)
    elif step is Step.OPEN and rings[-1].members:
        assert rings[-1].count(Health.HEALTHY)
    for state in (State.REVERTED, State.FINISHED):
        assert decide(replace(rollout, state=state), hosts, START + timedelta(days=1)).step is Step.WAIT
    # Who pauses has nothing further opened, and keeps the way back that the plan has.
    paused = decide(replace(rollout, state=State.PAUSED), hosts, START + timedelta(days=1)).step
    assert paused is (Step.REVERT if step is Step.REVERT else Step.WAIT)


@settings(max_examples=200, deadline=None)
@given(plans, st.lists(good_reports, min_size=12, max_size=12), st.sets(st.integers(0, 11)), st.integers(1, 3))
def test_losing_or_delaying_reports_opens_no_ring_earlier(
    plan: Plan, seen: list[Observation], lost: set[int], count: int
) -> None:
    """Of hosts that did not fail: of one that did, nobody can know it. What was heard when a ring opened is stored."""
    rollout = replace(begun(plan), opened=(START,) * count)
    all_of_them = [member(number, one) for number, one in enumerate(seen)]
    if any(ring.count(Health.FAILED) for ring in health_of(rollout, all_of_them)):
        return
    some = [member(number, None if number in lost else one) for number, one in enumerate(seen)]
    later = START + timedelta(days=1)

    if decide(rollout, all_of_them, later).step is Step.WAIT:
        assert decide(rollout, some, later).step is Step.WAIT


@settings(max_examples=150, deadline=None)
@given(said)
def test_no_host_fails_by_one_report_alone_unless_it_says_why(told: list[tuple[int, Observation]]) -> None:
    """What is kept of a host is by its own reports: however late they come, or however seldom anybody looks."""
    rollout = begun()
    for number, seen in sorted(told, key=lambda one: one[1].received):
        before = rollout.kept(HOSTS[number])
        health = judge(rollout, member(number, seen), START)
        rollout = noted(rollout, [member(number, seen)])
        assert judge(rollout, member(number, seen), START) is health
        if health is Health.FAILED and seen.failed != NEW:
            assert before.last is not None
            assert (seen.received - min(filter(None, (before.behind, before.deaf)))).total_seconds() >= 60


@settings(max_examples=100, deadline=None)
@given(plans, said)
def test_what_is_stored_is_all_that_decides(plan: Plan, told: list[tuple[int, Observation]]) -> None:
    for rollout in played(plan, told)[::10]:
        assert Rollout.of(rollout.row()) == rollout

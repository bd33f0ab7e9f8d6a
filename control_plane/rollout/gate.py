"""Decides whether a roll-out goes on, waits, stops or is over. Touches nothing.

Of a host of an open ring its last signed report decides, if it came after the ring opened:

    healthy     this very version is in force, at the agent and at the guard where one answered or answers, and it
                listens if it listened when its ring opened
    failed      it says that this very version failed its self-check there; or it has the version, and agent or guard
                does not act by it and went on not to for `quiet_s`; or it acts by it, listened before, and went on
                not to for a minute
    waiting     it reports, and has not come so far, or not for long enough to say
    not heard   nothing came since. A host that is off proves nothing, and fails nobody

What goes on is counted from the first report that said so to the last one, and never from when the ring opened: a host
may be switched on days later, or be off for a night in between, and silence begins it anew. Whatever else a host says
is wrong may be about another version, or be a broker's doing, and fails nobody by itself.

The next ring opens once the newest one is good, and no ring that is open has too many that failed. How many have to be
healthy is counted of those that were heard when the ring opened: a policy that silences hosts does not pass by that.
A report that is lost or late can so only hold a ring back; except that a failure nobody hears of is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.rollout.plan import OnAbort
from control_plane.rollout.state import Heard, Rollout, State
from shared.identity import HostId

# An agent that starts anew may report before its port is open.
_STARTS_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Observation:
    """What a host said last of one layer. `guard` is None where it reports none, or none for this layer."""

    received: datetime
    accepted: int
    in_force: int
    failed: int  # which version failed its self-check there, 0: none
    listening: bool
    guard: int | None = None
    guard_error: str = ""
    isolated: bool = False


@dataclass(frozen=True)
class Member:
    """An active host that has the layer; `seen` is None where it has never reported."""

    host: HostId
    asset: str
    layers: frozenset[str]
    seen: Observation | None


class Health(StrEnum):
    HEALTHY = "healthy"
    FAILED = "failed"
    WAITING = "waiting"
    NOT_HEARD = "not heard"


@dataclass(frozen=True)
class RingHealth:
    """`members` are the hosts of this ring and of none before it, with what is known of each."""

    members: tuple[tuple[Member, Health], ...]
    expected: int  # how many of them were heard when the ring opened, and are not isolated

    def count(self, health: Health) -> int:
        return sum(found is health for _, found in self.members)

    def failed_percent(self) -> float:
        return 100 * self.count(Health.FAILED) / len(self.members) if self.members else 0.0


class Step(StrEnum):
    WAIT = "wait"
    OPEN = "open the next ring"
    FINISH = "finish"
    REVERT = "revert"
    PAUSE = "pause"


@dataclass(frozen=True)
class Decision:
    step: Step
    why: str


def members_of(rollout: Rollout, members: Sequence[Member]) -> tuple[tuple[Member, ...], ...]:
    """Return the hosts of each ring, each host in the first ring that reaches it."""
    rings: list[list[Member]] = [[] for _ in rollout.plan.rings]
    for member in members:
        # Rings open one after the other and stay open, so the first one that has it is the one that reaches it.
        for ring, its_members in zip(rollout.plan.rings, rings, strict=True):
            if ring.holds(member.host, member.layers, layer=rollout.layer, version=rollout.version):
                its_members.append(member)
                break
    return tuple(map(tuple, rings))


def health_of(rollout: Rollout, members: Sequence[Member]) -> tuple[RingHealth, ...]:
    """Return what is known of each ring that is open."""
    return tuple(
        RingHealth(
            tuple((member, judge(rollout, member, opened)) for member in ring),
            sum(rollout.kept(member.host).was_heard and not is_isolated(member) for member in ring),
        )
        for ring, opened in zip(members_of(rollout, members), rollout.opened, strict=False)
    )


def is_isolated(member: Member) -> bool:
    """Return whether people cut it off: then it can show nothing, whatever its policy."""
    return member.seen is not None and member.seen.isolated


def judge(rollout: Rollout, member: Member, opened: datetime) -> Health:
    """Return what a host's last report says of it, of which the ring was opened at `opened`."""
    seen = member.seen
    if seen is None or seen.received <= opened:
        return Health.NOT_HEARD
    if seen.isolated:
        return Health.WAITING
    kept = _kept_after(rollout, member.host, seen)
    is_in_force = seen.in_force == rollout.version
    if seen.failed == rollout.version:
        return Health.FAILED
    for since, most in ((kept.behind, _quiet(rollout)), (kept.deaf, _starting(rollout))):
        if since is not None and seen.received >= since + most:
            return Health.FAILED
    is_good = is_in_force and _is_guarded(rollout, kept, seen) and kept.deaf is None
    return Health.HEALTHY if is_good else Health.WAITING


def noted(rollout: Rollout, members: Sequence[Member]) -> Rollout:
    """Return the roll-out with what is to be kept of the last report of each host in an open ring."""
    heard = dict(rollout.heard)
    for ring, opened in zip(members_of(rollout, members), rollout.opened, strict=False):
        for member in ring:
            if member.seen is not None and member.seen.received > opened:
                kept = _kept_after(rollout, member.host, member.seen)
                if kept != rollout.kept(member.host):
                    heard[str(member.host)] = kept
    return replace(rollout, heard=heard)


def _kept_after(rollout: Rollout, host: HostId, seen: Observation) -> Heard:
    kept = rollout.kept(host)
    is_in_force = seen.in_force == rollout.version
    is_followed = is_in_force and _is_followed(rollout, kept, seen)
    is_behind = seen.accepted == rollout.version and not is_followed and not seen.isolated
    is_deaf = is_in_force and bool(kept.listened) and not seen.listening and not seen.isolated

    def began(since: datetime | None, most: timedelta) -> datetime:
        if since is None or kept.last is None:
            return seen.received
        has_failed, went_on = kept.last >= since + most, seen.received - kept.last <= _quiet(rollout)
        return since if has_failed or went_on else seen.received

    return replace(
        kept,
        behind=began(kept.behind, _quiet(rollout)) if is_behind else None,
        deaf=began(kept.deaf, _starting(rollout)) if is_deaf else None,
        last=seen.received if is_behind or is_deaf else None,
    )


def _quiet(rollout: Rollout) -> timedelta:
    return timedelta(seconds=rollout.plan.quiet_s)


def _starting(rollout: Rollout) -> timedelta:
    return min(_quiet(rollout), _STARTS_WITHIN)


def _is_guarded(rollout: Rollout, kept: Heard, seen: Observation) -> bool:
    """Return whether the guard does what it should by the version; without rules in it that may be nothing.

    A part may have rules all the same: a guard that says why it has no policy, and did not before, has lost one.
    """
    if seen.guard is None:
        return not kept.guarded
    has_lost = bool(seen.guard_error) and kept.guarded
    return seen.guard == rollout.version or (seen.guard == 0 and not rollout.for_guards and not has_lost)


def _is_followed(rollout: Rollout, kept: Heard, seen: Observation) -> bool:
    """Return whether no guard lags behind that could follow: one that never could is not the policy's fault."""
    return _is_guarded(rollout, kept, seen) or (seen.guard == 0 and not kept.guarded)


def decide(rollout: Rollout, members: Sequence[Member], now: datetime) -> Decision:
    """Return what is to happen next, by what is stored and what hosts reported last.

    Who pauses has no further ring open; the way back stays.
    """
    stands = Decision(Step.WAIT, f"it is {rollout.state.value}: {rollout.why or 'somebody said so'}")
    if rollout.state in (State.REVERTED, State.FINISHED):
        return stands
    rings = health_of(rollout, members)
    goes_back, is_paused = rollout.plan.on_abort is OnAbort.REVERT, rollout.state is State.PAUSED
    for number, ring in enumerate(rings, 1):
        if (goes_back or not is_paused) and (why := failure(ring, rollout.plan.abort_percent)):
            return Decision(Step.REVERT if goes_back else Step.PAUSE, f"ring {number}: {why}")
    if is_paused:
        return stands
    soaked = rollout.opened[-1] + timedelta(seconds=rollout.plan.soak_s)
    if lacking := _lacking(rings, rollout):
        return Decision(Step.WAIT, lacking)
    if now < soaked:
        left = -(-int((soaked - now).total_seconds()) // 60)
        return Decision(Step.WAIT, f"{_good(rings[-1])}; it is watched for {left} more minute{'s' * (left != 1)}")
    return Decision(Step.FINISH if rollout.is_everywhere else Step.OPEN, _good(rings[-1]))


def with_heard(rollout: Rollout, hosts: Sequence[Member], now: datetime) -> Rollout:
    """Return the roll-out, of which a ring was just opened, with who of that ring was heard lately, and how it was."""
    since = now - timedelta(seconds=rollout.plan.quiet_s)
    ring = members_of(rollout, hosts)[len(rollout.opened) - 1]
    heard = {
        str(member.host): Heard(member.seen.listening, _can_follow(member.seen))
        for member in ring
        if member.seen is not None and member.seen.received >= since
    }
    return replace(rollout, heard={**rollout.heard, **heard})


def _can_follow(seen: Observation) -> bool:
    """Return whether a guard answers that has a policy, or has none and says nothing of why."""
    return seen.guard is not None and (seen.guard > 0 or not seen.guard_error)


def failure(ring: RingHealth, abort_percent: int) -> str:
    """Return why a ring ends its roll-out, empty where it does not."""
    failed = [member.asset for member, health in ring.members if health is Health.FAILED]
    if not failed or ring.failed_percent() < abort_percent:
        return ""
    shown = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
    return f"{len(failed)} of {len(ring.members)} hosts failed: {shown}"


def _lacking(rings: Sequence[RingHealth], rollout: Rollout) -> str:
    """Return what the newest ring has still to show, empty where it has shown all."""
    ring, is_first = rings[-1], len(rings) == 1
    if not ring.members and not is_first:
        return ""
    if not rollout.is_everywhere and all(is_isolated(member) for member, _ in ring.members):
        return (
            f"no host of ring {len(rings)} is left that could show anything: they are revoked or isolated; "
            "open the next ring with `policy rollout widen`, or take it back with `policy rollout revert`"
        )
    healthy = ring.count(Health.HEALTHY)
    needed = -(-ring.expected * rollout.plan.healthy_percent // 100)
    if not rollout.is_everywhere:  # the last ring opens nothing, so it need not wait for hosts that are all off
        needed = max(1, needed)
    if healthy >= needed:
        return ""
    return (
        f"{healthy} of {len(ring.members)} hosts healthy, {needed} have to be; {ring.count(Health.FAILED)} failed, "
        f"{ring.count(Health.WAITING)} wait, {ring.count(Health.NOT_HEARD)} not heard since it opened"
    )


def _good(ring: RingHealth) -> str:
    return f"{ring.count(Health.HEALTHY)} of {len(ring.members)} hosts healthy, {ring.count(Health.FAILED)} failed"

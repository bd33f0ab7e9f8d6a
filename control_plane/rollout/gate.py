"""Decides whether a roll-out goes on, waits, stops or is over. Touches nothing.

Of a host of an open ring its last signed report decides, if it came after the ring opened:

    healthy     this very version is in force, at the agent and at the guard where there is one, and it listens if it
                listened when its ring opened
    failed      it has the version and says why it does not act by it, or has had `quiet_s` to and does not; or it
                listened and does not any more. Of what it has not taken, an error says so at once where it had none
                when its ring opened, and else after `quiet_s`: what it lacks may be what this version brings
    waiting     it reports, and has not come so far
    not heard   nothing came since. A host that is off proves nothing, and fails nobody

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


@dataclass(frozen=True)
class Observation:
    """What a host said last of one layer. `guard` is None where it reports none, or none for this layer."""

    received: datetime
    accepted: int
    in_force: int
    error: str
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
    expected: int  # how many of them were heard when the ring opened

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
            sum(str(member.host) in rollout.heard for member in ring),
        )
        for ring, opened in zip(members_of(rollout, members), rollout.opened, strict=False)
    )


def judge(rollout: Rollout, member: Member, opened: datetime) -> Health:
    """Return what a host's last report says of it, of which the ring was opened at `opened`."""
    seen = member.seen
    if seen is None or seen.received <= opened:
        return Health.NOT_HEARD
    is_in_force = seen.in_force == rollout.version
    is_guarded = not seen.guard or seen.guard == rollout.version  # one that has no policy at all lost none by this
    before = rollout.heard.get(str(member.host), Heard())
    # A host that people isolated listens to nobody, whatever its policy.
    stopped = before.listened and not seen.listening and not seen.isolated
    if is_in_force and is_guarded and not stopped:
        return Health.WAITING if seen.isolated else Health.HEALTHY
    has_it = seen.accepted == rollout.version
    had_time = seen.received >= opened + timedelta(seconds=rollout.plan.quiet_s)
    is_news = had_time or not before.erred
    has_error = (seen.error and not is_in_force and (has_it or is_news)) or (
        seen.guard_error and not is_guarded and is_news
    )
    if stopped or has_error or (has_it and had_time):
        return Health.FAILED
    return Health.WAITING


def decide(rollout: Rollout, members: Sequence[Member], now: datetime) -> Decision:
    """Return what is to happen next, by what is stored and what hosts reported last."""
    if rollout.state is not State.RUNNING:
        return Decision(Step.WAIT, f"it is {rollout.state.value}: {rollout.why or 'somebody said so'}")
    rings = health_of(rollout, members)
    for number, ring in enumerate(rings, 1):
        if why := failure(ring, rollout.plan.abort_percent):
            step = Step.REVERT if rollout.plan.on_abort is OnAbort.REVERT else Step.PAUSE
            return Decision(step, f"ring {number}: {why}")
    soaked = rollout.opened[-1] + timedelta(seconds=rollout.plan.soak_s)
    if lacking := _lacking(rings, rollout):
        return Decision(Step.WAIT, lacking)
    if now < soaked:
        left = -(-int((soaked - now).total_seconds()) // 60)
        return Decision(Step.WAIT, f"{_good(rings[-1])}; it is watched for {left} more minute{'s' * (left != 1)}")
    return Decision(Step.FINISH if rollout.is_everywhere else Step.OPEN, _good(rings[-1]))


def with_heard(rollout: Rollout, hosts: Sequence[Member], now: datetime) -> Rollout:
    """Return the roll-out, of which a ring was just opened, with who of that ring was heard lately, and said what."""
    since = now - timedelta(seconds=rollout.plan.quiet_s)
    ring = members_of(rollout, hosts)[len(rollout.opened) - 1]
    heard = {
        str(member.host): Heard(member.seen.listening, bool(member.seen.error or member.seen.guard_error))
        for member in ring
        if member.seen is not None and member.seen.received >= since
    }
    return replace(rollout, heard={**rollout.heard, **heard})


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
    healthy = ring.count(Health.HEALTHY)
    needed = -(-ring.expected * rollout.plan.healthy_percent // 100)
    if not rollout.is_everywhere:  # the last ring opens nothing, so it need not wait for hosts that are all off
        needed = max(1, needed)
    if healthy >= needed:
        return ""
    return (
        f"{healthy} of {len(ring.members)} hosts healthy, {needed} have to be; "
        f"{ring.count(Health.WAITING)} wait, {ring.count(Health.NOT_HEARD)} not heard since it opened"
    )


def _good(ring: RingHealth) -> str:
    return f"{ring.count(Health.HEALTHY)} of {len(ring.members)} hosts healthy, {ring.count(Health.FAILED)} failed"

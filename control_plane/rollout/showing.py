"""Roll-outs for people: each ring, who is in it, how they do, and what the next one waits for."""

from collections.abc import Iterator, Mapping, Sequence

from control_plane.rollout.gate import Decision, Health, Member, RingHealth, health_of, members_of
from control_plane.rollout.state import Rollout, State
from shared import clock
from shared.canonical import Json
from shared.policy.layer import is_part
from shared.policy.rollout import EVERYBODY, Rings


def shown(rollout: Rollout, hosts: Sequence[Member], decision: Decision) -> dict[str, Json]:
    return {
        "layer": rollout.layer,
        "version": rollout.version,
        "state": rollout.state.value,
        "since": clock.text(rollout.since),
        "person": rollout.person,
        "why": rollout.why,
        "waits_for": decision.why,
        "ring": len(rollout.opened),
        "soak_s": rollout.plan.soak_s,
        "healthy_percent": rollout.plan.healthy_percent,
        "abort_percent": rollout.plan.abort_percent,
        "on_abort": rollout.plan.on_abort.value,
        "quiet_s": rollout.plan.quiet_s,
        "rings": list(_rings(rollout, hosts)),
    }


def not_everywhere(rollout: Mapping[str, Json]) -> str:
    """Return what is to be said of a roll-out as `shown` gives it; empty where it is over."""
    rings, state = rollout["rings"], rollout["state"]
    if state == State.FINISHED or not isinstance(rings, list):
        return ""
    policy = f"policy {rollout['version']} of {rollout['layer']}"
    if state == State.REVERTED:
        return f"{policy} was taken back by {rollout['person']}: {rollout['why'] or 'no reason given'}"
    return f"{policy} is at ring {rollout['ring']} of {len(rings)}: {rollout['waits_for']}"


def _rings(rollout: Rollout, hosts: Sequence[Member]) -> Iterator[Json]:
    opened, names = rollout.opened, {str(member.host): member.asset for member in hosts}
    rings = health_of(rollout, hosts)
    for number, (ring, reached) in enumerate(zip(rollout.plan.rings, members_of(rollout, hosts), strict=True)):
        is_open = number < len(opened)
        health = rings[number] if is_open else RingHealth(tuple((each, Health.NOT_HEARD) for each in reached), 0)
        yield {
            "ring": number + 1,
            "who": _who(ring, names, rollout.layer),
            "opened": clock.text(opened[number]) if is_open else None,
            "hosts": len(health.members),
            "healthy": health.count(Health.HEALTHY),
            "failed": health.count(Health.FAILED),
            "waiting": health.count(Health.WAITING),
            "not_heard": health.count(Health.NOT_HEARD),
            "members": [
                {"host": str(each.host), "asset": each.asset, "health": found.value if is_open else None}
                for each, found in health.members
            ],
        }


def _who(ring: Rings, names: Mapping[str, str], layer: str) -> str:
    of_part = f" of {layer}" if is_part(layer) else ""
    if ring.percent == EVERYBODY:
        return f"everybody{of_part}"
    told = [names.get(str(host), str(host)) for host in ring.hosts] + list(ring.layers)
    return ", ".join([*told, *([f"{ring.percent} % of all hosts{of_part}"] if ring.percent else [])])

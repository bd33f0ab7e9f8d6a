"""Commands around roll-outs: which rings a policy is published in, how far it is, and steering it."""

import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from control_plane.cli.client import PeopleDoor
from control_plane.cli.named_host import named_host
from control_plane.cli.people import door
from control_plane.policy.together import LayerDocument
from control_plane.rollout.plan import OnAbort, Plan
from shared.errors import Malformed, Refused
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.layer import LAYER_PATTERN, is_part
from shared.policy.part import PartContent
from shared.policy.rollout import EVERYBODY, Rings

_SHARE = re.compile(r"([1-9][0-9]?)\s?%")
_LEAST_QUIET_S = 60
_SOAK_S, _HEALTHY_PERCENT, _ABORT_PERCENT = 1800, 90, 5
_EXPECTS_A_RING = "expected a share of all hosts such as 10%, or a layer such as site-north"


class NotOfLayer(Refused):
    def __init__(self, wanted: str, layer: str) -> None:
        super().__init__(
            f"{wanted} was not enrolled with layer {layer}, so its policy never reaches that host; name one that was, "
            "as `leadglass-server status` shows"
        )
        self.wanted, self.layer = wanted, layer


def is_in_rings(options: Namespace) -> bool:
    given = (options.soak, options.healthy, options.abort_at, options.on_abort, options.quiet)
    return bool(options.canary or options.ring) or any(value is not None for value in given)


def plan_of(options: Namespace, layer: str, policies: Sequence[LayerDocument], people: PeopleDoor) -> Plan | None:
    """Return the plan that the options ask for, None: for everybody at once.

    `policies` are what hosts may act by meanwhile. Raises HostNotNamed, NotOfLayer, Malformed.
    """
    if not is_in_rings(options):
        return None
    if not options.canary and not options.ring:
        raise Malformed("roll-out", "nobody is first; say --canary HOST or --ring 10%")
    status: Any = people.get("/api/v1/status") if options.canary else {"hosts": []}
    active = [host for host in status["hosts"] if host["active"]]
    canaries = tuple(_canary(name, active, layer) for name in options.canary)
    first = [Rings(hosts=canaries)] if canaries else []
    plan = Plan(
        (*first, *map(_ring, options.ring), Rings(percent=EVERYBODY)),
        soak_s=_or(options.soak, _SOAK_S),
        healthy_percent=_or(options.healthy, _HEALTHY_PERCENT),
        abort_percent=_or(options.abort_at, _ABORT_PERCENT),
        on_abort=OnAbort(options.on_abort or OnAbort.REVERT),
        quiet_s=_or(options.quiet, usual_quiet_s(layer, policies)),
    )
    return Plan.parse(plan.json())


def usual_quiet_s(layer: str, policies: Sequence[LayerDocument]) -> int:
    """Return in how long the slowest host that may have `layer` has pulled and reported, by any of its policies."""
    told: list[PolicyDocument | PartContent] = []
    for policy in policies:
        if isinstance(policy, PolicyDocument):
            told.append(policy)
        elif policy.layer == layer or _kind(policy.layer) != _kind(layer):  # a host has one layer of a kind
            told += [policy.content, *(exception for _, exception in policy.hosts)]
    state_every_s, pull_every_s = max(one.state_every_s for one in told), max(one.pull_every_s for one in told)
    return max(_LEAST_QUIET_S, 2 * pull_every_s + 3 * state_every_s)


def rings(options: Namespace) -> int:
    """Show each roll-out; 1 where hosts failed, or one was stopped or taken back."""
    answer: Any = door(options).get("/api/v1/policy/rollouts", {"layer": options.layer})
    return _tell(options, answer)


def steer(options: Namespace) -> int:
    asked = {"layer": options.layer, "do": options.do, "because": options.because}
    answer: Any = door(options).post("/api/v1/policy/rollouts", asked)
    _tell(options, answer)
    return 0


def lines(rollout: Mapping[str, Any]) -> Iterator[str]:
    count = len(rollout["rings"])
    yield (
        f"policy {rollout['version']} of {rollout['layer']}: {rollout['state']}, ring {rollout['ring']} of {count}, "
        f"since {rollout['since']}"
    )
    yield f"    by {rollout['person']}: {rollout['why'] or 'no reason given'}"
    for ring in rollout["rings"]:
        yield f"    ring {ring['ring']}  {ring['who']}: {_hosts(ring)}"
        for member in ring["members"]:
            if member["health"] == "failed":
                yield f"            {member['asset']} ({member['host']}) failed"
    if rollout["state"] == "running":
        yield f"    waits: {rollout['waits_for']}"
    yield (
        f"    a ring is good at {rollout['healthy_percent']} % healthy after {rollout['soak_s']} s; "
        f"at {rollout['abort_percent']} % failed: {rollout['on_abort']}"
    )


def _hosts(ring: Mapping[str, Any]) -> str:
    hosts = f"{ring['hosts']} host{'s' * (ring['hosts'] != 1)}"
    if ring["opened"] is None:
        return f"{hosts}, not open"
    return (
        f"{hosts}: {ring['healthy']} healthy, {ring['failed']} failed, {ring['waiting']} waiting, "
        f"{ring['not_heard']} not heard; open since {ring['opened']}"
    )


def _tell(options: Namespace, answer: Mapping[str, Any]) -> int:
    rollouts, unreadable = answer["rollouts"], answer["unreadable"]
    # A script reads a list of roll-outs, and has to see this all the same.
    print("".join(f"{line}\n" for line in unreadable), end="", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(rollouts, indent=2))
    else:
        for rollout in rollouts:
            print("\n".join(lines(rollout)))
        if not rollouts and not unreadable:
            print("nothing was published in rings, or what was is followed by a newer version")
    stopped = any(rollout["state"] in ("paused", "reverted") for rollout in rollouts)
    return 1 if unreadable or stopped or any(ring["failed"] for rollout in rollouts for ring in rollout["rings"]) else 0


def _kind(layer: str) -> str:
    return layer.partition("-")[0]


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given


def _canary(name: str, hosts: Sequence[Mapping[str, Any]], layer: str) -> HostId:
    host = named_host(hosts, name)
    if is_part(layer) and layer not in [each["layer"] for each in host["layers"] if each["enrolled"]]:
        raise NotOfLayer(name, layer)
    return HostId.parse(host["host"])


def _ring(text: str) -> Rings:
    share = _SHARE.fullmatch(text)
    if share is not None:
        return Rings(percent=int(share[1]))
    if re.fullmatch(LAYER_PATTERN, text) is None:
        raise Malformed(f"--ring {text[:40]}", _EXPECTS_A_RING)
    return Rings(layers=(text,))

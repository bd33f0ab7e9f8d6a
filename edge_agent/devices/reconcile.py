"""What came, went and changed while nobody watched, from what was known and what is there."""

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.devices import ports
from shared.fleet.devices import Seen


@dataclass(frozen=True)
class Mark:
    """What tells one attachment of a device from another one.

    `instance` is the kernel's number of this attachment and means something within one `boot` only.
    """

    fingerprint: str
    instance: str
    boot: str


@dataclass(frozen=True)
class Changes:
    """Ports, a hub before what hangs on it; those of `detached` the other way round."""

    attached: tuple[str, ...]  # nothing was known there
    detached: tuple[str, ...]
    changed: tuple[str, ...]  # another device, or one that describes itself otherwise
    replugged: tuple[str, ...]  # looks the same and was away in between
    still: tuple[str, ...]  # never away, or the machine was off in between, over which nothing can be known

    @property
    def nothing(self) -> bool:
        return not (self.attached or self.detached or self.changed or self.replugged)


def reconcile(known: Mapping[str, Mark], present: Mapping[str, Mark]) -> Changes:
    both = sorted(known.keys() & present.keys(), key=ports.in_order)
    changed = [port for port in both if known[port].fingerprint != present[port].fingerprint]
    same = [port for port in both if port not in set(changed)]
    replugged = [port for port in same if was_away(known[port], present[port])]
    return Changes(
        attached=tuple(sorted(present.keys() - known.keys(), key=ports.in_order)),
        detached=tuple(sorted(known.keys() - present.keys(), key=ports.in_order, reverse=True)),
        changed=tuple(changed),
        replugged=tuple(replugged),
        still=tuple(port for port in same if port not in set(replugged)),
    )


def was_away(known: Mark, present: Mark) -> bool:
    return known.boot == present.boot and known.instance != present.instance


def seen(port: str, changes: Changes) -> Seen:
    """Return how a device that reconciling found is told: nothing found by looking was seen as it happened."""
    return Seen.BEFORE if port in changes.still else Seen.WHILE_DOWN

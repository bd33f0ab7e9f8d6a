"""The plan of a roll-out: its rings, what a ring has to show before the next one opens, and what ends it.

    plan = {"rings": [ring, ...], "soak_s", "healthy_percent", "abort_percent", "on_abort", "quiet_s"}
    ring = {"hosts": [host id, ...], "layers": [layer, ...], "percent"}, the members of `shared.policy.rollout.Rings`

The last ring is everybody. It is a decision of whoever publishes and is not signed: no ring can have a policy that
people did not sign, and hosts take both of a roll-out's policies from the signed layer.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.rollout import EVERYBODY, MAX_HOSTS, MAX_LAYERS, Rings

MAX_RINGS = 16
MAX_SOAK_S, MAX_QUIET_S = 30 * 86_400, 7 * 86_400
_EVERYBODY = Rings(percent=EVERYBODY)


class OnAbort(StrEnum):
    """What happens by itself when too many hosts of a ring failed."""

    REVERT = "revert"  # every host goes back to what it had
    PAUSE = "pause"  # no further ring opens, until a person says so


@dataclass(frozen=True)
class Plan:
    """`rings` are each what comes in addition to those before; the last one is everybody.

    A ring is good when `healthy_percent` of its hosts that are expected to report are healthy, no earlier than
    `soak_s` after it opened. It ends the roll-out when `abort_percent` of its hosts failed, and at least one. A host is
    expected to report that was heard within `quiet_s` before its ring opened, and is not isolated; one that has
    accepted the version has `quiet_s` from its first report of that to put it in force.
    """

    rings: tuple[Rings, ...]
    soak_s: int
    healthy_percent: int
    abort_percent: int
    on_abort: OnAbort
    quiet_s: int

    def opened(self, count: int) -> Rings:
        """Return who is reached when the first `count` rings are open."""
        rings = self.rings[:count]
        return Rings(
            tuple(dict.fromkeys(host for ring in rings for host in ring.hosts)),
            tuple(dict.fromkeys(layer for ring in rings for layer in ring.layers)),
            max((ring.percent for ring in rings), default=0),
        )

    def json(self) -> dict[str, Json]:
        return {
            "rings": [ring.json() for ring in self.rings],
            "soak_s": self.soak_s,
            "healthy_percent": self.healthy_percent,
            "abort_percent": self.abort_percent,
            "on_abort": self.on_abort.value,
            "quiet_s": self.quiet_s,
        }

    @classmethod
    def parse(cls, value: Json) -> "Plan":
        """Raises Malformed."""
        fields = Fields(value, "plan of a roll-out")
        plan = cls(
            tuple(Rings.parse(Fields(ring, "ring of a roll-out")) for ring in fields.items("rings", most=MAX_RINGS)),
            fields.integer("soak_s", most=MAX_SOAK_S),
            fields.integer("healthy_percent", least=1, most=100),
            fields.integer("abort_percent", least=1, most=100),
            OnAbort(fields.choice("on_abort", list(OnAbort))),
            fields.integer("quiet_s", least=1, most=MAX_QUIET_S),
        )
        fields.done()
        _verify(plan)
        return plan


def _verify(plan: Plan) -> None:
    if len(plan.rings) < 2 or plan.rings[-1] != _EVERYBODY:
        raise Malformed("plan of a roll-out", "it has a ring and then everybody, at the least")
    for ring in plan.rings[:-1]:
        if ring == Rings():
            raise Malformed("plan of a roll-out", "one of its rings names nobody")
        if ring.percent == EVERYBODY:
            raise Malformed("plan of a roll-out", "everybody is the last ring alone")
    before = plan.opened(len(plan.rings) - 1)
    if len(before.hosts) > MAX_HOSTS or len(before.layers) > MAX_LAYERS:
        raise Malformed("plan of a roll-out", f"it names more than {MAX_HOSTS} hosts or {MAX_LAYERS} layers")
    shares = [ring.percent for ring in plan.rings if ring.percent]
    if shares != sorted(set(shares)):
        raise Malformed("plan of a roll-out", "each share of all hosts is larger than the one before")

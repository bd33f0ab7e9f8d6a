"""How far a roll-out is: what is stored of it, and nothing else, decides what happens next.

opened = [time, ...], of each ring that is open
heard  = {host id: {"listened", "guarded", "behind": time, "deaf": time, "last": time}}, each where there is one
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from control_plane.db.models import RolloutRow
from control_plane.rollout.plan import Plan
from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId

_MOST_HOSTS = 100_000
_MOST_MEMBERS = 16  # of a plan; more than it has, so that its own reader says what is wrong with it


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    REVERTED = "reverted"
    FINISHED = "finished"


@dataclass(frozen=True)
class Heard:
    """What is kept of a host in a ring that is open: how it was before, and since when it has not been as it should.

    `guarded`: a guard answered there that could follow a policy. `behind`: when its first report came in that said
    that it has the version, and it or its guard does not act by it. `deaf`: when the first one came that said that it
    acts by the version and does not listen any more. `last`: when the last one came in that said either. A report that
    says otherwise ends it, and silence does before it went on for long enough to be a failure.
    """

    listened: bool | None = None  # None: it was not heard when its ring opened
    guarded: bool = False
    behind: datetime | None = None
    deaf: datetime | None = None
    last: datetime | None = None

    @property
    def was_heard(self) -> bool:
        return self.listened is not None

    def json(self) -> dict[str, Json]:
        before: dict[str, Json] = {} if self.listened is None else {"listened": self.listened, "guarded": self.guarded}
        since = {"behind": self.behind, "deaf": self.deaf, "last": self.last}
        return {**before, **{name: clock.text(instant) for name, instant in since.items() if instant is not None}}

    @classmethod
    def parse(cls, value: Json, what: str) -> "Heard":
        """Raises Malformed."""
        fields = Fields(value, what)
        was_heard = fields.has("listened")
        heard = cls(
            fields.flag("listened") if was_heard else None,
            fields.flag("guarded") if was_heard else False,
            *(fields.instant(name) if fields.has(name) else None for name in ("behind", "deaf", "last")),
        )
        fields.done()
        return heard


@dataclass(frozen=True)
class Rollout:
    """`person` did the last thing to it, at `since`, because of `why`.

    `for_guards`: a guard that answers of this layer should come to the version itself. That is told by the policy and
    not by the row.
    """

    layer: str
    version: int
    plan: Plan
    opened: tuple[datetime, ...]
    heard: Mapping[str, Heard]
    state: State
    since: datetime
    person: str
    why: str
    for_guards: bool = field(default=False, kw_only=True)

    def kept(self, host: HostId) -> Heard:
        return self.heard.get(str(host), Heard())

    @property
    def is_everywhere(self) -> bool:
        return len(self.opened) == len(self.plan.rings)

    def write(self, row: RolloutRow) -> None:
        row.plan = canonical.encode(self.plan.json()).decode()
        row.opened = canonical.encode([clock.text(instant) for instant in self.opened]).decode()
        row.heard = canonical.encode({host: kept.json() for host, kept in self.heard.items()}).decode()
        row.state, row.since, row.person, row.why = self.state.value, self.since, self.person, self.why

    def row(self) -> RolloutRow:
        row = RolloutRow(layer=self.layer, version=self.version)
        self.write(row)
        return row

    @classmethod
    def of(cls, row: RolloutRow, *, for_guards: bool = False) -> "Rollout":
        """Raises Malformed: the row was changed by somebody else."""
        what = f"roll-out of version {row.version} of layer {row.layer}"
        stored: dict[str, Json] = {
            name: canonical.parse(text.encode(), f"{what}, {name}")
            for name, text in (("plan", row.plan), ("opened", row.opened), ("heard", row.heard))
        }
        fields = Fields({**stored, "state": row.state}, what)
        plan = Plan.parse(fields.mapping("plan", most=_MOST_MEMBERS))
        opened = tuple(Fields({"at": at}, what).instant("at") for at in fields.items("opened", most=len(plan.rings)))
        if not opened:
            raise Malformed(what, "none of its rings is open, and one is from the first moment on")
        kept = fields.mapping("heard", most=_MOST_HOSTS)
        heard = {host: Heard.parse(value, f"{what}, host {host[:40]}") for host, value in kept.items()}
        state = State(fields.choice("state", list(State)))
        fields.done()
        last = (state, row.since, row.person, row.why)
        return cls(row.layer, row.version, plan, opened, heard, *last, for_guards=for_guards)

"""How far a roll-out is: what is stored of it, and nothing else, decides what happens next.

opened = [time, ...], of each ring that is open
heard  = {host id: {"listened": true or false, "erred": true or false}}, of each host that was heard when its ring
         opened, and what it said last
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from control_plane.db.models import RolloutRow
from control_plane.rollout.plan import MAX_RINGS, Plan
from shared import canonical, clock
from shared.canonical import Json
from shared.fields import Fields

_MOST_HOSTS = 100_000


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    REVERTED = "reverted"
    FINISHED = "finished"


@dataclass(frozen=True)
class Heard:
    """What a host had said last when its ring opened: whether it listened, and whether something was wrong already."""

    listened: bool = False
    erred: bool = False

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, fields: Fields) -> "Heard":
        """Raises Malformed."""
        heard = cls(fields.flag("listened"), fields.flag("erred"))
        fields.done()
        return heard


@dataclass(frozen=True)
class Rollout:
    """`person` did the last thing to it, at `since`, because of `why`."""

    layer: str
    version: int
    plan: Plan
    opened: tuple[datetime, ...]
    heard: Mapping[str, Heard]
    state: State
    since: datetime
    person: str
    why: str

    @property
    def is_open(self) -> bool:
        """Return whether something may still happen to it by itself, or once it is resumed."""
        return self.state in (State.RUNNING, State.PAUSED)

    @property
    def is_everywhere(self) -> bool:
        return len(self.opened) == len(self.plan.rings)

    def write(self, row: RolloutRow) -> None:
        row.plan = canonical.encode(self.plan.json()).decode()
        row.opened = canonical.encode([clock.text(instant) for instant in self.opened]).decode()
        row.heard = canonical.encode({host: heard.json() for host, heard in self.heard.items()}).decode()
        row.state, row.since, row.person, row.why = self.state.value, self.since, self.person, self.why

    def row(self) -> RolloutRow:
        row = RolloutRow(layer=self.layer, version=self.version)
        self.write(row)
        return row

    @classmethod
    def of(cls, row: RolloutRow) -> "Rollout":
        """Raises Malformed: the row was changed by somebody else."""
        what = f"roll-out of version {row.version} of layer {row.layer}"
        stored: dict[str, Json] = {
            name: canonical.parse(text.encode(), f"{what}, {name}")
            for name, text in (("plan", row.plan), ("opened", row.opened), ("heard", row.heard))
        }
        fields = Fields({**stored, "state": row.state}, what)
        plan = Plan.parse(fields.mapping("plan", most=MAX_RINGS))
        opened = tuple(Fields({"at": at}, what).instant("at") for at in fields.items("opened", most=len(plan.rings)))
        said = fields.mapping("heard", most=_MOST_HOSTS)
        heard = {host: Heard.parse(Fields(value, what)) for host, value in said.items()}
        state = State(fields.choice("state", list(State)))
        fields.done()
        return cls(row.layer, row.version, plan, opened, heard, state, row.since, row.person, row.why)

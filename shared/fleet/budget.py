"""What agent and guard take of their host, as its kernel counts it for both together, against what they may take.

The host says figures, and whoever reads them judges: nothing here is a word of the host's that all is well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

MEMBER = "budget"  # of the state report
MEMORY_BYTES = 150 << 20
CAPTURING_PERCENT, IDLE_PERCENT = 5.0, 0.5  # of a core
# What the first of them is for. Who is sent more may take more, by as much.
IMAGES_A_SECOND, BYTES_A_SECOND = 10, 10 * (512 << 10)
# Over less, what is counted says more of the moment than of the programs.
CAPTURING_MS, IDLE_MS = 20_000, 120_000
MAX_REASON_CHARS = 200
_MIB = 1 << 20


class Verdict(StrEnum):
    WITHIN = "within"
    EXCEEDED = "exceeded"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class Spent:
    """Processor time over a stretch of time, and what was taken in meanwhile."""

    cpu_ms: int
    over_ms: int
    images: int = 0
    dataset_bytes: int = 0

    @property
    def percent(self) -> float:
        return 100 * self.cpu_ms / self.over_ms

    @property
    def images_a_second(self) -> float:
        return 1000 * self.images / self.over_ms

    @property
    def allowed_percent(self) -> float:
        """Of a core, for so many images of such a size."""
        seconds = self.over_ms / 1000
        share = max(self.images / IMAGES_A_SECOND, self.dataset_bytes / BYTES_A_SECOND) / seconds
        return CAPTURING_PERCENT * max(share, 1.0)

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, fields: Fields) -> "Spent":
        spent = cls(
            fields.integer("cpu_ms"),
            fields.integer("over_ms", least=1),
            fields.integer("images"),
            fields.integer("dataset_bytes"),
        )
        fields.done()
        return spent


@dataclass(frozen=True)
class Stalled:
    """For how long some of our threads waited for what others had, since the start of the machine."""

    cpu_ms: int
    io_ms: int
    memory_ms: int

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, fields: Fields) -> "Stalled":
        stalled = cls(fields.integer("cpu_ms"), fields.integer("io_ms"), fields.integer("memory_ms"))
        fields.done()
        return stalled


@dataclass(frozen=True)
class BudgetState:
    """Memory is that which the kernel cannot drop; `peak_bytes` is the kernel's own peak and has cached files in it.

    `agent_bytes` and `guard_bytes` are shares of `memory_bytes`; the guard's is None where it does not run there.
    """

    memory_bytes: int
    most_bytes: int  # what `memory_bytes` was at the most since the agent started, as often as it looked
    peak_bytes: int  # 0: this kernel does not say
    limit_bytes: int  # above which the kernel holds back; 0: there is none
    agent_bytes: int
    guard_bytes: int | None
    held_back: int  # how often it did
    killed: int  # processes that it ended for want of memory
    capturing: Spent | None = None  # the last stretch of an examination that was long enough
    idle: Spent | None = None
    stalled: Stalled | None = None  # None: this kernel does not count it

    def json(self) -> dict[str, Json]:
        optional: dict[str, Json] = {
            name: value.json()
            for name, value in (("capturing", self.capturing), ("idle", self.idle), ("stalled", self.stalled))
            if value is not None
        }
        guard: dict[str, Json] = {} if self.guard_bytes is None else {"guard_bytes": self.guard_bytes}
        return {
            "memory_bytes": self.memory_bytes,
            "most_bytes": self.most_bytes,
            "peak_bytes": self.peak_bytes,
            "limit_bytes": self.limit_bytes,
            "agent_bytes": self.agent_bytes,
            "held_back": self.held_back,
            "killed": self.killed,
            **guard,
            **optional,
        }

    @classmethod
    def parse(cls, fields: Fields) -> "BudgetState":
        state = cls(
            memory_bytes=fields.integer("memory_bytes"),
            most_bytes=fields.integer("most_bytes"),
            peak_bytes=fields.integer("peak_bytes"),
            limit_bytes=fields.integer("limit_bytes"),
            agent_bytes=fields.integer("agent_bytes"),
            guard_bytes=fields.integer("guard_bytes") if fields.has("guard_bytes") else None,
            held_back=fields.integer("held_back"),
            killed=fields.integer("killed"),
            capturing=Spent.parse(fields.fields("capturing")) if fields.has("capturing") else None,
            idle=Spent.parse(fields.fields("idle")) if fields.has("idle") else None,
            stalled=Stalled.parse(fields.fields("stalled")) if fields.has("stalled") else None,
        )
        fields.done()
        return state


@dataclass(frozen=True)
class NotCounted:
    """Why nothing is known of what is taken."""

    why: str

    def json(self) -> dict[str, Json]:
        return {"not_counted": self.why}


Budget = BudgetState | NotCounted


def parse_budget(fields: Fields) -> Budget:
    """Raises Malformed."""
    if not fields.has("not_counted"):
        return BudgetState.parse(fields)
    why = fields.text("not_counted", max_chars=MAX_REASON_CHARS)
    fields.done()
    if not why:
        raise Malformed("host state budget", "'not_counted' says nothing")
    return NotCounted(why)


@dataclass(frozen=True)
class Judged:
    """`findings` say each figure beside what it may be; those that exceed it, or of which nothing is known, as such."""

    verdict: Verdict
    findings: tuple[str, ...]

    def line(self) -> str:
        return f"{self.verdict}: {', '.join(self.findings)}"


def judge(budget: Budget) -> Judged:
    if isinstance(budget, NotCounted):
        return Judged(Verdict.NOT_EVALUATED, (budget.why,))
    found = list(_found(budget))
    verdicts = {verdict for verdict, _ in found}
    worst = next(v for v in (Verdict.EXCEEDED, Verdict.NOT_EVALUATED, Verdict.WITHIN) if v in verdicts)
    return Judged(worst, tuple(text for _, text in found))


def _found(budget: BudgetState) -> Iterator[tuple[Verdict, str]]:
    memory = f"{budget.most_bytes / _MIB:.0f} of {MEMORY_BYTES / _MIB:.0f} MiB at the most"
    yield _against(budget.most_bytes, MEMORY_BYTES), memory
    if budget.killed:
        yield Verdict.EXCEEDED, f"{budget.killed} processes ended for want of memory"
    if (capturing := budget.capturing) is None or capturing.over_ms < CAPTURING_MS:
        yield Verdict.NOT_EVALUATED, "while capturing: no examination was long enough to tell"
    else:
        of = f" of {capturing.allowed_percent:.1f}" if capturing.allowed_percent > CAPTURING_PERCENT else ""
        at = f"while capturing {capturing.images_a_second:.1f} images a second"
        yield (
            _against(capturing.percent, capturing.allowed_percent),
            f"{capturing.percent:.1f}{of} % of a core {at}",
        )
    if (idle := budget.idle) is None or idle.over_ms < IDLE_MS:
        yield Verdict.NOT_EVALUATED, "idle: it has not been so for long enough"
    else:
        yield _against(idle.percent, IDLE_PERCENT), f"{idle.percent:.2f} % idle"
    if budget.guard_bytes is None:
        yield Verdict.NOT_EVALUATED, "the guard does not run in the same slice"


def _against(value: float, most: float) -> Verdict:
    return Verdict.WITHIN if value <= most else Verdict.EXCEEDED

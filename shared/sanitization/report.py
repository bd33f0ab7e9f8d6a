"""What a host found and did with one ticket: the evidence. It claims no class; `judge.py` derives one.

    report = canonical JSON, the members of `WipeReport`, in a signed statement of the host's (Label.WIPE_REPORT)

docs/formats/wipe-certificate.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import canonical, clock
from shared.canonical import Json
from shared.devices.printable import FIT
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.wipe import ReadBack
from shared.sanitization.medium import Medium
from shared.sanitization.technique import Available, Fact, Facts, Technique
from shared.sanitization.ticket import PERSON_PATTERN, Override, TicketId

MAX_BYTES = 256 << 10
MAX_RANGES = 500
SEED_BYTES = 32
_MAX_STEPS, _MAX_CHECKS, _MAX_HIDDEN, _MAX_FACTS = 32, 32, 16, 64
_TEXT = rf"{FIT}*"
_MAX_TEXT_CHARS = 300
_FACT_NAME = r"[a-z][a-z0-9_]{0,39}"
_PATTERN = r"random|[0-9a-f]{2}|"


class Ending(StrEnum):
    """How the attempt ended, as the host knows it.

    `COMPLETED`: nothing more was to be done. `REFUSED`: not one byte was written. `UNKNOWN`: it began, and how it ended
    is not known.
    """

    COMPLETED = "completed"
    REFUSED = "refused"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class StepOutcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"  # the drive would not take the command
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Considered:
    """A technique, whether this drive has it, and why or why not, in words for a person."""

    technique: Technique
    available: Available
    why: str


@dataclass(frozen=True)
class Extent:
    """`count` logical sectors from `first` on."""

    first: int
    count: int


@dataclass(frozen=True)
class Extents:
    """`sectors` are all of them; `listed` are the first ones where there are more than `MAX_RANGES` runs."""

    sectors: int
    listed: tuple[Extent, ...]

    @property
    def is_complete(self) -> bool:
        return self.sectors == sum(one.count for one in self.listed)


NOWHERE = Extents(0, ())


@dataclass(frozen=True)
class Step:
    """One command to the drive, or one pass of writing.

    Of a command: `accepted` is that the drive took it, `progress_seen` that it was seen at work at least once, and
    `completed` that the drive itself said that it ended well; an exit status is none of these.
    Of a pass: `pattern` is "random" or a byte, `bytes_written` is what the drive acknowledged after the last flush,
    `seed` makes the stream of a random pass, and `commitment` is its SHA-256, durable before the first write.
    """

    technique: Technique
    part: str  # such as "pass 2 of 3"; empty where there is one
    tool: str  # program and version
    outcome: StepOutcome
    accepted: bool
    progress_seen: bool
    completed: bool
    pattern: str
    commitment: bytes | None
    seed: bytes | None
    bytes_total: int
    bytes_written: int
    retries: int
    unwritable: Extents
    resumed: int  # how often it went on after an interruption
    started: datetime
    ended: datetime | None
    detail: str
    facts: Facts


class Expected(StrEnum):
    """What a read back looks for.

    `CHANGED`: samples that held something before must differ from that afterwards; what was uniform counts for nothing.
    """

    STREAM = "stream"
    PATTERN = "pattern"
    CHANGED = "changed"


@dataclass(frozen=True)
class Checked:
    """A read back. `sample_seed` gives the places (`sampling.py`) and is None where the whole was read.

    `bytes_to_read` is how much was meant to be read; `bytes_equal` is of what was read, as `expected` has it.
    """

    amount: ReadBack
    expected: Expected
    pattern: str
    stream_seed: bytes | None
    sample_seed: bytes | None
    bytes_to_read: int
    bytes_read: int
    bytes_equal: int
    different: Extents
    unreadable: Extents
    tool: str
    started: datetime
    ended: datetime | None


class HiddenKind(StrEnum):
    HPA = "hpa"
    DCO = "dco"
    AMA = "accessible-max-address"
    NAMESPACES = "namespaces"
    BOOT_PARTITIONS = "boot-partitions"


class HiddenState(StrEnum):
    """`NONE` only where the drive was asked and answered so; else *indeterminate*."""

    NONE = "none"
    PRESENT = "present"
    REMOVED = "removed"
    INDETERMINATE = "indeterminate"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class HiddenArea:
    kind: HiddenKind
    state: HiddenState
    sectors: int
    detail: str


@dataclass(frozen=True)
class WipeReport:
    """`ticket_sha256` is of the ticket's text. `medium_after` is None where the drive was not read again.

    `typed_person` is what the person at the terminal typed as their name; nothing proves it but the ticket.
    `undelivered` counts images of the spool that had not been delivered; -1 where that could not be counted.
    """

    ticket_id: TicketId
    ticket_sha256: bytes
    host_id: HostId
    software: str
    typed_person: str
    clock_sure: bool
    started: datetime
    ended: datetime
    interruptions: int
    ending: Ending
    detail: str
    medium: Medium
    medium_after: Medium | None
    considered: tuple[Considered, ...]
    hidden: tuple[HiddenArea, ...]
    steps: tuple[Step, ...]
    checks: tuple[Checked, ...]
    health_before: Facts
    health_after: Facts
    overridden: tuple[Override, ...]
    undelivered: int

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "ticket": str(self.ticket_id),
                "ticket_sha256": self.ticket_sha256.hex(),
                "host": str(self.host_id),
                "software": self.software,
                "typed_person": self.typed_person,
                "clock_sure": self.clock_sure,
                "started": clock.text(self.started),
                "ended": clock.text(self.ended),
                "interruptions": self.interruptions,
                "ending": self.ending.value,
                "detail": self.detail,
                "medium": self.medium.json(),
                "medium_after": None if self.medium_after is None else self.medium_after.json(),
                "considered": [_considered_json(one) for one in self.considered],
                "hidden": [_hidden_json(one) for one in self.hidden],
                "steps": [_step_json(one) for one in self.steps],
                "checks": [_checked_json(one) for one in self.checks],
                "health_before": {**self.health_before},
                "health_after": {**self.health_after},
                "overridden": [one.value for one in self.overridden],
                "undelivered": self.undelivered,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "WipeReport":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("wipe report", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "wipe report"), "wipe report")
        fields.version()
        report = cls(
            ticket_id=TicketId.parse(fields.text("ticket")),
            ticket_sha256=fields.hex("ticket_sha256", 32),
            host_id=HostId.parse(fields.text("host")),
            software=_words(fields, "software"),
            typed_person=fields.text("typed_person", rf"({PERSON_PATTERN})?"),
            clock_sure=fields.flag("clock_sure"),
            started=fields.instant("started"),
            ended=fields.instant("ended"),
            interruptions=fields.integer("interruptions"),
            ending=Ending(fields.choice("ending", list(Ending))),
            detail=_words(fields, "detail"),
            medium=Medium.parse(fields.fields("medium")),
            medium_after=None if fields.is_null("medium_after") else Medium.parse(fields.fields("medium_after")),
            considered=tuple(map(_considered, fields.items("considered", most=len(Technique)))),
            hidden=tuple(map(_hidden, fields.items("hidden", most=_MAX_HIDDEN))),
            steps=tuple(map(_step, fields.items("steps", most=_MAX_STEPS))),
            checks=tuple(map(_checked, fields.items("checks", most=_MAX_CHECKS))),
            health_before=_facts(fields, "health_before"),
            health_after=_facts(fields, "health_after"),
            overridden=tuple(map(Override, fields.choices("overridden", list(Override)))),
            undelivered=fields.integer("undelivered", least=-1),
        )
        fields.done()
        return report


def _considered_json(one: Considered) -> Json:
    return {"technique": one.technique.value, "available": one.available.value, "why": one.why}


def _considered(value: Json) -> Considered:
    fields = Fields(value, "wipe report field 'considered'")
    one = Considered(
        Technique(fields.choice("technique", list(Technique))),
        Available(fields.choice("available", list(Available))),
        _words(fields, "why"),
    )
    fields.done()
    return one


def _hidden_json(one: HiddenArea) -> Json:
    return {"kind": one.kind.value, "state": one.state.value, "sectors": one.sectors, "detail": one.detail}


def _hidden(value: Json) -> HiddenArea:
    fields = Fields(value, "wipe report field 'hidden'")
    one = HiddenArea(
        HiddenKind(fields.choice("kind", list(HiddenKind))),
        HiddenState(fields.choice("state", list(HiddenState))),
        fields.integer("sectors"),
        _words(fields, "detail"),
    )
    fields.done()
    return one


def _step_json(one: Step) -> Json:
    return {
        "technique": one.technique.value,
        "part": one.part,
        "tool": one.tool,
        "outcome": one.outcome.value,
        "accepted": one.accepted,
        "progress_seen": one.progress_seen,
        "completed": one.completed,
        "pattern": one.pattern,
        "commitment": _hex_or_null(one.commitment),
        "seed": _hex_or_null(one.seed),
        "bytes_total": one.bytes_total,
        "bytes_written": one.bytes_written,
        "retries": one.retries,
        "unwritable": extents_json(one.unwritable),
        "resumed": one.resumed,
        "started": clock.text(one.started),
        "ended": None if one.ended is None else clock.text(one.ended),
        "detail": one.detail,
        "facts": {**one.facts},
    }


def _step(value: Json) -> Step:
    fields = Fields(value, "wipe report field 'steps'")
    step = Step(
        technique=Technique(fields.choice("technique", list(Technique))),
        part=_words(fields, "part"),
        tool=_words(fields, "tool"),
        outcome=StepOutcome(fields.choice("outcome", list(StepOutcome))),
        accepted=fields.flag("accepted"),
        progress_seen=fields.flag("progress_seen"),
        completed=fields.flag("completed"),
        pattern=fields.text("pattern", _PATTERN),
        commitment=_digest_or_none(fields, "commitment"),
        seed=_digest_or_none(fields, "seed"),
        bytes_total=fields.integer("bytes_total"),
        bytes_written=fields.integer("bytes_written"),
        retries=fields.integer("retries"),
        unwritable=parse_extents(fields, "unwritable"),
        resumed=fields.integer("resumed"),
        started=fields.instant("started"),
        ended=None if fields.is_null("ended") else fields.instant("ended"),
        detail=_words(fields, "detail"),
        facts=_facts(fields, "facts"),
    )
    fields.done()
    return step


def _checked_json(one: Checked) -> Json:
    return {
        "amount": one.amount.value,
        "expected": one.expected.value,
        "pattern": one.pattern,
        "stream_seed": _hex_or_null(one.stream_seed),
        "sample_seed": _hex_or_null(one.sample_seed),
        "bytes_to_read": one.bytes_to_read,
        "bytes_read": one.bytes_read,
        "bytes_equal": one.bytes_equal,
        "different": extents_json(one.different),
        "unreadable": extents_json(one.unreadable),
        "tool": one.tool,
        "started": clock.text(one.started),
        "ended": None if one.ended is None else clock.text(one.ended),
    }


def _checked(value: Json) -> Checked:
    fields = Fields(value, "wipe report field 'checks'")
    checked = Checked(
        amount=ReadBack(fields.choice("amount", list(ReadBack))),
        expected=Expected(fields.choice("expected", list(Expected))),
        pattern=fields.text("pattern", _PATTERN),
        stream_seed=_digest_or_none(fields, "stream_seed"),
        sample_seed=_digest_or_none(fields, "sample_seed"),
        bytes_to_read=fields.integer("bytes_to_read"),
        bytes_read=fields.integer("bytes_read"),
        bytes_equal=fields.integer("bytes_equal"),
        different=parse_extents(fields, "different"),
        unreadable=parse_extents(fields, "unreadable"),
        tool=_words(fields, "tool"),
        started=fields.instant("started"),
        ended=None if fields.is_null("ended") else fields.instant("ended"),
    )
    fields.done()
    return checked


def extents_json(one: Extents) -> Json:
    return {"sectors": one.sectors, "listed": [[extent.first, extent.count] for extent in one.listed]}


def parse_extents(outer: Fields, name: str) -> Extents:
    fields = outer.fields(name)
    extents = Extents(
        fields.integer("sectors"), tuple(_extent(one, name) for one in fields.items("listed", most=MAX_RANGES))
    )
    fields.done()
    ends = [one.first + one.count for one in extents.listed]
    if any(after.first <= end for end, after in zip(ends, extents.listed[1:], strict=False)):
        raise Malformed(f"wipe report field {name!r}", "expected runs of sectors by rising number, apart")
    if sum(one.count for one in extents.listed) > extents.sectors:
        raise Malformed(f"wipe report field {name!r}", "it lists more sectors than it counts")
    return extents


def _extent(value: Json, name: str) -> Extent:
    match value:
        case [first, count]:
            fields = Fields({"first": first, "count": count}, f"wipe report field {name!r}")
            return Extent(fields.integer("first"), fields.integer("count", least=1))
    raise Malformed(f"wipe report field {name!r}", "expected first sector and count")


def _facts(outer: Fields, name: str) -> Mapping[str, Fact]:
    values = outer.mapping(name, most=_MAX_FACTS)
    keys: list[Json] = [{"name": one} for one in values]
    for key in keys:
        Fields(key, f"wipe report field {name!r}").text("name", _FACT_NAME)
    inner = Fields({**values}, f"wipe report field {name!r}")
    return {key: _fact(inner, key, value) for key, value in values.items()}


def _fact(fields: Fields, name: str, value: Json) -> Fact:
    if isinstance(value, bool):
        return fields.flag(name)
    return fields.integer(name, least=-(2**53 - 1)) if isinstance(value, int) else _words(fields, name)


def _hex_or_null(value: bytes | None) -> Json:
    return None if value is None else value.hex()


def _digest_or_none(fields: Fields, name: str) -> bytes | None:
    return None if fields.is_null(name) else fields.hex(name, SEED_BYTES)


def _words(fields: Fields, name: str) -> str:
    return fields.text(name, _TEXT, max_chars=_MAX_TEXT_CHARS)

"""What each screen says, by what is known then. Never a name of a volume, and nothing of what lies on a drive."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_agent.sanitize.fitting import Candidate
from edge_agent.sanitize.plan import Plan, is_left
from edge_agent.sanitize.session import Accepted, Done, Looked, Unfinished
from edge_agent.sanitize.tasks import Task, TaskKind
from edge_agent.sanitize.terminal.page import BLANK, Page, Row, Speech
from edge_agent.sanitize.terminal.words import LEAST, NEXT, OVERRIDES, STANDINGS
from shared.sanitization.judged import NotReached
from shared.sanitization.medium import Medium
from shared.sanitization.method import Method
from shared.sanitization.report import HiddenArea, HiddenState, WipeReport
from shared.sanitization.technique import Available, Facts, Technique
from shared.sanitization.technique import Sequence as Passes
from shared.sanitization.ticket import TargetDrive, Ticket, TicketId
from shared.sanitization.words import (
    CLASSES,
    HIDDEN_KINDS,
    MEDIA,
    OUTCOMES,
    PLACES,
    READ_BACKS,
    REASONS,
    RESULTS,
    SEQUENCES,
    SERIAL_SOURCES,
    TECHNIQUES,
    WHYS,
)

MOST_LISTED = 9
LAST_CHARS = 4
_MOST_SHOWN = 12
_GIB, _TIB = 1 << 30, 1 << 40


@dataclass(frozen=True)
class Listed:
    """A ticket that lies here; `accepted` is None where it is not one to act on, and `why` says so."""

    where: str
    accepted: Accepted | None
    why: str = ""


@dataclass(frozen=True)
class Now:
    """How far a wipe is. `speed` is in bytes a second, None where nothing can be said of it yet."""

    task: Task | None
    done: int
    total: int
    speed: float | None
    elapsed_s: float
    health: Facts
    finished: tuple[Task, ...] = ()
    is_stopping: bool = False

    @property
    def may_be_stopped(self) -> bool:
        return self.task is None or self.task.may_be_stopped


# ---- tickets


def beside(accepted: Accepted, listed: Sequence[Listed]) -> tuple[TicketId, ...]:
    """Return the other tickets here, to be acted on, that may be for the same drive."""
    mine, tickets = accepted.ticket, [one.accepted.ticket for one in listed if one.accepted is not None]
    return tuple(one.ticket_id for one in tickets if one.ticket_id != mine.ticket_id and mine.drive.may_be(one.drive))


def tickets_page(listed: Sequence[Listed], speech: Speech, *, hold: bool | None) -> Page:
    rows: list[Row] = [] if listed else [speech.text("no-tickets")]
    if hold:
        rows = [speech.text("hold", strong=True), BLANK, *rows]
    for number, one in enumerate(listed[:MOST_LISTED], 1):
        if one.accepted is None:
            rows.append(Row(f"{number}  {one.where[:8]}", speech.say("unusable", why=one.why)))
            continue
        ticket = one.accepted.ticket
        rows.append(
            Row(
                f"{number}  {str(ticket.ticket_id)[:8]}",
                speech.say(
                    "listed", asset=ticket.asset, serial=ticket.drive.serial, person=ticket.person,
                    until=instant(ticket.expires),
                ),
            )
        )  # fmt: skip
        rows.extend(_beside_rows(beside(one.accepted, listed), speech))
    return Page(speech.say("tickets"), tuple(rows), speech.say("keys-list"))


def _beside_rows(others: Sequence[TicketId], speech: Speech) -> Iterator[Row]:
    if others:
        yield speech.text("beside", strong=True, others=", ".join(str(one)[:8] for one in others))


def ticket_page(accepted: Accepted, speech: Speech, others: Sequence[TicketId] = ()) -> Page:
    ticket = accepted.ticket
    approved = ", ".join(signer.name for signer in accepted.approved.signers)
    rows = [
        speech.row("ticket", str(ticket.ticket_id)),
        speech.row("asset", ticket.asset),
        speech.row("reason", speech.of(REASONS[ticket.reason])),
        speech.row("requester", ticket.requester),
        speech.row("approved", approved),
        speech.row("person", ticket.person),
        speech.row("until", instant(ticket.expires)),
        BLANK,
        *_target_rows(ticket.drive, speech),
        BLANK,
        *_method_rows(ticket.method, speech),
        *_override_rows(ticket, speech),
        *_beside_rows(others, speech),
    ]
    return Page(speech.say("ticket"), tuple(rows), speech.say("keys-ticket"))


def paste_page(lines: Sequence[str], wrong: str, typed: str, speech: Speech) -> Page:
    rows = [speech.text("paste"), BLANK, speech.text("pasted", count=len(lines))]
    if wrong:
        rows.append(Row("", f"- {wrong}"))
    return Page(speech.say("ticket"), tuple(rows), speech.say("keys-paste"), typed[-40:])


def _target_rows(target: TargetDrive, speech: Speech) -> Iterator[Row]:
    yield speech.row("serial", target.serial, strong=True)
    yield speech.row("model", target.model)
    yield speech.row("size", size(target.size_bytes))
    if target.wwn:
        yield speech.row("wwn", target.wwn)


def _method_rows(method: Method, speech: Speech) -> Iterator[Row]:
    yield speech.row("least", speech.of(LEAST[method.least]))
    yield speech.row("techniques", "; ".join(speech.of(TECHNIQUES[one]) for one in method.techniques))
    if Technique.OVERWRITE in method.techniques:
        passes = f" ({' '.join(method.passes)})" if method.sequence is Passes.CUSTOM else ""
        yield speech.row("sequence", speech.of(SEQUENCES[method.sequence]) + passes)
    yield speech.row("read-back", speech.of(READ_BACKS[method.read_back]))


def _override_rows(ticket: Ticket, speech: Speech) -> Iterator[Row]:
    for one in ticket.overrides:
        yield speech.row("overrides", speech.of(OVERRIDES[one]), strong=True)


# ---- drives


def drives_page(looked: Looked, speech: Speech) -> Page:
    rows: list[Row] = []
    for one in sorted(looked.candidates, key=lambda one: not one.is_it):
        rows += [*_candidate_rows(one, speech), BLANK]
    if not looked.candidates:
        rows.append(speech.text("no-drives", strong=True))
    elif looked.drive is None:
        fitting = sum(one.is_it for one in looked.candidates)
        name = "two-fit" if fitting else "none-fits"
        rows.insert(0, speech.text(name, strong=True, serial=looked.accepted.ticket.drive.serial))
        rows.insert(1, BLANK)
    keys = "keys-drives" if looked.drive is not None else "keys-refused"
    return Page(speech.say("drives"), tuple(rows), speech.say(keys))


def medium_rows(medium: Medium, speech: Speech) -> Iterator[Row]:
    yield speech.row("model", f"{medium.vendor} {medium.model}".strip() + f", {speech.of(MEDIA[medium.kind])}")
    yield speech.row("size", size(medium.size_bytes))
    yield speech.row("partitions", partitions(medium, speech))


def partitions(medium: Medium, speech: Speech) -> str:
    """Return types and counts: a name of a volume may be a patient's."""
    return ", ".join(f"{one.count} x {one.type}" for one in medium.partitions) or speech.say("no-partitions")


def _candidate_rows(one: Candidate, speech: Speech) -> Iterator[Row]:
    medium = one.drive.medium
    source = speech.say("from", source=speech.of(SERIAL_SOURCES[medium.serial_source]))
    yield Row(str(one.drive.node), f"{medium.serial or '-'} ({source})", one.is_it)
    yield from medium_rows(medium, speech)
    if one.is_it:
        yield speech.row("drive", speech.say("the-one"), strong=True)
    else:
        why = ", ".join(speech.say(difference.value) for difference in one.differences)
        yield speech.row("drive", speech.say("not-the-one", why=why))


# ---- before the first write


def refused_page(reasons: Sequence[str], speech: Speech) -> Page:
    rows = [row for reason in reasons for row in (Row("", f"- {reason}"), BLANK)]
    return Page(speech.say("refused"), (*rows, speech.text("refusal-next", strong=True)), speech.say("keys-refused"))


def confirm_page(looked: Looked, asked: str, wrong: str, typed: str | None, keys: str, speech: Speech) -> Page:
    """`asked` names what the person answers next, `wrong` what was wrong with the answer before."""
    drive, plan, ticket = looked.drive, looked.plan, looked.accepted.ticket
    if drive is None or plan is None:
        raise ValueError("nothing is confirmed of a drive that was not found")
    rows = [
        speech.text("wipe-this", strong=True),
        BLANK,
        Row(str(drive.node), drive.medium.serial, is_strong=True),
        *medium_rows(drive.medium, speech),
        BLANK,
        *plan_rows(plan, ticket.method, speech),
        *_hidden_rows(looked.hidden, speech),
        *_override_rows(ticket, speech),
        BLANK,
        speech.text(asked, strong=True, count=len(last_chars(drive.medium.serial))),
    ]
    if wrong:
        rows.append(Row("", f"- {speech.say(wrong, person=ticket.person)}", is_strong=True))
    return Page(speech.say("confirm"), tuple(rows), speech.say(keys), typed)


def plan_rows(plan: Plan, method: Method, speech: Speech) -> Iterator[Row]:
    chosen = "; ".join(speech.of(TECHNIQUES[one]) for one in plan.chosen)
    if Technique.OVERWRITE in plan.chosen:
        chosen += f" ({speech.of(SEQUENCES[method.sequence])})"
    yield speech.row("will-do", chosen, strong=True)
    if plan.removes_hidden:
        yield Row("", speech.say("hidden-removed"))
    why_not: dict[str, list[str]] = {}
    for one in plan.considered:
        if one.technique in method.techniques and one.available is not Available.YES:
            why_not.setdefault(one.why, []).append(speech.of(TECHNIQUES[one.technique]))
    for why, techniques in why_not.items():
        yield speech.row("why-not", f"{'; '.join(techniques)}: {speech.detail(why)}")
    may_be_stopped = all(one in (Technique.OVERWRITE, Technique.DISCARD) for one in plan.chosen)
    yield speech.text("can-stop" if may_be_stopped else "cannot-stop", strong=not may_be_stopped)


def _hidden_rows(hidden: Sequence[HiddenArea], speech: Speech) -> Iterator[Row]:
    """Say before the first write what of the drive stays hidden, and what that makes of the result."""
    for area in hidden:
        kind = speech.of(HIDDEN_KINDS[area.kind])
        if is_left(area):
            yield speech.text("hidden-stays", strong=True, kind=kind, count=area.sectors)
    unknown = [speech.of(HIDDEN_KINDS[area.kind]) for area in hidden if area.state is HiddenState.INDETERMINATE]
    if unknown:
        yield speech.text("hidden-unknown", strong=True, kind=", ".join(unknown))


def last_chars(serial: str) -> str:
    return serial[-LAST_CHARS:]


# ---- at work and after


def progress_page(medium: Medium, now: Now, speech: Speech) -> Page:
    rows = [Row(medium.serial, f"{medium.model}, {size(medium.size_bytes)}", is_strong=True), BLANK]
    rows += [speech.row("done-so-far", task_words(task, speech)) for task in now.finished[-4:]]
    if now.task is None:
        rows.append(speech.row("doing", speech.say("looking")))
    else:
        rows.append(speech.row("doing", task_words(now.task, speech), strong=True))
        rows += [BLANK, Row("", bar(now.done, now.total)), BLANK, *_pace_rows(now, speech)]
    temperature = now.health.get("temperature_c")
    shown = f"{temperature} °C" if temperature is not None else speech.say("unknown")
    rows += [speech.row("temperature", shown), speech.row("elapsed", duration(now.elapsed_s)), BLANK]
    if now.is_stopping:
        rows.append(speech.text("stopping", strong=True))
    else:
        said = "interruptible" if now.may_be_stopped else "not-interruptible"
        rows.append(speech.text(said, strong=not now.may_be_stopped))
    return Page(speech.say("progress"), tuple(rows), speech.say("keys-progress"))


def task_words(task: Task, speech: Speech) -> str:
    match task.kind:
        case TaskKind.WRITE:
            is_random = task.pattern == "random"
            pattern = speech.say("random") if is_random else speech.say("byte", byte=task.pattern)
            return (
                speech.say("pass", part=task.part, pattern=pattern)
                if task.part
                else speech.say("pass-alone", pattern=pattern)
            )
        case TaskKind.COMMAND:
            name = speech.of(TECHNIQUES[task.technique])
            return name if task.may_be_stopped else speech.say("command", technique=name)
        case TaskKind.SAMPLE:
            return speech.say("sampling")
        case TaskKind.CHANGED | TaskKind.READ_BACK:
            return speech.say("reading", amount=speech.of(READ_BACKS[task.amount]))


def _pace_rows(now: Now, speech: Speech) -> Iterator[Row]:
    if now.speed is None or now.speed <= 0:
        yield speech.row("speed", speech.say("unknown"))
        return
    is_bytes = now.task is not None and now.task.kind is not TaskKind.COMMAND
    yield speech.row("speed", f"{now.speed / 1e6:.0f} MB/s" if is_bytes else speech.say("unknown"))
    yield speech.row("rest", duration((now.total - now.done) / now.speed))


def result_page(done: Done, speech: Speech, why_no_report: str = "") -> Page:
    """Say what a technician can hand on: the result, what it rests on, what was not reached, and what to do next."""
    judged, ticket = done.judged, done.ticket
    rows = [
        Row("", speech.of(RESULTS[judged.result]), is_strong=True),
        Row("", speech.of(NEXT[judged.result]), is_strong=not judged.may_be_certified),
        BLANK,
        *_done_rows(done.report, speech),
        speech.row("reached", speech.of(CLASSES[judged.reached])),
        speech.row("asked", speech.of(LEAST[ticket.method.least])),
        *(speech.row("because", speech.of(WHYS[one])) for one in judged.why),
        *(speech.row("not-reached", place(one, speech)) for one in judged.not_reached[:_MOST_SHOWN]),
    ]
    if done.report.detail:
        rows.append(speech.row("detail", speech.detail(done.report.detail)))
    rows.append(BLANK)
    if done.report_file is None:
        rows.append(speech.text("no-report", strong=True, why=why_no_report))
    else:
        rows.append(Row("", f"{speech.say('report')}: {done.report_file}"))
        rows.append(Row("", speech.say("report-qr", ticket=ticket.ticket_id)))
    return Page(speech.say("result"), tuple(rows), speech.say("keys-result"))


def place(one: NotReached, speech: Speech) -> str:
    name = speech.of(PLACES[one.place]) + (f" ({speech.detail(one.detail)})" if one.detail else "")
    return name if one.sectors is None else speech.say("sectors", place=name, count=one.sectors)


def _done_rows(report: WipeReport, speech: Speech) -> Iterator[Row]:
    medium = report.medium
    yield speech.row("serial", medium.serial, strong=True)
    yield speech.row("drive", f"{medium.model}, {size(medium.size_bytes)}")
    for step in report.steps:
        part = f" {speech.detail(step.part)}" if step.part else ""
        yield speech.row("step", f"{speech.of(TECHNIQUES[step.technique])}{part}: {speech.of(OUTCOMES[step.outcome])}")


def cut_short_page(reasons: Sequence[str], speech: Speech) -> Page:
    rows = [speech.text("cut-short", strong=True), BLANK]
    rows += [Row("", f"- {reason}") for reason in reasons]
    return Page(speech.say("stopped"), (*rows, BLANK, speech.text("go-on-later")), speech.say("keys-result"))


def stopped_page(done: Done, speech: Speech) -> Page:
    rows = (
        speech.text("stopped-text", strong=True),
        BLANK,
        *_done_rows(done.report, speech),
        BLANK,
        Row("", speech.detail(done.report.detail)),
    )
    return Page(speech.say("stopped"), rows, speech.say("keys-stopped"))


def incomplete_page(one: Unfinished, speech: Speech) -> Page:
    """Ask whether what cannot be gone on with is to be ended for good."""
    draft = one.found.draft
    rows = [
        speech.row("ticket", str(one.found.ticket_id)),
        speech.row("serial", draft.medium.serial if draft is not None else one.found.why, strong=True),
        BLANK,
        Row("", speech.of(STANDINGS[one.standing]), is_strong=True),
        speech.text("not-here"),
    ]
    return Page(speech.say("unfinished"), tuple(rows), speech.say("keys-incomplete"))


def unfinished_page(left: Sequence[Unfinished], speech: Speech) -> Page:
    rows: list[Row] = []
    for number, one in enumerate(left[:MOST_LISTED], 1):
        draft = one.found.draft
        serial = draft.medium.serial if draft is not None else one.found.why
        rows.append(Row(f"{number}  {str(one.found.ticket_id)[:8]}", serial, is_strong=True))
        rows.append(Row(" ", speech.of(STANDINGS[one.standing])))
    return Page(speech.say("unfinished"), tuple(rows), speech.say("keys-unfinished"))


# ---- numbers


def size(size_bytes: int) -> str:
    """Return a size as labels have it, and exactly."""
    exact = f"{size_bytes:,}".replace(",", " ")
    if size_bytes >= 10**12:
        return f"{size_bytes / 10**12:.2f} TB ({exact} bytes)"
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB ({exact} bytes)"
    return f"{size_bytes / 10**6:.1f} MB ({exact} bytes)"


def duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def bar(done: int, total: int, width: int = 40) -> str:
    share = min(1.0, done / total) if total > 0 else 0.0
    filled = int(share * width)
    return f"[{'#' * filled}{'.' * (width - filled)}] {100 * share:5.1f} %"

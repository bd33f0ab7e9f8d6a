"""Joins the steps: one after another on real processes, each judging the expectations that are its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from provisioning.demo.display import Display
from provisioning.demo.expectations import Chapter, Expectations, State
from provisioning.demo.images import shipped_images
from provisioning.demo.processes import Children
from provisioning.demo.stage import Centre, Folders, Stage
from provisioning.demo.steps import attacking, audit, capture, ending, enrolment, first_start, opening, policies, search
from shared.errors import IntegrityFailure, Refused, Unavailable

Keep = Callable[[Stage, Centre], None]

_NOT_SHOWN = (
    "Not shown here: loss of power, several hosts, capture at line rate, a witness of the audit log, a week's "
    "certificate renewals, USB rules and wipe."
)


@dataclass(frozen=True)
class Outcome:
    held: bool
    closing: str


def chapters(*, broker: bool, keep: bool) -> tuple[Chapter, ...]:
    """Return everything that a run must show, in the order in which it does."""
    return (
        Chapter("First start: keys, recovery shares, doors", first_start.expected(broker=broker)),
        Chapter("A host enrols with a one-time code", enrolment.expected(broker=broker)),
        Chapter("The first policy, and a modality sends", (*policies.EXPECTED_FIRST, *capture.EXPECTED)),
        Chapter("The next policy, and an older one replayed", policies.expected_second(broker=broker)),
        Chapter("The audit log", audit.EXPECTED),
        Chapter("Authorised opening, and look-up", opening.EXPECTED),
        Chapter("Attacks on the store", attacking.EXPECTED),
        Chapter("Every byte on disk", search.EXPECTED),
        *(() if keep else (Chapter("The end", ending.EXPECTED),)),
    )


def demonstrate(folders: Folders, display: Display, *, broker: bool, keep: Keep | None = None) -> Outcome:
    """Run the whole demo in `folders`; no process of it is left when this returns or raises.

    `keep` is called last, with everything still running. Raises FolderTaken, Interrupted.
    """
    folders.make()
    planned = chapters(broker=broker, keep=keep is not None)
    expectations = Expectations(planned)
    began, trouble, searched = monotonic(), "", ""
    with Children(folders.logs) as children:
        stage = Stage(folders, display, expectations, children)
        centre: Centre | None = None
        try:
            centre, searched = _steps(stage, planned, broker=broker)
            if keep is None:
                display.chapter(len(planned), planned[-1].title)
                ending.end(stage)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            # What was not reached counts as failed, so nothing more has to be decided here.
            trouble = f"{type(exc).__name__}: {exc}"
        outcome = _summarise(display, expectations, trouble, searched, monotonic() - began)
        if keep is not None and centre is not None:
            keep(stage, centre)
    return outcome


def _steps(stage: Stage, planned: Sequence[Chapter], *, broker: bool) -> tuple[Centre, str]:
    """Go through all chapters but the end; return the running control plane, and what was searched."""
    images = shipped_images()
    first, later = images[:-1], images[-1:]
    titles = enumerate((chapter.title for chapter in planned), start=1)

    def chapter() -> None:
        stage.display.chapter(*next(titles))

    chapter()
    centre = first_start.start(stage, broker=broker)
    chapter()
    host = enrolment.enrol(stage, centre)
    agent = enrolment.show_agent(stage, centre, host)
    chapter()
    policies.publish_first(stage, centre, host)
    capture.capture(stage, centre, host, policies.FIRST_AE_TITLE, first)
    chapter()
    policies.publish_second(stage, centre, host, agent, later)
    chapter()
    audit.audit(stage, centre, host)
    chapter()
    held = opening.open_all(stage, centre, images)
    chapter()
    attacking.attack(stage, centre, host, held)
    chapter()
    return centre, search.search_everything(stage, images)


def _summarise(display: Display, expectations: Expectations, trouble: str, searched: str, took_s: float) -> Outcome:
    verdicts = expectations.verdicts()
    count = {state: sum(verdict.state is state for verdict in verdicts) for state in State}
    lines = [
        (
            f"{count[State.HELD]} of {len(verdicts)} expectations held, {count[State.FAILED]} failed, "
            f"{count[State.NOT_REACHED]} not reached, in {took_s:.0f} s."
        ),
        *([f"{searched}."] if searched else []),
        *([f"It ended early: {trouble}"] if trouble else []),
        _NOT_SHOWN,
    ]
    closing = "\n".join(lines)
    display.summary(expectations.by_chapter(), closing)
    return Outcome(expectations.all_held() and not trouble, closing)

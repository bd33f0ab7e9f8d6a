"""Joins the steps: one after another on real processes, each judging the expectations that are its own."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from provisioning.demo.display import Display
from provisioning.demo.expectations import Expectation, Expectations, State
from provisioning.demo.images import shipped_images
from provisioning.demo.processes import Children, left_behind
from provisioning.demo.stage import Centre, Folders, Stage
from provisioning.demo.steps import attacking, audit, capture, enrolment, first_start, opening, policies, search
from shared.errors import IntegrityFailure, Refused, Unavailable

Keep = Callable[[Stage, Centre], None]

_ENDED = Expectation("ended-in-order", "both programs end in order when they are asked to, and no process is left")
_NOT_SHOWN = (
    "Not shown here: loss of power, several hosts, capture at line rate, a witness of the audit log, certificate "
    "renewal, USB rules and wipe."
)


@dataclass(frozen=True)
class Outcome:
    held: bool
    closing: str


def expected(*, broker: bool, keep: bool) -> tuple[Expectation, ...]:
    """Return everything that a run must show, in the order in which it does."""
    return (
        *first_start.EXPECTED,
        *(first_start.EXPECTED_WITH_BROKER if broker else ()),
        *enrolment.EXPECTED,
        *policies.EXPECTED_FIRST,
        *capture.EXPECTED,
        *policies.EXPECTED_SECOND,
        *audit.EXPECTED,
        *opening.EXPECTED,
        *attacking.EXPECTED,
        *search.EXPECTED,
        *(() if keep else (_ENDED,)),
    )


def demonstrate(folders: Folders, display: Display, *, broker: bool, keep: Keep | None = None) -> Outcome:
    """Run the whole demo in `folders`; no process of it is left when this returns or raises.

    `keep` is called last, with everything still running. Raises FolderTaken, Interrupted.
    """
    folders.make()
    expectations = Expectations(expected(broker=broker, keep=keep is not None))
    began, trouble, searched = monotonic(), "", ""
    with Children(folders.logs) as children:
        stage = Stage(folders, display, expectations, children)
        centre: Centre | None = None
        try:
            centre, searched = _steps(stage, end=keep is None)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            # What was not reached counts as failed, so nothing more has to be decided here.
            trouble = f"{type(exc).__name__}: {exc}"
        outcome = _summarise(display, expectations, trouble, searched, monotonic() - began)
        if keep is not None and centre is not None:
            keep(stage, centre)
    return outcome


def _steps(stage: Stage, *, end: bool) -> tuple[Centre, str]:
    images = shipped_images()
    first, later = images[:-1], images[-1:]
    titles = iter(_TITLES)

    def chapter() -> None:
        number, title = next(titles)
        stage.display.chapter(number, title)

    chapter()
    centre = first_start.start(stage)
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
    searched = search.search_everything(stage, images)
    if end:
        _end(stage)
    return centre, searched


_TITLES = tuple(
    enumerate(
        (
            "First start: keys, recovery shares, doors",
            "A host enrols with a one-time code",
            "The first policy, and a modality sends",
            "The next policy, and an older one replayed",
            "The audit log",
            "Authorised opening, and look-up",
            "Attacks on the store",
            "Every byte on disk",
        ),
        start=1,
    )
)


def _end(stage: Stage) -> None:
    with stage.display.doing("stopping both"):
        codes = stage.children.stop_all()
        left = left_behind(stage.folders.data)
    said = ", ".join(f"{program} exit code {code}" for program, code in codes)
    stage.judge("ended-in-order", {code for _, code in codes} == {0} and not left, f"{said}; {len(left)} left")


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
    display.summary(verdicts, closing)
    return Outcome(expectations.all_held() and not trouble, closing)

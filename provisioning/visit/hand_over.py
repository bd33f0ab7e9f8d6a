"""The last step: what all others found, signed by this host, as a file and as one page."""

from collections.abc import Collection, Iterator, Sequence

from provisioning.finding import Finding, Verdict
from provisioning.outcome import STEPS, Outcome
from provisioning.visit.record import State, VisitRecord
from provisioning.visit.self_test import SelfTest
from provisioning.visit.step import Context, Places
from provisioning.visit.store import VisitStore
from shared.errors import Malformed, Refused

_MOST_CHARS = 100


class NobodyNamed(Refused):
    def __init__(self, who: str, option: str) -> None:
        super().__init__(f"nobody said {who}: say it with {option} NAME, or type it when asked")
        self.option = option


class HandOver:
    name = "hand-over"
    advised: Collection[str] = ()

    def run(self, context: Context) -> Sequence[Finding]:
        # Imported here, as what draws the page is heavy.
        from edge_agent.config import AgentFolder
        from provisioning.handover.hand_over import Persons, make, write

        site, places = context.site, context.places
        persons = Persons(
            _named(context, site.engineer, "who made this visit", "--engineer"),
            _named(context, site.received_by, "who takes this host over", "--received-by"),
        )
        record = VisitStore(places.own).load()
        made = list(_outcomes(record, places)) if record is not None else []
        signed = make(AgentFolder(places.agent_data), places.guard_socket, made, persons, context.clock)
        written = write(signed, places.own / "hand-over")
        counts = ", ".join(f"{signed.report.count(verdict)} {verdict.value}" for verdict in Verdict)
        return [Finding("report", Verdict.PASS, f"{written.pdf} and .json: {counts}; SHA-256 {signed.sha256}")]


def _named(context: Context, known: str | None, who: str, option: str) -> str:
    """Raises NobodyNamed."""
    name = known or context.ask(f"{who} (name): ")[:_MOST_CHARS]
    if not name:
        raise NobodyNamed(who, option)
    return name


def _outcomes(record: VisitRecord, places: Places) -> Iterator[Outcome]:
    for step in record.steps:
        if step.step in STEPS and step.state is not State.BEGUN:
            yield _with_word(places, step.findings) or Outcome(step.step, step.ended, step.findings)


def _with_word(places: Places, findings: Sequence[Finding]) -> Outcome | None:
    """Return what the self-test kept, if it is what the visit's record says of it."""
    try:
        kept = Outcome.parse(places.self_test.read_bytes())
    except (OSError, Malformed):
        return None
    return kept if kept.step == SelfTest.name and kept.findings == tuple(findings) else None

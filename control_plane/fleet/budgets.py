"""What hosts take of themselves, judged here by the figures that they signed."""

from collections.abc import Iterator, Mapping

from shared.canonical import Json
from shared.fleet.budget import NotCounted, Verdict, judge
from shared.fleet.state import HostState

_UNTOLD = NotCounted("this host's agent does not report it")


def told(state: HostState, *, is_heard: bool) -> dict[str, Json]:
    """Return verdict and findings of a host's last report; what was said long ago says nothing about now."""
    if not is_heard:
        return {"verdict": Verdict.NOT_EVALUATED.value, "findings": ["the host is silent"]}
    judged = judge(state.budget or _UNTOLD)
    return {"verdict": judged.verdict.value, "findings": list(judged.findings)}


def gaps(host: Mapping[str, Json]) -> Iterator[str]:
    """Say it where a host takes more than it may. That it is not evaluated is told with the host."""
    budget = host.get("budget")
    if isinstance(budget, dict) and budget["verdict"] == Verdict.EXCEEDED:
        yield f"{host['asset']}: BUDGET EXCEEDED: {line(budget)}"


def line(budget: Mapping[str, Json]) -> str:
    findings = budget["findings"]
    return ", ".join(map(str, findings if isinstance(findings, list) else ()))

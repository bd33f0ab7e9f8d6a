"""Which findings of a look are worth a record, given those of the look before.

What was found or could not be seen is news once, for as long as it stays; that something is fine again is news. How
many bytes are free and how many microseconds a clock is off is different each time, and no news.
"""

from edge_agent.host_watch.checks import CLOCK_DRIFT, FREE_SPACE
from shared.fleet.devices import Finding, FindingState

_MEASURED = (FREE_SPACE, CLOCK_DRIFT)  # behind the colon, or all of it, is a number that moves


def news(before: tuple[Finding, ...], now: tuple[Finding, ...]) -> tuple[Finding, ...]:
    known = {_what(finding) for finding in before}
    troubled = {finding.check for finding in before if finding.state is not FindingState.FINE}
    return tuple(
        finding
        for finding in now
        if (finding.check in troubled if finding.state is FindingState.FINE else _what(finding) not in known)
    )


def _what(finding: Finding) -> tuple[str, FindingState, str]:
    detail = finding.detail if finding.check not in _MEASURED else _subject(finding)
    return finding.check, finding.state, detail


def _subject(finding: Finding) -> str:
    return finding.detail.rpartition(": ")[0] if finding.check == FREE_SPACE else ""

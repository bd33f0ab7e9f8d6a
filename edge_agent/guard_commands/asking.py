"""Commands that ask the running guard."""

import sys

from edge_agent.guard_commands.showing import explanation_lines, record_line, report_lines
from edge_agent.link.client import GuardClient
from shared import canonical
from shared.devices.record import GuardRecord


def devices(guard: GuardClient, *, as_json: bool) -> None:
    """Raises GuardUnavailable, GuardRefused."""
    report = guard.report()
    if as_json:
        _say(canonical.encode(report.json()).decode())
        return
    for line in report_lines(report):
        _say(line)


def explain(guard: GuardClient, port: str, language: str, *, as_json: bool) -> None:
    """Raises GuardUnavailable, GuardRefused."""
    explanation = guard.explain(port)
    if as_json:
        _say(canonical.encode(explanation.json()).decode())
        return
    for line in explanation_lines(explanation, language):
        _say(line)


def records(guard: GuardClient, after: int, *, as_json: bool) -> None:
    """Raises GuardUnavailable, GuardRefused, Malformed."""
    while given := guard.records(after):
        for line in given:
            record = GuardRecord.parse(line)
            after = record.number
            _say(line.decode() if as_json else record_line(record))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")

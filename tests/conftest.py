"""What holds for every test: at the end it is said what could not run on this machine, and why."""

import gc
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine with two busy cores must not make a property fail for being slow.
settings.register_profile("leadglass", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("leadglass")

# An environment that is active comes first there, and pynetdicom has put programs named like DCMTK's into it.
_OURS = str(Path(sys.executable).parent)
os.environ["PATH"] = os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != _OURS)


def pytest_collection_finish() -> None:
    gc.freeze()  # thousands of tests were collected, and outlive them all: they are not looked through again and again


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if not reasons:
        return
    terminalreporter.section("could not run here")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:4}  {reason}")

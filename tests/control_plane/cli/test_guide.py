"""The administrator's guide shows a session; this is that session."""

import re
from datetime import timedelta
from pathlib import Path

from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_policy_simulate import report
from tests.control_plane.policy.file.test_reading import GUIDE, example
from tests.control_plane.policy.simulation.ward import Ward


def session() -> list[tuple[str, list[str]]]:
    """Return each command of the guide's session with the lines that it shows."""
    shown = GUIDE.read_text(encoding="utf-8").partition("```console\n")[2].partition("```")[0]
    steps = (step.splitlines() for step in shown.split("$ leadglass-server policy ")[1:])
    return [(step[0].removesuffix(" --as credential-NAME.json"), step[1:]) for step in steps]


def as_shown(line: str) -> str:
    return re.sub(r"20..-..-..T..:..:..\.\d{6}Z  \S+", "TIME  WHO", line)


def test_the_session_of_the_guide_goes_as_it_says(ada: Administrator) -> None:
    first = example("yaml")
    ada.publish(first)
    ward = Ward(ada.database)
    host = ward.host("CT 2", report())
    ward.host("US 3", None, reported=False)
    for ae_title in ("1234", "1234", "1234", "CT1", "CT1"):
        ward.captured(host, ae_title, ago=timedelta(days=3))
    scanner = first[first.index('  - ae_title: "1234"') : first.index("grading:")]
    ada.file(first.replace(scanner, "").replace("state_every_s: 5", "state_every_s: 60"))

    for command, lines in session():
        arguments = [str(Path(ada.folder) / part) if part == "policy.yaml" else part for part in command.split()]
        code, out, errors = ada.run(*arguments, typed="3\n")
        # What is asked and typed is no output.
        expected = [as_shown(line) for line in lines if not line.startswith("type 3 to publish it")]
        assert [as_shown(line) for line in out.splitlines()] == expected
        assert code == (1 if command.startswith(("diff", "simulate")) else 0)
        assert errors in ("", "type 3 to publish it: ")

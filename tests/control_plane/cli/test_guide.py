"""The administrator's guide shows a session; this is that session."""

import re
import shlex
from datetime import timedelta
from pathlib import Path

from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_policy_simulate import report
from tests.control_plane.policy.file.test_reading import GUIDE, example
from tests.control_plane.policy.simulation.ward import Ward

SITES = "Sites, types of modality, and single hosts"


def session(heading: str) -> list[tuple[str, list[str]]]:
    """Return each command of the session under a heading of the guide, with the lines that it shows."""
    below = GUIDE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    shown = below.partition("```console\n")[2].partition("```")[0]
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

    for command, lines in session("Seeing what it would change"):
        arguments = [str(Path(ada.folder) / part) if part == "policy.yaml" else part for part in command.split()]
        code, out, errors = ada.run(*arguments, typed="3\n")
        # What is asked and typed is no output.
        expected = [as_shown(line) for line in lines if not line.startswith("type 3 to publish it")]
        assert [as_shown(line) for line in out.splitlines()] == expected
        assert code == (1 if command.startswith(("diff", "simulate")) else 0)
        assert errors in ("", "type 3 to publish it: ")


def test_the_session_with_a_site_and_an_exception_goes_as_the_guide_says(ada: Administrator) -> None:
    ada.publish(example("yaml"))
    host = str(Ward(ada.database).host("CT 7", report(), parts=("site-north",)))
    below = GUIDE.read_text(encoding="utf-8").partition(f"## {SITES}\n")[2]
    file = below.partition("```yaml\n")[2].partition("```")[0]
    shown_as = re.findall(r"host-[0-9a-f]{32}", file)[0]
    ada.file(file.replace(shown_as, host), "site-north.yaml")

    for command, lines in session(SITES):
        arguments = [str(ada.folder / part) if part.endswith(".yaml") else part for part in shlex.split(command)]
        code, out, errors = ada.run(*arguments)
        assert out.replace(host, shown_as).splitlines() == lines
        assert (code, errors) == (int(command.startswith("diff")), "")

"""The command: help at once, exit codes that a script can rely on, no secret on any stream."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.config import AgentFolder
from tests.fakes.centre import Centre

ROOT = Path(__file__).parents[2]


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, edge_agent.__main__ as m; m.command_line().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)

    assert not {"cryptography", "pydicom", "pynetdicom", "tuf", "paho", "sqlite3", "ssl"} & set(done.stdout.split())


def test_enrols_with_a_code_from_stdin_and_says_as_whom(
    centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = centre.issue_code().text()
    monkeypatch.setattr(sys, "stdin", io.StringIO(code.lower() + "\n"))
    status = main(["enrol", "--data", str(tmp_path / "agent"), "--url", centre.enrol_url, "--asset", "CT 2"])

    assert status == 0
    out, err = capsys.readouterr()
    assert out.startswith("enrolled as host-")
    assert code not in out + err


def test_a_code_that_the_centre_does_not_take_is_refused_and_not_repeated(
    centre: Centre, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = centre.issue_code()
    centre.codes.clear()
    file = tmp_path / "code"
    file.write_text(code.text())
    arguments = ["--url", centre.enrol_url, "--asset", "CT 2", "--code-file", str(file)]
    status = main(["enrol", "--data", str(tmp_path / "agent"), *arguments])

    assert status == 1
    err = capsys.readouterr().err
    assert "wrong, used or expired" in err
    assert code.text() not in err


@pytest.mark.parametrize("code", ["", "LG1-AAAAAA", "not a code"])
def test_a_mistyped_code_is_bad_input(tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["enrol", "--data", str(tmp_path), "--url", "https://127.0.0.1:1", "--asset", "CT", "--code", code])

    assert status == 2
    assert "not an enrolment code" in capsys.readouterr().err


def test_a_centre_that_does_not_answer_is_unavailable(centre: Centre, tmp_path: Path) -> None:
    code = centre.issue_code().text()
    centre.stop()
    status = main(
        ["enrol", "--data", str(tmp_path / "agent"), "--url", centre.enrol_url, "--asset", "CT", "--code", code]
    )
    centre.start()

    assert status == 3


@pytest.mark.parametrize("command", ["run", "status"])
def test_what_is_not_enrolled_is_refused(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", command, "--data", str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "leadglass-agent enrol" in done.stderr
    assert not list(tmp_path.iterdir())


def test_status_speaks_to_people_and_to_scripts(enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for_people = main(["status", "--data", str(enrolled.path)]), capsys.readouterr().out
    for_scripts = main(["status", "--data", str(enrolled.path), "--json"]), capsys.readouterr().out

    assert (for_people[0], for_scripts[0]) == (0, 0)
    assert "CT 2" in for_people[1]
    assert json.loads(for_scripts[1])["waiting"] == 0


@pytest.mark.parametrize("wrong", [["--dicom-port", "70000"], ["--ae-title", "A" * 17], ["--ae-title", ""]])
def test_a_wrong_option_stops_the_start(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--data", str(tmp_path), *wrong])
    assert stopped.value.code == 2

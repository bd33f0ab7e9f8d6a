"""bash itself is asked what it would offer; zsh and fish read the scripts where they are installed."""

import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from provisioning.__main__ import main
from provisioning.completion.command import PROGRAMS, SHELLS
from provisioning.completion.tree import Takes, tree

_ASK = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
function=$(complete -p "$1"); function=${function#*-F }; "${function% *}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    file = tmp_path / "leadglass"
    file.write_text(capsys.readouterr().out)
    return file


def offered(script: Path, *words: str) -> set[str]:
    line = ["bash", "--norc", "-c", _ASK, "ask", str(script), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=script.parent)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_offers_commands_options_words_and_files(script: Path) -> None:
    assert {"enrol", "run", "spool", "--help"} <= offered(script, "leadglass-agent", "")
    assert offered(script, "leadglass-agent", "sp") == {"spool"}
    assert {"list", "verify", "rescue"} <= offered(script, "leadglass-agent", "spool", "")
    assert offered(script, "leadglass-agent", "enrol", "--ke") == {"--keys"}
    assert offered(script, "leadglass-agent", "enrol", "--keys", "") == {"auto", "tpm", "file"}
    assert offered(script, "leadglass-agent", "enrol", "--data", "lead") == {"leadglass"}
    assert offered(script, "leadglass-agent", "enrol", "--url", "") == set()
    assert "--site-file" in offered(script, "leadglass-provision", "visit", "--si")
    assert offered(script, "leadglass-provision", "completion", "") >= set(SHELLS)
    assert offered(script, "leadglass-guard", "simulate", "leadg") == {"leadglass"}
    assert {"image", "object", "audit"} <= offered(script, "leadglass-verify", "")
    assert "root" in offered(script, "leadglass-server", "policy", "")
    # What is no command of this program leads nowhere.
    assert "--keys" not in offered(script, "leadglass-agent", "lunch", "--")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_of_a_program_is_in_the_script_of_every_shell(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = list(tree(import_module(PROGRAMS[program]).command_line()).walk())
    for shell in SHELLS:
        assert main(["completion", shell, program]) == 0
        said = capsys.readouterr().out
        assert all(command.name in said for command in commands if command.way)
        names = {name for one in commands for option in one.options for name in option.names if len(name) > 2}
        assert all(name[2:] in said for name in names)
    assert any(option.takes is not Takes.NOTHING for one in commands for option in one.options)


def test_a_program_that_is_none_of_ours_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash", "leadglass-lunch"]) == 2
    assert "leadglass-agent" in capsys.readouterr().err

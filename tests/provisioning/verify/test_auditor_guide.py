"""The auditor's guide shows what the program prints, and names every state and command as it is."""

import base64
import json
import re
import shlex
from pathlib import Path

import pytest

from control_plane.__main__ import command_line as server_parser
from provisioning.verify.__main__ import OK, main
from provisioning.verify.__main__ import command_line as verify_parser
from provisioning.verify.image import ImageState

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/guides/auditor.md").read_text()
VECTOR = ROOT / "tests/vectors/custody/image-ok.json"
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


def test_the_output_that_is_shown_is_the_program_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = json.loads(VECTOR.read_text())["given"]
    (tmp_path / "image.dcm").write_bytes(base64.b64decode(given["file_base64"]))
    (tmp_path / "custody.json").write_bytes(base64.b64decode(given["statement_base64"]))
    (tmp_path / "ca.pem").write_text(given["authority_pem"])
    monkeypatch.chdir(tmp_path)
    (command,) = [line for line in COMMANDS if line.startswith("leadglass-verify image") and "--log" not in line]
    (shown,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)

    status = main(shlex.split(command)[1:])

    assert status == OK
    assert capsys.readouterr().out == shown


def test_every_state_of_an_image_is_explained() -> None:
    table = GUIDE.partition("## What each state means")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == [state.value for state in ImageState]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("leadglass-")])
def test_every_command_is_one(command: str) -> None:
    program, *arguments = shlex.split(command)

    {"leadglass-server": server_parser, "leadglass-verify": verify_parser}[program]().parse_args(arguments)

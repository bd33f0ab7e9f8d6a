"""The life of hosts and their codes from a person's terminal."""

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from control_plane.__main__ import main
from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import EnrolmentRefused, enrol
from shared.enrolment.code import EnrolmentCode
from tests.control_plane.cli.conftest import Administrator


class Terminal:
    def __init__(self, ada: Administrator) -> None:
        self.ada, self.who = ada, ada.who

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.ada.terminal.readouterr()
        self.ada.keyboard.setattr("sys.stdin", io.StringIO())
        code = main([*map(str, arguments), *self.who])
        printed = self.ada.terminal.readouterr()
        return code, printed.out, printed.err

    def said(self, *arguments: str | Path) -> str:
        code, out, errors = self.run(*arguments)
        assert (code, errors) == (0, "")
        return out

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.said(*arguments, "--json"))


@pytest.fixture
def terminal(ada: Administrator) -> Terminal:
    return Terminal(ada)


def enrolled(terminal: Terminal, code: str, asset: str) -> str:
    url = terminal.ada.enrol_url
    return str(enrol(AgentFolder(terminal.ada.folder / asset), url, EnrolmentCode.parse(code), asset))


def test_a_list_of_a_site_becomes_codes_and_a_sheet_to_print(terminal: Terminal, tmp_path: Path) -> None:
    listed, sheet = tmp_path / "site.csv", tmp_path / "sheet.svg"
    listed.write_text("asset,site,type\nCT-4711,north,ct\n<MR> & 1,,\n")

    out = terminal.said("code", "--list", listed, "--sheet", sheet)
    assert out.count("LG1-") == 2
    assert "CT-4711, with the policy of site-north and modality-ct" in out
    drawn = ElementTree.parse(sheet)  # noqa: S314 (we wrote it)
    assert len(drawn.findall("{http://www.w3.org/2000/svg}g")) == 2
    assert "<MR> & 1" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert sheet.stat().st_mode & 0o077 == 0
    codes = terminal.json("code", "list")
    assert {code["asset"] for code in codes} == {"CT-4711", "<MR> & 1"}


def test_a_faulty_list_issues_nothing_and_names_its_lines(terminal: Terminal, tmp_path: Path) -> None:
    listed = tmp_path / "site.csv"
    listed.write_text("asset,site,type\nCT 1,north,ct\nCT 2,No rth,ct\n")

    code, _, errors = terminal.run("code", "--list", listed)
    assert code == 2
    assert "line 3" in errors
    assert terminal.json("code", "list") == []


def test_a_code_is_shown_as_qr_and_can_be_cancelled(terminal: Terminal) -> None:
    out = terminal.said("code", "--asset", "CT 2", "--qr")
    assert "▀" in out
    (listed,) = terminal.json("code", "list")

    assert "opens nothing any more" in terminal.said("code", "cancel", listed["code"])
    assert "cancelled" in terminal.said("code", "list")
    assert terminal.run("code", "cancel", listed["code"])[0] == 1


def test_a_host_of_another_asset_is_told_what_is_wrong(terminal: Terminal) -> None:
    issued = terminal.json("code", "--asset", "CT 2")

    with pytest.raises(EnrolmentRefused, match="issued for another asset"):
        enrolled(terminal, issued["code"], "CT 3")
    assert enrolled(terminal, issued["code"], "ct  2").startswith("host-")


def test_renaming_replacing_and_ending_a_host(terminal: Terminal) -> None:
    issued = terminal.json("code", "--asset", "CT 2")
    host = enrolled(terminal, issued["code"], "CT 2")

    assert "CT 3 now, and was CT 2" in terminal.said("host", "rename", host, "--asset", "CT 3")
    wipe = terminal.ada.folder / "wipe.json"
    wipe.write_text("{}")
    assert terminal.run("host", "decommission", host, "--certificate", wipe)[0] == 2
    code, _, errors = terminal.run("host", "decommission", host, "--exception", "--reason", "sold")
    assert (code, "takes two persons" in errors) == (1, True)
    replacement = terminal.json("host", "replace", host)
    new = enrolled(terminal, replacement["code"], "CT 3")
    assert terminal.said("hosts", "list") == f"{new}\n"
    assert "no host asks" in terminal.said("host", "asks")
    assert "nothing waits" in terminal.said("requests", "list")


def test_lifting_takes_a_second_person(terminal: Terminal) -> None:
    issued = terminal.json("code", "--asset", "CT 2")
    host = enrolled(terminal, issued["code"], "CT 2")
    terminal.said("host", "revoke", host, "--reason", "stolen")
    code, _, errors = terminal.run("code", "--asset", "CT 2")
    assert (code, host in errors) == (1, True)

    code, _, errors = terminal.run("host", "lift", host, "--reason", "it was found")
    assert (code, "nobody but ada" in errors) == (1, True)

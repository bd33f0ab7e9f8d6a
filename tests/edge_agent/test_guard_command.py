"""leadglass-guard: help at once, exit codes that a script can rely on, and what its commands print."""

import json
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.guard_commands.asking import devices, explain, records
from edge_agent.guard_commands.rules import simulate
from edge_agent.guard_main import main
from edge_agent.link.client import GuardClient
from edge_agent.notices.board import NoticeBoard
from shared.devices.parse import parse_rules
from shared.devices.record import GuardRecord
from shared.fields import Fields
from shared.fleet.devices import GuardReport
from tests.edge_agent.notices.told import TOLD
from tests.fakes.guard import REPORT, MemoryDesk, chain, guard
from tests.fakes.usb_tree import STORAGE, UsbTree

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "devices", "explain", "records", "learn", "simulate", "pin-console", "trust", "tell")


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, edge_agent.guard_main as m; m.command_line().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)

    heavy = {"cryptography", "tuf", "psutil", "pyudev", "sqlite3", "socket", "json", "dataclasses", "subprocess"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert "exit codes: 0 done" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["guard"], ["explain"], ["records", "--after", "x"], ["trust"]])
def test_a_command_that_is_not_understood_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


@pytest.mark.parametrize("arguments", [["devices"], ["explain", "1-2"], ["records"]])
def test_no_guard_to_ask_ends_with_3(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--socket", str(tmp_path / "guard.sock")]) == 3
    assert f"leadglass-guard {arguments[0]}: the guard at" in capsys.readouterr().err


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    return folder / "guard.sock"


def asked(path: Path) -> GuardClient:
    return GuardClient(path, guard_user=os.getuid())


def test_devices_prints_the_report_that_a_machine_reads_back(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with guard(socket, MemoryDesk()), asked(socket) as client:
        devices(client, as_json=True)
        printed = capsys.readouterr().out
        devices(client, as_json=False)

    assert GuardReport.parse(Fields(json.loads(printed), "report")) == REPORT
    assert "1-2        0781:5581" in capsys.readouterr().out


def test_explains_one_device(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with guard(socket, MemoryDesk()), asked(socket) as client:
        explain(client, "1-2", "", as_json=False)
        text = capsys.readouterr().out
        explain(client, "1-2", "", as_json=True)

    assert "IT service, 4711" in text
    assert json.loads(capsys.readouterr().out)["rule"] == "allow 0781:5581 serial 4C52"


def test_prints_every_record_however_many_an_answer_holds(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = chain(300)
    with guard(socket, MemoryDesk(lines)), asked(socket) as client:
        records(client, 0, as_json=True)
        printed = capsys.readouterr().out.splitlines()
        records(client, 298, as_json=False)

    assert [line.encode() for line in printed] == lines
    assert [GuardRecord.parse(line.encode()).number for line in printed] == list(range(1, 301))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["299", "300"]


# ---- rules


@pytest.fixture
def tree(tmp_path: Path) -> UsbTree:
    made = UsbTree(tmp_path / "sys")
    made.attach("1-2", 0x0781, 0x5581, [STORAGE], name="Ultra")
    made.attach("1-3", name='K"120')
    return made


def test_learns_rules_that_read_back(tree: UsbTree, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "--sys", str(tree.root)]) == 0

    rules = parse_rules(capsys.readouterr().out)
    assert [rule.name.values for rule in rules][1:] == [("Ultra",), ('K"120',)]


def test_learns_rules_for_any_port_without_hashes(tree: UsbTree, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "--sys", str(tree.root), "--ports", "none", "--no-hashes"]) == 0

    out = capsys.readouterr().out
    assert "hash" not in out
    assert "via-port" not in out


def test_simulates_rules_on_what_is_attached(
    tree: UsbTree, socket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules").write_text("# ours\nallow 0781:5581\n")
    with guard(socket, MemoryDesk()), asked(socket) as client:
        simulate(client, tmp_path / "rules", tree.root, Path("/proc"), as_json=False)
        text = capsys.readouterr().out.splitlines()
        simulate(client, tmp_path / "rules", tree.root, Path("/proc"), as_json=True)

    assert text[0].startswith('LOOSER 1-2        0781:5581 "Ultra": block -> allow (rule 1)')
    assert [json.loads(line)["port"] for line in capsys.readouterr().out.splitlines()] == ["1-2", "1-3"]


@pytest.mark.parametrize("text", [b"allow 0781:5581 wiht-interface 08:06:50", b"\xff", b"x" * (17 << 20)])
def test_rules_that_cannot_be_read_end_with_2(
    text: bytes, socket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules").write_bytes(text)
    if os.getuid():
        pytest.skip("the command believes root's guard only")
    with guard(socket, MemoryDesk()):
        assert main(["simulate", str(tmp_path / "rules"), "--socket", str(socket)]) == 2

    assert len(capsys.readouterr().err) < 400


# ---- what people are told


def test_tells_in_the_language_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    NoticeBoard(tmp_path / "notices.json").post(TOLD)
    assert main(["tell", "--notices", str(tmp_path / "notices.json")]) == 0
    english = capsys.readouterr().out
    assert main(["tell", "--notices", str(tmp_path / "notices.json"), "--language", "zh"]) == 0

    assert english.startswith("2026-03-01 08:00:00Z  The storage device “Ultra” in port 1-2.4 was blocked")
    assert "已被阻止" in capsys.readouterr().out


def test_follows_what_comes_from_a_process_of_its_own(tmp_path: Path) -> None:
    board = NoticeBoard(tmp_path / "notices.json")
    board.post(TOLD)
    command = [sys.executable, "-m", "edge_agent.guard_main", "tell", "--follow", "--notices"]
    with subprocess.Popen([*command, str(tmp_path / "notices.json")], cwd=ROOT, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        # It shows what comes after it began, and when that is only it knows: so there is more until it says something.
        for _ in range(150):
            board.post(TOLD)
            if select.select([follower.stdout], [], [], 0.2)[0]:
                break
        follower.terminate()
        line = follower.stdout.readline()

    assert b"was blocked" in line


def test_without_a_desktop_program_it_says_so_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    NoticeBoard(tmp_path / "notices.json").post(TOLD)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["tell", "--desktop", "--notices", str(tmp_path / "notices.json")]) == 0

    out, err = capsys.readouterr()
    assert "notify-send is not installed" in err
    assert "was blocked" in out


def test_a_desktop_is_shown_the_sentence_and_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor each; do echo "$each" >>{tmp_path}/shown; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    NoticeBoard(tmp_path / "notices.json").post(replace(TOLD, name="<b>--help</b> $(id)"))
    assert main(["tell", "--desktop", "--notices", str(tmp_path / "notices.json")]) == 0

    shown = (tmp_path / "shown").read_text().splitlines()
    assert shown[2:4] == ["--", "Device guard"]
    assert "&lt;b&gt;--help&lt;/b&gt; $(id)" in shown[4]
    assert len(shown) == 5


def test_notices_of_another_form_end_with_2(tmp_path: Path) -> None:
    (tmp_path / "notices.json").write_text("{}")

    assert main(["tell", "--notices", str(tmp_path / "notices.json")]) == 2

"""`leadglass-wipe` without screens: what it says of drives, tickets and reports, and its exit codes."""

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.session import Confirmed
from edge_agent.sanitize.terminal import program
from edge_agent.wipe_main import main
from shared.sanitization.qr_text import from_lines
from tests.edge_agent.sanitize.wiping import Bench, Watching, loop_drive
from tests.shared.sanitization.wipes import DISK


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.new(tmp_path)


def said(bench: Bench, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    ended = main(["--state", str(bench.state), "--agent-data", str(bench.agent.path), *arguments])
    out = capsys.readouterr()
    assert ended == code, out.err
    return out.out + out.err


def test_status_and_report_of_what_was_done_and_of_what_was_cut_short(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loop_drive(tmp_path) as one, loop_drive(tmp_path) as other:
        done, cut = bench.ticket(one), bench.ticket(other)
        for ticket, stop_at in ((done, None), (cut, 1 << 20)):
            session = bench.session(one, other)
            looked = session.look(session.accept(bench.bring(ticket)))
            session.wipe(looked, Confirmed("Dan"), Watching(stop_at=stop_at))

        told = {line["ticket"]: line for line in map(json.loads, said(bench, capsys, "status", "--json").splitlines())}
        text = said(bench, capsys, "status")

    assert (told[str(done.ticket_id)]["standing"], told[str(done.ticket_id)]["result"]) == ("ended", "cleared-verified")
    assert (told[str(cut.ticket_id)]["standing"], told[str(cut.ticket_id)]["result"]) == ("resumable", "")
    assert "CLEARED-VERIFIED" in text
    assert "RESUMABLE" in text

    said(bench, capsys, "report", str(done.ticket_id)[:8], "--out", str(tmp_path / "report"))
    signed = (bench.state / "out" / f"{done.ticket_id}.report").read_bytes()
    assert (tmp_path / "report").read_bytes() == signed
    assert "name another --out" in said(bench, capsys, "report", str(done.ticket_id), "--out", str(tmp_path), code=3)
    drawn = said(bench, capsys, "report", str(done.ticket_id), "--qr").splitlines()
    assert from_lines([line for line in drawn if line.startswith("LGW1:")]) == signed
    assert max(len(line) for line in drawn if not line.startswith("LGW1:")) <= 80
    assert "begun here" in said(bench, capsys, "report", "0000", "--qr", code=1)
    assert "nothing was begun" in said(bench, capsys, "report", str(cut.ticket_id), "--qr", code=1)


def test_a_host_that_cannot_wipe_says_what_is_missing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(bench.folder / "nowhere")
    assert "leadglass-provision install" in said(bench, capsys, "--state", nowhere, code=1)
    assert "leadglass-guard trust" in said(bench, capsys, "--guard-state", nowhere, code=1)
    assert "leadglass-guard trust" in said(bench, capsys, "--guard-state", nowhere, "verify-ticket", "x", code=1)


def test_help_is_there_before_anything_heavy_is_read() -> None:
    asked = "import sys; from edge_agent.wipe_main import command_line; command_line(); print(*sys.modules)"
    read = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout

    assert not {"cryptography", "tuf", "curses", "segno"} & set(read.split())


def test_drives_are_told_without_names_or_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with loop_drive(tmp_path) as node:
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "MUELLER", str(node)], check=True)
        assert main(["drives", "--json"]) == 0
        told = capsys.readouterr().out

    (drive,) = [one for one in map(json.loads, told.splitlines()) if one["node"] == str(node)]
    assert drive["partitions"] == [{"type": "whole disk: ext", "count": 1}]
    assert "MUELLER" not in told


def test_a_drive_is_told_as_it_is_ordered(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    medium = dataclasses.replace(DISK, model="ST 4000")
    drive = Drive(Path("/dev/sdb"), "8:16", Path("/sys/block/sdb"), medium)
    monkeypatch.setattr(program, "find_drives", lambda: [drive])
    assert main(["drives"]) == 0
    printed = capsys.readouterr().out

    (options,) = [line.partition("order it by")[2] for line in printed.splitlines() if "order it by" in line]
    assert shlex.split(options) == [
        "--serial", DISK.serial, "--model", "ST 4000", "--wwn", DISK.wwn, "--size-bytes", str(DISK.size_bytes),
    ]  # fmt: skip

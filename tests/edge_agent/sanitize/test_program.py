"""The real program in a pseudo terminal, read by a terminal emulator that is not ours."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.sanitize.session import Confirmed
from shared.sanitization.judge import judge
from shared.sanitization.judged import Result
from shared.sanitization.report import Ending
from tests.edge_agent.sanitize.terminals import ENTER, InTerminal
from tests.edge_agent.sanitize.wiping import PATIENT, Bench, Watching, content, loop_drive

LARGE = 128 << 20  # is at work for longer than it takes to see that it is


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.new(tmp_path)


def command(bench: Bench, node: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.edge_agent.sanitize.program", str(bench.folder), str(node), *arguments]


def test_a_technician_is_led_from_the_ticket_to_the_report(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node)
        bench.bring(allowed)
        serial = allowed.drive.serial
        with InTerminal(command(bench, node)) as terminal:
            terminal.until("Leadglass wipe - Tickets")
            terminal.press("1")
            terminal.until(lambda shown: "Approved by" in shown and "Bea, Cai" in shown)
            terminal.press(ENTER)
            terminal.until(lambda shown: "THIS IS THE DRIVE OF THE TICKET" in shown and serial in shown)
            terminal.press(ENTER)
            terminal.until("Type the last 4 characters")
            terminal.press("xxxx" + ENTER)
            terminal.until("these are not the last characters")
            terminal.press(serial[-4:] + ENTER)
            terminal.until("Type your own name")
            terminal.press("Eve" + ENTER)
            terminal.until("the ticket is for Dan")
            assert PATIENT in content(node)
            terminal.press("Dan" + ENTER)
            terminal.until("Press w to begin")
            terminal.press("w")
            result = terminal.until("leadglass-wipe report")
            terminal.press("q")
            assert terminal.ended() == 0
        assert PATIENT not in content(node)
    report = bench.signed(allowed)
    assert "CLEARED, verified" in result
    assert judge(allowed, report).result is Result.CLEARED_VERIFIED
    assert report.typed_person == "Dan"


def test_a_ticket_that_is_refused_or_left_alone_never_ends_like_a_wipe_that_was_done(
    bench: Bench, tmp_path: Path
) -> None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node)
        file = tmp_path / "brought"
        file.write_bytes(bench.bring(allowed))
        with InTerminal(command(bench, node, "--ticket", str(file))) as terminal:
            terminal.until("Approved by")
            terminal.press("q")
            left_alone = terminal.ended()
        session = bench.session(node)
        session.wipe(session.look(session.accept(file.read_bytes())), Confirmed("Dan"), Watching())
        with InTerminal(command(bench, node, "--ticket", str(file))) as terminal:
            terminal.until("Approved by")
            terminal.press(ENTER)
            terminal.until("THIS IS THE DRIVE")
            terminal.press(ENTER)
            terminal.until("it was begun here before")
            terminal.press("q")
            refused = terminal.ended()

    assert (left_alone, refused) == (1, 1)
    assert bench.signed(allowed).ending is Ending.COMPLETED


def test_it_speaks_chinese_and_fits_the_window_that_it_has(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        with InTerminal(command(bench, node, "--language", "zh"), columns=60, lines=12) as terminal:
            terminal.until("这里没有工单")
            terminal.press("l")
            terminal.until("No ticket lies here")
            terminal.press("q")
            assert terminal.ended() == 0
        with InTerminal(command(bench, node), columns=30, lines=8) as terminal:
            terminal.until("too small")
            os.kill(terminal.pid, signal.SIGTERM)  # nothing is at work, so it ends
            assert terminal.ended() == 1


def to_the_last_key(terminal: InTerminal, serial: str) -> None:
    """Press all that a technician presses up to the one key that begins it."""
    for shown, typed in (
        ("Leadglass wipe - Tickets", "1"), ("Approved by", ENTER), ("THIS IS THE DRIVE", ENTER),
        ("Type the last 4 characters", serial[-4:] + ENTER), ("Type your own name", "Dan" + ENTER),
    ):  # fmt: skip
        terminal.until(shown)
        terminal.press(typed)
    terminal.until("Press w to begin")


@pytest.mark.parametrize("is_busy", [False, True], ids=["read at once", "read once the window is large again"])
def test_no_key_counts_in_a_window_that_shows_nothing(bench: Bench, tmp_path: Path, is_busy: bool) -> None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node)
        bench.bring(allowed)
        with InTerminal(command(bench, node)) as terminal:
            to_the_last_key(terminal, allowed.drive.serial)
            terminal.resize(40, 10)
            terminal.until("too small")
            if is_busy:
                os.kill(terminal.pid, signal.SIGSTOP)
            terminal.press("w")
            terminal.resize(80, 24)
            os.kill(terminal.pid, signal.SIGCONT)
            terminal.until("Press w to begin")
            assert PATIENT in content(node)
            assert bench.events(allowed) == []
            # The control: the same key, once the page is to be seen.
            terminal.press("w")
            terminal.until("CLEARED, verified")
            terminal.press("q")
            assert terminal.ended() == 0
        assert PATIENT not in content(node)


def test_a_lost_line_before_the_first_write_leaves_drive_and_ticket_as_they_were(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node)
        bench.bring(allowed)
        with InTerminal(command(bench, node)) as terminal:
            to_the_last_key(terminal, allowed.drive.serial)
            assert terminal.hang_up() == 1

        assert PATIENT in content(node)
        assert not bench.session(node).is_begun(allowed.ticket_id)
        assert bench.events(allowed) == []


def test_a_line_that_is_lost_while_it_writes_stops_nothing_and_the_report_says_how_it_ended(
    bench: Bench, tmp_path: Path
) -> None:
    with loop_drive(tmp_path, LARGE) as node:
        allowed = bench.ticket(node)
        bench.bring(allowed)
        with InTerminal(command(bench, node)) as terminal:
            to_the_last_key(terminal, allowed.drive.serial)
            terminal.press("w")
            terminal.until("At work")
            assert terminal.hang_up() == 1

        report = bench.signed(allowed)
        assert judge(allowed, report).result is Result.CLEARED_VERIFIED
        assert bench.events(allowed) == ["accepted", "started", "ended"]
        assert PATIENT not in content(node)
        with InTerminal(command(bench, node)) as terminal:
            terminal.until("not usable")
            terminal.press("q")
            terminal.ended()


def test_what_was_cut_short_is_named_or_there_is_one(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        nothing = subprocess.run(command(bench, node, "resume"), capture_output=True, text=True, check=False)
        allowed = bench.ticket(node)
        session = bench.session(node)
        looked = session.look(session.accept(bench.bring(allowed)))
        session.wipe(looked, Confirmed("Dan"), Watching(stop_at=1 << 20))
        with InTerminal(command(bench, node, "resume", str(allowed.ticket_id)[:6])) as terminal:
            terminal.until("CLEARED, verified")
            terminal.press("q")
            assert terminal.ended() == 0

    assert (nothing.returncode, "no wipe was cut short" in nothing.stderr) == (1, True)
    assert bench.events(allowed) == ["accepted", "started", "resumed", "ended"]


def test_without_a_terminal_that_can_be_drawn_on_it_says_so(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        piped = subprocess.run(command(bench, node), capture_output=True, text=True, check=False)
        with InTerminal(command(bench, node), TERM="no-such-terminal") as terminal:
            code = terminal.ended()

    assert (piped.returncode, "no terminal" in piped.stderr) == (3, True)
    assert code == 3
    assert "TERM=vt100" in terminal.text

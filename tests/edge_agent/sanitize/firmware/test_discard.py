"""Discard: blkdiscard itself on a loop device, and a step that claims no more than that it was answered."""

from pathlib import Path

import pytest

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.firmware import discard
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.programs import Ran
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.sanitization.report import StepOutcome
from shared.sanitization.technique import Available, Technique
from tests.edge_agent.sanitize.engine.loops import loop_device, number
from tests.edge_agent.sanitize.firmware.drives import DRIVE, MEDIUM, commands_to
from tests.fakes.watch import Watched

SIZE = MEDIUM.size_bytes


def test_a_loop_device_is_discarded_whole_part_after_part(tmp_path: Path) -> None:
    file, watch = tmp_path / "drive", Watched()
    with loop_device(file, SIZE) as node:
        drive = Drive(node, number(node), Path("/sys/class/block", node.name), MEDIUM)
        commands = Commands(Tools(), SystemClock(), lambda _: None)
        assert discard.supports(drive).available is Available.YES

        step = commands.run(commands.begin(Technique.DISCARD, drive), drive, watch)

    assert (step.outcome, step.bytes_written, step.pattern) == (StepOutcome.DONE, SIZE, "00")
    assert not step.progress_seen
    assert "only a read back shows more" in step.detail
    assert watch.told[-1] == (SIZE, SIZE)
    assert step.tool.startswith("blkdiscard from util-linux")
    assert not any(file.read_bytes())


def test_a_drive_that_somebody_else_holds_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "drive"
    with loop_device(file, SIZE) as node, open_drive(node, number(node)):
        drive = Drive(node, number(node), Path("/sys/class/block", node.name), MEDIUM)
        commands = Commands(Tools(), SystemClock(), lambda _: None)

        step = commands.run(commands.begin(Technique.DISCARD, drive), drive, Watched())

    assert (step.outcome, step.bytes_written) == (StepOutcome.REFUSED, 0)
    assert "nothing was done now" in step.detail
    assert file.read_bytes() == b"PATIENT." * (SIZE // 8)


@pytest.mark.parametrize("fails_at, outcome", [(0, StepOutcome.REFUSED), (1, StepOutcome.FAILED)])
def test_a_discard_that_is_not_taken_is_refused_at_the_start_and_failed_later(
    fails_at: int, outcome: StepOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discard, "_ALIGNED_BYTES", SIZE // 4)
    asked: list[list[str]] = []

    def drive(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        if command[1] != "--version":
            asked.append(command)
        return Ran(1, b"", b"BLKDISCARD ioctl failed: Operation not supported\n") if len(asked) > fails_at else Ran(0)

    commands = commands_to(drive)  # type: ignore[arg-type]
    step = commands.run(commands.begin(Technique.DISCARD, DRIVE), DRIVE, Watched())

    assert (step.outcome, step.completed) == (outcome, False)
    assert not any("--secure" in command for command in asked)


def test_one_who_stops_it_finds_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discard, "_ALIGNED_BYTES", SIZE // 4)
    commands = commands_to(lambda *_: Ran(0))

    step = commands.run(commands.begin(Technique.DISCARD, DRIVE), DRIVE, Watched(stop_at=SIZE // 2))

    assert (step.outcome, step.bytes_written) == (StepOutcome.INTERRUPTED, SIZE // 2)


@pytest.mark.parametrize("said, available", [("0\n", Available.NO), ("1048576\n", Available.YES)])
def test_whether_it_takes_discards_is_what_the_kernel_says(tmp_path: Path, said: str, available: Available) -> None:
    drive = Drive(DRIVE.node, DRIVE.number, tmp_path, MEDIUM)
    with pytest.raises(Unavailable):
        discard.supports(drive)
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "discard_max_bytes").write_text(said)

    assert discard.supports(drive).available is available

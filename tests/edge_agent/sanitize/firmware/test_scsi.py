"""SCSI: sense data in both formats, what a drive lists among its commands, and a kernel that has to ask again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.firmware import scsi, sense
from edge_agent.sanitize.firmware.sanitizing import State, Status
from edge_agent.sanitize.firmware.tools import Answer, Tools
from edge_agent.sanitize.programs import Ran
from shared.errors import Malformed, Unavailable
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import StepOutcome
from shared.sanitization.technique import Technique
from tests.edge_agent.sanitize.firmware.drives import AtaDrive, ScsiDrive, commands_to, of
from tests.fakes.watch import Watched

# Recorded in the lab: QEMU's scsi-hd takes no sanitize, and sg_sanitize of sg3-utils 1.46 ends with 0.
NOT_HANDED_OVER = Ran(
    0,
    b"    QEMU      QEMU HARDDISK     2.5+   peripheral_type: disk [0x0]\n      Unit serial number: S1\n",
    b"Sanitize: transport: Host_status=0x07 [DID_ERROR]\nDriver_status=0x00 [DRIVER_OK]\n\n",
)
SUPPORTED = b"""
  Opcode=0x48  Service_action=0x0002
  Command_name: Sanitize, block erase
  Command is supported [conforming to SCSI standard]
  No command duration limit mode page
  Multiple Logical Units (MLU): not reported
  Usage data: 48 9f 00 00 00 00 00 ff ff 00
"""


Make = Callable[[int, tuple[int, int], int | None], bytes]


def fixed(key: int, code: tuple[int, int], progress: int | None) -> bytes:
    specific = b"\0\0\0" if progress is None else bytes([0x80]) + progress.to_bytes(2, "big")
    return bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, *code, 0]) + specific


def descriptor(key: int, code: tuple[int, int], progress: int | None) -> bytes:
    inside = b"" if progress is None else bytes([2, 6, 0, 0, 0x80]) + progress.to_bytes(2, "big") + b"\0"
    before = bytes([0, 10, *bytes(10)])  # information, which stands in front
    return bytes([0x72, key, *code, 0, 0, 0, len(before + inside)]) + before + inside


@given(st.sampled_from([fixed, descriptor]), st.integers(0, 0xFFFF), st.sampled_from([0, 2]), st.binary(max_size=40))
def test_progress_is_read_in_both_formats_whatever_follows(make: Make, progress: int, key: int, more: bytes) -> None:
    assert sense.parse(make(key, (0x04, 0x1B), progress) + more).status == Status(State.RUNNING, progress)


@given(st.sampled_from([fixed, descriptor]), st.integers(0, 15), st.tuples(st.integers(0, 255), st.integers(0, 255)))
def test_whatever_else_is_said_is_an_end_a_failure_or_no_state_at_all(
    make: Make, key: int, code: tuple[int, int]
) -> None:
    said = sense.parse(make(key, code, None))
    if code == (0x31, 0x03):
        assert said.status.state is State.FAILED
    elif code == (0x04, 0x1B) and key in {0, 2}:
        assert said.status == Status(State.RUNNING, 0)
    elif key == 0:
        assert said.status.state is State.IDLE
    else:
        with pytest.raises(Malformed):
            _ = said.status


REFUSED_BEFORE, RESET, NOTHING = (5, (0x20, 0)), (6, (0x29, 0)), (0, (0, 0))


@pytest.mark.parametrize("first", [[REFUSED_BEFORE], [RESET], [RESET, REFUSED_BEFORE, RESET]])
def test_what_a_drive_has_to_say_of_something_else_is_heard_out(first: list[tuple[int, tuple[int, int]]]) -> None:
    assert told([*first, (3, (0x31, 3))]).state is State.FAILED
    assert told([*first, NOTHING]).state is State.IDLE


@pytest.mark.parametrize("key", [5, 6])
def test_a_failure_counts_though_it_is_told_once(key: int) -> None:
    assert told([(key, (0x31, 3)), NOTHING]).state is State.FAILED


def test_a_drive_that_never_says_how_it_is_is_not_taken_for_idle() -> None:
    with pytest.raises(Malformed, match="sense key 5, code 20h/00h is no state of a sanitize"):
        told([REFUSED_BEFORE] * 10)


def told(answers: list[tuple[int, tuple[int, int]]]) -> Status:
    said = iter(answers)
    tools = Tools(lambda _command, _timeout_s=30.0, /: Ran(0, fixed(*next(said), None), b""))
    return scsi.ScsiSanitizer(Technique.SCSI_SANITIZE_BLOCK, of(MediumKind.SCSI_DISK), tools).status()


@given(st.binary(max_size=17))
def test_sense_data_that_is_cut_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        sense.parse(bytes([0x70]) + data[:16])
    with pytest.raises(Malformed):
        sense.parse(descriptor(0, (4, 0x1B), 7)[: 8 + len(data)])


def test_what_a_drive_lists_is_read_as_sg_opcodes_prints_it() -> None:
    assert scsi.parse_supported(Answer(0, SUPPORTED, b""))
    assert not scsi.parse_supported(Answer(0, SUPPORTED.replace(b"supported [conf", b"NOT supported [conf"), b""))
    for answer, error in (
        (Answer(9, b"", b"Report supported operation codes: Illegal request, Invalid opcode\n"), Unavailable),
        (Answer(0, b"", b""), Malformed),
        (Answer(0, SUPPORTED * 2, b""), Malformed),
    ):
        with pytest.raises(error):
            scsi.parse_supported(answer)


def test_a_command_that_the_host_adapter_could_not_hand_over_is_refused_whatever_the_tool_ends_with() -> None:
    def adapter(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        is_sanitize = command[0] == "sg_sanitize" and "--version" not in command
        return NOT_HANDED_OVER if is_sanitize else ScsiDrive()(command)

    drive = of(MediumKind.SCSI_DISK)
    commands = commands_to(adapter)  # type: ignore[arg-type]
    step = commands.run(commands.begin(Technique.SCSI_SANITIZE_OVERWRITE, drive), drive, Watched())

    assert (step.outcome, step.accepted, step.completed) == (StepOutcome.REFUSED, False, False)
    assert "DID_ERROR" in step.detail
    assert NOT_HANDED_OVER.code == 0, "control: by exit code it was done"


@pytest.mark.parametrize(
    "kind, technique, model",
    [
        (MediumKind.SCSI_DISK, Technique.SCSI_SANITIZE_BLOCK, ScsiDrive()),
        (MediumKind.ATA_SSD, Technique.ATA_SANITIZE_BLOCK, AtaDrive()),  # perhaps behind a bridge
    ],
    ids=["scsi", "ata"],
)
def test_the_kernel_is_had_to_ask_for_the_capacity_again_that_a_busy_drive_does_not_tell(
    tmp_path: Path, kind: MediumKind, technique: Technique, model: ScsiDrive | AtaDrive
) -> None:
    (tmp_path / "device").mkdir()
    drive = replace(of(kind), sysfs=tmp_path)
    commands = commands_to(model)

    commands.run(commands.begin(technique, drive), drive, Watched())

    assert (tmp_path / "device" / "rescan").read_text() == "1"

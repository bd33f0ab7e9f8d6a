"""ATA: what hdparm prints is read strictly, and no drive is left under a password that nobody knows of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.capabilities import ata_secure_erase
from edge_agent.sanitize.firmware import ata, ata_identify
from edge_agent.sanitize.firmware.sanitizing import State, Status
from edge_agent.sanitize.firmware.tools import Answer
from edge_agent.sanitize.programs import Ran, Run
from shared.errors import Malformed, Unavailable
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import Available, Technique
from tests.edge_agent.sanitize.firmware.drives import DRIVE, AtaDrive, commands_to, istdout, recorded
from tests.fakes.watch import Watched

ERASE = Technique.ATA_SECURE_ERASE
WORD = st.integers(0, 0xFFFF)
RUNNING = (
    b"\n/dev/sdz:\nIssuing SANITIZE_STATUS command\nSanitize status:\n"
    b"    State:    SD2 Sanitize operation In Process\n    Progress: 0x5b20 (35%)\n"
)


# ---- what it prints


def test_a_recorded_answer_of_an_emulated_disk_is_read() -> None:
    found = ata_identify.parse(recorded("qemu-ahci-istdout").stdout)

    assert (found.sanitize, found.security.supported, found.has_hpa, found.has_dco, found.has_ama) == (False,) * 5


@given(words=st.dictionaries(st.integers(0, 254), WORD, max_size=40))
def test_whatever_a_drive_says_is_read_bit_by_bit_under_a_sum_that_is_right(words: dict[int, int]) -> None:
    found = ata_identify.parse(istdout(words))

    has_commands = words.get(83, 0x4000) & 0xC000 == 0x4000
    assert found.block_erase == bool(words.get(59, 0) & 1 << 15)
    assert found.security.frozen == bool(words.get(128, 0) & 8)
    assert found.has_hpa == (has_commands and bool(words.get(82, 0) & 1 << 10))
    assert found.has_dco == (has_commands and bool(words.get(83, 0) & 1 << 11))


@given(st.data())
def test_an_answer_of_which_one_byte_is_changed_or_the_end_is_missing_is_refused(data: st.DataObject) -> None:
    good = istdout({59: 0xF000, 128: 0x21})
    at = data.draw(st.integers(good.index(b":") + 2, len(good) - len("a5\n") - 1))  # before what says that it has a sum
    other = data.draw(st.sampled_from([byte for byte in b"0123456789abcdefgx \n" if byte != good[at]]))

    with pytest.raises(Malformed):
        ata_identify.parse(good[:at] + bytes([other]) + good[at + 1 :])
    with pytest.raises(Malformed):
        ata_identify.parse(good[:at])


@pytest.mark.parametrize(
    "word, minutes", [(0, None), (1, 2), (0xFF, 510), (0x8000, None), (0x8000 | 300, 600), (0x012C, 88)]
)
def test_the_drive_s_own_estimate_is_read_in_both_of_its_forms(word: int, minutes: int | None) -> None:
    assert ata_identify.parse(istdout({89: word})).security.erase_minutes == minutes


def test_a_sanitize_status_is_read_as_hdparm_prints_it() -> None:
    idle = RUNNING.replace(b"SD2 Sanitize operation In Process\n    Progress: 0x5b20 (35%)", b"SD0 Sanitize Idle")
    well = idle + b"    Last Sanitize Operation Completed Without Error\n"
    failed = Answer(5, b"", b"SANITIZE failed: Input/output error\nDrive in SD3 Sanitize Operation Failed state\n")

    assert ata.parse_status(Answer(0, RUNNING, b"")) == Status(State.RUNNING, 0x5B20)
    assert ata.parse_status(Answer(0, idle, b"")) == Status(State.IDLE)
    assert ata.parse_status(Answer(0, well, b"")).record == "completed without error"
    assert ata.parse_status(failed) == Status(State.FAILED)


@pytest.mark.parametrize(
    "answer, expected",
    [
        (Answer(0, RUNNING, b"SG_IO: bad/missing sense data, sb[]: 70 00"), Unavailable),
        (Answer(22, b"", b"SANITIZE feature set is not supported\n"), Unavailable),
        (Answer(0, b"", b""), Malformed),
        (Answer(0, RUNNING.replace(b"    Progress: 0x5b20 (35%)\n", b""), b""), Malformed),
        (Answer(0, RUNNING.replace(b"SD2", b"SD0"), b""), Malformed),
        (Answer(0, RUNNING.replace(b"SD2", b"SD9"), b""), Malformed),
        (Answer(0, RUNNING + RUNNING, b""), Malformed),
    ],
)
def test_any_other_sanitize_status_is_none(answer: Answer, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        ata.parse_status(answer)


# ---- whether there is a secure erase


@pytest.mark.parametrize(
    "state, part",
    [
        (0b000000, "no security commands"), (0b001001, "frozen by the machine's firmware"),
        (0b000111, "locked by a password"), (0b000011, "under a password already"), (0b010001, "too many wrong"),
    ],
)  # fmt: skip
def test_a_drive_that_cannot_erase_now_says_why_in_words_for_a_person(state: int, part: str) -> None:
    said = ata_secure_erase(ERASE, ata_identify.parse(istdout({82: 2, 128: state})).security)

    assert said.available is Available.NO
    assert part in said.why
    assert ("--security-disable LEADGLASS" in said.why) == ("password" in part)


def test_an_enhanced_erase_is_there_only_where_the_drive_says_so() -> None:
    plain, enhanced = (ata_identify.parse(istdout({82: 2, 128: state})).security for state in (1, 0b100001))

    assert ata_secure_erase(ERASE, plain).available is Available.YES
    assert ata_secure_erase(Technique.ATA_SECURE_ERASE_ENHANCED, plain).available is Available.NO
    assert ata_secure_erase(Technique.ATA_SECURE_ERASE_ENHANCED, enhanced).available is Available.YES


# ---- a secure erase


def erased(firmware: Run) -> Step:
    commands = commands_to(firmware)
    return commands.run(commands.begin(ERASE, DRIVE), DRIVE, Watched())


def test_an_erase_is_done_once_the_drive_took_the_password_and_dropped_it() -> None:
    firmware = AtaDrive()

    step = erased(firmware)

    assert (step.outcome, step.accepted, step.completed) == (StepOutcome.DONE, True, True)
    assert not step.progress_seen
    assert firmware.password is None


def test_the_recorded_drive_that_ends_everything_with_0_and_erases_nothing_is_refused() -> None:
    """The emulated disk of the recordings: all data was left, and every exit status was 0."""
    codes: list[int | None] = []

    def emulated(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        names = {"--Istdout": "qemu-ahci-istdout", "u": "qemu-ahci-set-pass"}
        ran = Ran(0, b"hdparm v9.65\n") if command[1] == "-V" else recorded(names[command[min(2, len(command) - 2)]])
        codes.append(ran.code)
        return ran

    step = erased(emulated)  # type: ignore[arg-type]

    assert (step.outcome, step.accepted, step.completed) == (StepOutcome.REFUSED, False, False)
    assert "did not take a password" in step.detail
    assert set(codes) == {0}, "control: by exit codes it was done"


@pytest.mark.parametrize("mode", ["fail", "idle"])
def test_an_erase_that_did_not_happen_is_failed_and_the_password_is_taken_off_again(mode: str) -> None:
    firmware = AtaDrive(mode)

    step = erased(firmware)

    assert (step.outcome, step.accepted, step.completed) == (StepOutcome.FAILED, False, False)
    assert step.facts["password_left"] is False
    assert firmware.password is None


def test_a_password_that_the_drive_does_not_give_up_is_told_with_how_to_take_it_off() -> None:
    firmware = AtaDrive("fail")

    def stubborn(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        return Ran(5) if "--security-disable" in command else firmware(command, timeout_s)

    step = erased(stubborn)  # type: ignore[arg-type]

    assert step.facts["password_left"] is True
    assert "hdparm --user-master u --security-disable LEADGLASS" in step.detail


def test_a_drive_that_froze_since_it_was_looked_at_is_refused_with_what_to_do() -> None:
    step = erased(AtaDrive("frozen"))

    assert step.outcome is StepOutcome.REFUSED
    assert "sleep and wake" in step.detail


def test_a_drive_that_is_silent_once_it_was_given_a_password_may_be_under_it() -> None:
    firmware, answers = AtaDrive(), iter([True, False])

    def goes_silent(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        if "--Istdout" in command and not next(answers):
            return Ran(None, why="hdparm did not end within 30 s")
        return firmware(command, timeout_s)

    step = erased(goes_silent)  # type: ignore[arg-type]

    assert (step.outcome, step.facts["password_left"]) == (StepOutcome.UNKNOWN, True)
    assert not firmware.given


def test_a_drive_under_somebody_else_s_password_is_left_alone() -> None:
    firmware = AtaDrive(password="theirs")

    step = erased(firmware)

    assert step.outcome is StepOutcome.REFUSED
    assert (firmware.password, firmware.given) == ("theirs", [])


def test_after_a_power_cut_the_locked_drive_is_erased_under_the_password_that_everybody_knows() -> None:
    firmware = AtaDrive("cut")
    cut = erased(firmware)
    assert (cut.outcome, cut.facts["password_left"]) == (StepOutcome.UNKNOWN, True)
    firmware.power_cut()
    assert firmware.is_locked

    step = commands_to(firmware).resume(cut, DRIVE, Watched())

    assert (step.outcome, step.accepted, step.completed, step.resumed) == (StepOutcome.DONE, True, True, 1)
    assert step.facts["password_left"] is False
    assert (firmware.password, firmware.is_locked) == (None, False)

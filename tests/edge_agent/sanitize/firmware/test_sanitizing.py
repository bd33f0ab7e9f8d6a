"""A sanitize is believed by the drive's word alone, followed to its end, and never given twice blindly."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.engine.direct import NotOpened
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.sanitizing import Held, Sanitizing, State, Status
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.programs import Ran, Run
from shared.errors import Unavailable
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import Technique
from tests.edge_agent.sanitize.firmware.drives import LOOKS, AtaDrive, NvmeDrive, ScsiDrive, commands_to, of
from tests.fakes.clock import FakeClock
from tests.fakes.watch import Watched

ATA, NVME, SCSI = Technique.ATA_SANITIZE_BLOCK, Technique.NVME_SANITIZE_CRYPTO, Technique.SCSI_SANITIZE_OVERWRITE
KINDS = {ATA: MediumKind.ATA_SSD, NVME: MediumKind.NVME, SCSI: MediumKind.SCSI_DISK}
EACH = pytest.mark.parametrize(
    "technique, make", [(ATA, AtaDrive), (NVME, NvmeDrive), (SCSI, ScsiDrive)], ids=["ata", "nvme", "scsi"]
)
WITH_A_LOG = pytest.mark.parametrize("technique, make", [(ATA, AtaDrive), (NVME, NvmeDrive)], ids=["ata", "nvme"])
NOTED = commands_to(AtaDrive()).begin(ATA, of(MediumKind.ATA_SSD))
Make = Callable[..., AtaDrive | NvmeDrive | ScsiDrive]


class Attempt:
    """One technique on one drive, with how long was waited."""

    def __init__(self, technique: Technique, firmware: Run) -> None:
        self.waited: list[float] = []
        self.commands = commands_to(firmware, self.waited.append)
        self.drive = of(KINDS[technique])
        self.noted = self.commands.begin(technique, self.drive)

    def run(self, watch: Watched | None = None) -> Step:
        return self.commands.run(self.noted, self.drive, watch or Watched())

    def resume(self, step: Step | None = None) -> Step:
        return self.commands.resume(step or self.noted, self.drive, Watched())


def word_of(step: Step) -> tuple[StepOutcome, bool, bool, bool]:
    return step.outcome, step.accepted, step.progress_seen, step.completed


@EACH
def test_a_sanitize_that_was_seen_at_work_and_ended_well_by_the_drive_s_word_is_done(
    technique: Technique, make: Make
) -> None:
    firmware, watch = make(), Watched()

    step = Attempt(technique, firmware).run(watch)

    assert word_of(step) == (StepOutcome.DONE, True, True, True)
    assert len(firmware.given) == 1
    assert [done for done, _ in watch.told] == sorted(done for done, _ in watch.told)
    assert step.tool.split()[0].rstrip(":") in {"hdparm", "nvme", "sg_sanitize"}
    assert step.pattern == ("00" if technique is SCSI else "")


class Overheard:
    """Between us and the tools: keeps what each ended with, all that an adapter of exit codes would look at."""

    def __init__(self, firmware: Run) -> None:
        self._firmware, self.codes = firmware, list[int | None]()

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        ran = self._firmware(command, timeout_s)
        self.codes.append(ran.code)
        return ran


@EACH
def test_an_idle_drive_that_answers_success_was_never_accepted(technique: Technique, make: Make) -> None:
    overheard = Overheard(make(mode="idle"))

    step = Attempt(technique, overheard).run()

    assert word_of(step) == (StepOutcome.UNKNOWN, False, False, False)
    assert "never seen at work" in step.detail
    assert set(overheard.codes) == {0}, "control: by exit codes it was done"


@WITH_A_LOG
def test_a_success_that_the_log_had_before_is_not_this_run_s(technique: Technique, make: Make) -> None:
    firmware = make(mode="idle", has_succeeded=True)
    if isinstance(firmware, NvmeDrive):
        firmware.action = 4

    step = Attempt(technique, firmware).run()

    assert word_of(step) == (StepOutcome.UNKNOWN, False, False, False)
    assert step.facts["log_names_run"] is False


@WITH_A_LOG
def test_a_sanitize_too_quick_to_be_seen_is_known_by_the_drive_s_log(
    technique: Technique, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.edge_agent.sanitize.firmware.drives.LOOKS", 0)

    step = Attempt(technique, make()).run()

    assert word_of(step) == (StepOutcome.DONE, True, False, True)
    assert step.facts["log_names_run"] is True


@EACH
def test_a_sanitize_that_the_drive_calls_failed_is_failed(technique: Technique, make: Make) -> None:
    step = Attempt(technique, make(mode="fail")).run()

    assert word_of(step) == (StepOutcome.FAILED, True, True, False)


@pytest.mark.parametrize("technique, make", [(ATA, AtaDrive), (SCSI, ScsiDrive)], ids=["ata", "scsi"])
def test_a_drive_that_refuses_is_refused_and_nothing_was_begun(technique: Technique, make: Make) -> None:
    firmware = make(mode="frozen")

    step = Attempt(technique, firmware).run()

    assert word_of(step) == (StepOutcome.REFUSED, False, False, False)
    assert not firmware.given


@EACH
def test_another_one_s_sanitize_is_not_taken_for_ours(technique: Technique, make: Make) -> None:
    firmware = make()
    attempt = Attempt(technique, firmware)
    firmware.begin("somebody else's")

    step = attempt.run()

    assert word_of(step) == (StepOutcome.REFUSED, False, False, False)
    assert firmware.given == ["somebody else's"]


@EACH
def test_a_drive_that_somebody_else_holds_is_not_given_the_command(technique: Technique, make: Make) -> None:
    firmware, attempt = make(), Attempt(technique, make())

    def in_use(drive: Drive) -> Held:
        raise NotOpened(drive.node, "it is in use")

    step = Commands(Tools(firmware), FakeClock(), attempt.waited.append, in_use).run(
        attempt.noted, attempt.drive, Watched()
    )

    assert word_of(step) == (StepOutcome.REFUSED, False, False, False)
    assert "it is in use" in step.detail
    assert not firmware.given


class Stopped(Watched):
    is_stopped = True


@EACH
def test_nothing_is_given_once_a_person_has_stopped_it(technique: Technique, make: Make) -> None:
    firmware = make()

    step = Attempt(technique, firmware).run(Stopped())

    assert word_of(step) == (StepOutcome.INTERRUPTED, False, False, False)
    assert not firmware.given


@EACH
def test_one_who_stops_it_is_told_that_the_drive_goes_on_and_going_on_here_gives_nothing_twice(
    technique: Technique, make: Make
) -> None:
    firmware = make()
    attempt = Attempt(technique, firmware)

    stopped = attempt.run(Watched(stop_at=1))
    assert word_of(stopped) == (StepOutcome.INTERRUPTED, True, True, False)
    assert "cannot be stopped" in stopped.detail
    assert firmware.is_running

    firmware.power_cut()
    step = attempt.resume(attempt.noted)
    assert word_of(step) == (StepOutcome.DONE, True, True, True)
    assert (len(firmware.given), step.resumed) == (1, 1)


@WITH_A_LOG
def test_after_a_power_cut_an_end_that_nobody_watched_is_taken_from_the_log(technique: Technique, make: Make) -> None:
    firmware = make()
    attempt = Attempt(technique, firmware)
    attempt.run(Watched(stop_at=1))
    for _ in range(LOOKS):
        firmware.look()
    assert not firmware.is_running

    step = attempt.resume()

    assert word_of(step) == (StepOutcome.DONE, True, False, True)
    assert (len(firmware.given), step.facts["log_names_run"]) == (1, True)


def test_a_drive_without_a_log_that_is_idle_has_ended_if_it_was_seen_at_work_and_else_is_told_once_more() -> None:
    for was_kept, given_in_all in ((True, 1), (False, 2)):
        firmware = ScsiDrive()
        attempt = Attempt(SCSI, firmware)
        stopped = attempt.run(Watched(stop_at=1))
        for _ in range(LOOKS):
            firmware.look()

        step = attempt.resume(stopped if was_kept else attempt.noted)

        assert word_of(step) == (StepOutcome.DONE, True, True, True)
        assert len(firmware.given) == given_in_all


@EACH
def test_what_was_noted_and_never_given_is_given_when_it_goes_on(technique: Technique, make: Make) -> None:
    firmware = make()

    step = Attempt(technique, firmware).resume()

    assert word_of(step) == (StepOutcome.DONE, True, True, True)
    assert len(firmware.given) == 1


@EACH
def test_one_that_never_ends_is_unknown_within_the_drive_s_own_estimate_and_is_asked_ever_more_rarely(
    technique: Technique, make: Make
) -> None:
    attempt = Attempt(technique, make(mode="stuck"))

    step = attempt.run()

    assert word_of(step) == (StepOutcome.UNKNOWN, True, True, False)
    assert "at work still" in step.detail
    assert attempt.waited == sorted(attempt.waited)
    assert max(attempt.waited) == 10
    assert 3600 <= sum(attempt.waited) < 3700


class Hung:
    """Takes the command, and then neither its program nor the drive says another word."""

    def __init__(self, firmware: Run) -> None:
        self._firmware, self._is_hung = firmware, False

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        if self._is_hung:
            return Ran(None, why=f"{command[0]} did not end within {timeout_s:g} s")
        ran = self._firmware(command, timeout_s)
        self._is_hung = bool(getattr(self._firmware, "given", None))
        return Ran(None, why=f"{command[0]} did not end within {timeout_s:g} s") if self._is_hung else ran


@EACH
def test_a_command_that_nobody_answered_is_not_called_refused(technique: Technique, make: Make) -> None:
    step = Attempt(technique, Hung(make())).run()

    assert word_of(step) == (StepOutcome.UNKNOWN, False, False, False)
    assert "not known" in step.detail


@EACH
def test_a_drive_at_work_may_be_silent_for_a_while(technique: Technique, make: Make) -> None:
    step = Attempt(technique, make(mode="silent")).run()

    assert word_of(step) == (StepOutcome.DONE, True, True, True)


@EACH
def test_a_drive_that_answers_nothing_any_more_is_unknown(technique: Technique, make: Make) -> None:
    attempt = Attempt(technique, make())
    commands = commands_to(lambda *_: Ran(None, why="it did not end within 30 s"))

    assert commands.resume(attempt.noted, attempt.drive, Watched()).outcome is StepOutcome.UNKNOWN
    assert commands.run(attempt.noted, attempt.drive, Watched()).outcome is StepOutcome.REFUSED


class Scripted:
    """A drive that says one thing after another, and the last one for ever; `takes` is what it answers the command."""

    def __init__(self, says: Sequence[Status | None], takes: str, *, keeps_log: bool) -> None:
        self._says, self._takes, self.keeps_log = list(says), takes, keeps_log
        self.heard: list[Status] = []
        self.given = 0

    def status(self) -> Status:
        now = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if now is None:
            raise Unavailable("no answer")
        self.heard.append(now)
        return now

    def start(self) -> str:
        self.given += 1
        return self._takes

    def estimate_s(self) -> int | None:
        return 10

    def names(self, record: str) -> bool:
        return record.startswith("ours")

    def settle(self) -> None:
        pass


records = st.sampled_from(["", "ours 1", "ours 2", "another's"])
statuses = st.none() | st.builds(Status, st.sampled_from(State), st.integers(0, 0xFFFF), records)


@given(st.lists(statuses, min_size=1, max_size=8), st.sampled_from(["", "no"]), st.booleans(), st.booleans())
def test_whatever_a_drive_says_it_is_done_only_if_it_was_at_work_or_its_log_has_this_run_and_it_is_given_once_at_most(
    says: list[Status | None], takes: str, keeps_log: bool, resumed: bool
) -> None:
    drive, before = Scripted(says, takes, keeps_log=keeps_log), "ours 1"
    noted = replace(NOTED, facts={"record_before": before, "estimate_s": 10})
    sanitizing = Sanitizing(drive, FakeClock(), lambda _: None, nullcontext)

    step = (sanitizing.resume if resumed else sanitizing.run)(noted, 1 << 20, Watched())

    was_at_work = any(one.state is State.RUNNING for one in drive.heard)
    has_this_run = drive.names(drive.heard[-1].record) and drive.heard[-1].record != before if drive.heard else False
    assert drive.given <= 1
    assert step.ended is not None
    if step.outcome is StepOutcome.DONE:
        assert was_at_work or has_this_run
        assert drive.heard[-1].state is State.IDLE
        assert not keeps_log or drive.names(drive.heard[-1].record)
        assert (step.accepted, step.completed, step.progress_seen) == (True, True, was_at_work)
    else:
        assert not step.completed

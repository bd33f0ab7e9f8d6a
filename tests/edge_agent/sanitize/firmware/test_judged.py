"""What a drive's own command comes to on a certificate: the judge's word on drives that do it, lie, idle or fail."""

from dataclasses import replace

import pytest

from edge_agent.sanitize.drive import Drive
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.judge import judge
from shared.sanitization.judged import Judged, Result, Why
from shared.sanitization.medium import Medium
from shared.sanitization.method import Method
from shared.sanitization.report import Checked, Extent, Extents, Step, StepOutcome
from shared.sanitization.technique import SanitizationClass, Sequence, Technique
from tests.edge_agent.sanitize.firmware.drives import DRIVE, AtaDrive, NvmeDrive, commands_to
from tests.fakes.watch import Watched
from tests.shared.sanitization.tickets import ticket
from tests.shared.sanitization.wipes import DISK, NO_HIDDEN, NVME, ONE_NAMESPACE, at, changed, drive_of, report_of

LIE = Extents(8, (Extent(0, 8),))


def step_of(technique: Technique, firmware: AtaDrive | NvmeDrive, medium: Medium) -> Step:
    drive = Drive(DRIVE.node, DRIVE.number, DRIVE.sysfs, medium)
    commands = commands_to(firmware)
    step = commands.run(commands.begin(technique, drive), drive, Watched())
    return replace(step, started=at(1), ended=at(10))


def judged(step: Step, medium: Medium, *checks: Checked, least: LeastClass = LeastClass.PURGE) -> Judged:
    method = Method(least, (step.technique,), Sequence.ZERO, (), ReadBack.SAMPLES)
    allowed = ticket(drive=drive_of(medium), method=method)
    hidden = ONE_NAMESPACE if medium is NVME else NO_HIDDEN
    after = replace(medium, partitions=())
    report = report_of(allowed, medium=medium, medium_after=after, hidden=hidden, steps=(step,), checks=checks)
    return judge(allowed, report)


@pytest.mark.parametrize(
    "technique, firmware, medium",
    [
        (Technique.ATA_SANITIZE_BLOCK, AtaDrive(), DISK), (Technique.NVME_SANITIZE_CRYPTO, NvmeDrive(), NVME),
        (Technique.NVME_FORMAT_CRYPTO, NvmeDrive(), NVME),
    ],
)  # fmt: skip
def test_one_that_ran_and_changed_what_was_there_is_purged(
    technique: Technique, firmware: AtaDrive | NvmeDrive, medium: Medium
) -> None:
    found = judged(step_of(technique, firmware, medium), medium, changed())

    assert (found.result, found.reached) == (Result.PURGED_VERIFIED, SanitizationClass.PURGE)


def test_a_secure_erase_is_cleared_and_never_purged() -> None:
    step = step_of(Technique.ATA_SECURE_ERASE, AtaDrive(), DISK)

    assert judged(step, DISK, changed(), least=LeastClass.CLEAR).result is Result.CLEARED_VERIFIED
    assert not judged(step, DISK, changed()).may_be_certified


@pytest.mark.parametrize(
    "technique, firmware, medium",
    [(Technique.ATA_SANITIZE_BLOCK, AtaDrive("idle"), DISK), (Technique.NVME_SANITIZE_BLOCK, NvmeDrive("idle"), NVME)],
)
def test_an_idle_drive_that_answers_success_is_not_proven(
    technique: Technique, firmware: AtaDrive | NvmeDrive, medium: Medium
) -> None:
    step = step_of(technique, firmware, medium)

    assert judged(step, medium).result is Result.COMPLETION_NOT_PROVEN
    assert not judged(step, medium, changed()).may_be_certified
    # What an adapter of exit codes would make of it is not proven either: nothing was seen.
    trusted = replace(step, outcome=StepOutcome.DONE, accepted=True, completed=True)
    assert judged(trusted, medium).result is Result.COMPLETION_NOT_PROVEN


def test_a_perfect_lie_is_found_by_the_read_back() -> None:
    step = step_of(Technique.NVME_SANITIZE_BLOCK, NvmeDrive(), NVME)
    held = changed()

    found = judged(step, NVME, replace(held, bytes_equal=held.bytes_read - 8 * 512, different=LIE))

    assert step.completed
    assert not found.may_be_certified
    assert Why.READ_BACK_DIFFERS in found.why


@pytest.mark.parametrize("mode", ["fail", "frozen"])
def test_one_that_failed_or_was_refused_is_never_certified(mode: str) -> None:
    for technique in (Technique.ATA_SANITIZE_BLOCK, Technique.ATA_SECURE_ERASE):
        found = judged(step_of(technique, AtaDrive(mode), DISK), DISK, changed(), least=LeastClass.CLEAR)
        assert not found.may_be_certified


def test_a_format_that_leaves_capacity_out_is_partial() -> None:
    step = step_of(Technique.NVME_FORMAT_CRYPTO, NvmeDrive(unallocated_bytes=1 << 30), NVME)

    assert judged(step, NVME, changed(), least=LeastClass.CLEAR).result is Result.PARTIAL

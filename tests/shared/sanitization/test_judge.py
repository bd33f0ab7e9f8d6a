"""What evidence comes to, and that no fault in it ever leaves a result that may be certified."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.identity import HostId
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization import luks
from shared.sanitization.judge import judge
from shared.sanitization.judged import MAY_BE_CERTIFIED, Judged, Place, Result, Why
from shared.sanitization.medium import MediumKind, SerialSource
from shared.sanitization.method import Method
from shared.sanitization.report import (
    Ending,
    Expected,
    Extent,
    Extents,
    HiddenArea,
    HiddenKind,
    HiddenState,
    Step,
    StepOutcome,
    WipeReport,
)
from shared.sanitization.technique import SanitizationClass, Sequence, Technique
from shared.sanitization.ticket import Override, Ticket, TicketId
from tests.shared import made
from tests.shared.sanitization.tickets import METHOD, ticket
from tests.shared.sanitization.wipes import (
    DISK,
    NO_HIDDEN,
    NVME,
    ONE_NAMESPACE,
    SECTOR,
    SEED,
    SIZE,
    at,
    byte_pass,
    changed,
    command,
    drive_of,
    overwritten,
    random_pass,
    read_back,
    report_of,
    samples,
    sanitized,
)

CLEAR, PURGE, NONE = SanitizationClass.CLEAR, SanitizationClass.PURGE, SanitizationClass.NONE
BAD = Extents(9, (Extent(100, 8), Extent(4000, 1)))

Case: TypeAlias = tuple[Ticket, WipeReport]


def places(judged: Judged) -> set[Place]:
    return {one.place for one in judged.not_reached}


def with_drive(kind: MediumKind, method: Method, **changes: Any) -> Case:
    medium = dataclasses.replace(DISK, kind=kind)
    allowed = ticket(drive=drive_of(medium), method=method)
    return allowed, report_of(allowed, **{"medium": medium, "medium_after": medium, **changes})


# ---- what good evidence comes to


def test_a_disk_that_was_overwritten_and_read_back_whole_is_cleared() -> None:
    judged = judge(*overwritten())

    assert (judged.result, judged.reached) == (Result.CLEARED_VERIFIED, CLEAR)
    assert judged.why == (Why.ALL_PASSES_WRITTEN, Why.OVERWRITE_IS_CLEAR, Why.READ_BACK_WHOLE)
    assert judged.not_reached == ()


def test_a_drive_whose_own_sanitize_was_seen_to_change_it_is_purged() -> None:
    judged = judge(*sanitized())

    assert (judged.result, judged.reached) == (Result.PURGED_VERIFIED, PURGE)
    assert places(judged) == {Place.NOT_READ_BACK}


@pytest.mark.parametrize(
    "kind, hidden",
    [
        (MediumKind.ATA_SSD, NO_HIDDEN),
        (MediumKind.SCSI_SSD, ()),
        (MediumKind.NVME, ONE_NAMESPACE),
        (MediumKind.MMC, (HiddenArea(HiddenKind.BOOT_PARTITIONS, HiddenState.NONE, 0, ""),)),
    ],
)
def test_overwriting_flash_is_clear_and_says_what_it_does_not_reach(
    kind: MediumKind, hidden: tuple[HiddenArea, ...]
) -> None:
    judged = judge(*with_drive(kind, METHOD, hidden=hidden))

    assert (judged.result, judged.reached) == (Result.CLEARED_VERIFIED, CLEAR)
    assert Place.SPARE_AREA in places(judged)


def test_remapped_sectors_that_an_overwrite_does_not_reach_are_counted() -> None:
    judged = judge(*overwritten(health_after={"reallocated_sectors": 12}))

    assert [(one.place, one.sectors) for one in judged.not_reached] == [(Place.REMAPPED, 12)]


def test_a_drive_that_does_not_tell_its_remapped_sectors_has_unknown_ones() -> None:
    assert places(judge(*overwritten(health_after={}))) == {Place.REMAPPED_UNKNOWN}


@pytest.mark.parametrize("unasked", [(), NO_HIDDEN[:1]])
def test_a_hidden_area_that_nobody_could_look_for_is_unknown_and_never_purged(unasked: tuple[HiddenArea, ...]) -> None:
    judged = judge(*overwritten(hidden=unasked))

    assert (judged.result, judged.reached) == (Result.CLEARED_HIDDEN_UNKNOWN, CLEAR)
    assert Place.HIDDEN_AREA_UNKNOWN in places(judged)
    assert judge(*sanitized(hidden=())).result is Result.PARTIAL


def test_a_usb_bridge_hides_areas_and_gives_the_serial() -> None:
    bridged = dataclasses.replace(DISK, kind=MediumKind.USB, serial_source=SerialSource.USB_DESCRIPTOR)
    judged = judge(*overwritten(medium=bridged, medium_after=bridged, hidden=()))

    assert judged.result is Result.CLEARED_HIDDEN_UNKNOWN
    assert {Place.BEHIND_BRIDGE, Place.HIDDEN_AREA_UNKNOWN} <= places(judged)
    assert Why.SERIAL_FROM_BRIDGE in judged.why


def test_a_removed_hidden_area_has_to_be_written_with_the_rest() -> None:
    removed = (HiddenArea(HiddenKind.HPA, HiddenState.REMOVED, 8, ""), NO_HIDDEN[1])
    grown = dataclasses.replace(DISK, size_bytes=SIZE + 8 * SECTOR)
    written = random_pass(bytes_total=grown.size_bytes, bytes_written=grown.size_bytes)
    read = read_back(bytes_to_read=grown.size_bytes, bytes_read=grown.size_bytes, bytes_equal=grown.size_bytes)

    whole = judge(*overwritten(hidden=removed, medium_after=grown, steps=(written,), checks=(read,)))
    assert whole.result is Result.CLEARED_VERIFIED
    assert judge(*overwritten(hidden=removed, medium_after=grown)).result not in MAY_BE_CERTIFIED
    assert Why.DRIVE_CHANGED in judge(*overwritten(medium_after=grown, steps=(written,), checks=(read,))).why


def test_sanitize_and_then_an_overwrite_that_is_read_back_whole_is_purged() -> None:
    allowed, report = sanitized(
        steps=(
            command(Technique.NVME_SANITIZE_BLOCK, started=at(1), ended=at(2)),
            random_pass(started=at(4), ended=at(10)),
        ),
        checks=(changed(started=at(2), ended=at(3)), read_back()),
    )
    judged = judge(allowed, report)
    unread = judge(allowed, dataclasses.replace(report, checks=(read_back(),)))

    assert (judged.result, judged.not_reached) == (Result.PURGED_VERIFIED, ())
    assert unread.result not in MAY_BE_CERTIFIED


def test_on_a_blank_drive_sanitize_counts_for_nothing_and_an_overwrite_behind_it_for_what_it_is() -> None:
    blank = changed(bytes_to_read=0, bytes_read=0, bytes_equal=0, started=at(2), ended=at(3))
    method = Method(
        LeastClass.CLEAR, (Technique.NVME_SANITIZE_BLOCK, Technique.OVERWRITE), Sequence.RANDOM, (), ReadBack.WHOLE
    )
    steps = (
        command(Technique.NVME_SANITIZE_BLOCK, started=at(1), ended=at(2)),
        random_pass(started=at(4), ended=at(10)),
    )
    judged = judge(*with_drive(MediumKind.NVME, method, hidden=ONE_NAMESPACE, steps=steps, checks=(blank, read_back())))

    assert (judged.result, judged.reached) == (Result.CLEARED_VERIFIED, CLEAR)


def test_a_technique_that_the_drive_refused_leaves_the_next_one_as_good_as_alone() -> None:
    method = Method(
        LeastClass.CLEAR, (Technique.ATA_SECURE_ERASE, Technique.OVERWRITE), Sequence.RANDOM, (), ReadBack.WHOLE
    )
    refused = command(Technique.ATA_SECURE_ERASE, outcome=StepOutcome.REFUSED, accepted=False, ended=at(1))
    judged = judge(*with_drive(MediumKind.ATA_DISK, method, steps=(refused, random_pass())))

    assert judged.result is Result.CLEARED_VERIFIED


def test_a_pass_that_went_on_after_an_interruption_says_so() -> None:
    judged = judge(*overwritten(interruptions=1, steps=(random_pass(resumed=1),)))

    assert judged.result is Result.CLEARED_VERIFIED
    assert Why.WENT_ON in judged.why


def test_a_discard_is_clear_only_where_the_whole_reads_zero() -> None:
    method = Method(LeastClass.CLEAR, (Technique.DISCARD,), Sequence.RANDOM, (), ReadBack.SAMPLES)
    zeros = {"expected": Expected.PATTERN, "pattern": "00", "stream_seed": None}
    step = command(Technique.DISCARD, progress_seen=False)

    def judged(*checks: Any) -> Judged:
        return judge(*with_drive(MediumKind.ATA_SSD, method, steps=(step,), checks=checks))

    assert (judged(read_back(**zeros)).result, judged(read_back(**zeros)).reached) == (Result.CLEARED_VERIFIED, CLEAR)
    assert judged(samples(**zeros)).result is Result.LOGICAL_DELETE_ONLY
    assert judged().result is Result.LOGICAL_DELETE_ONLY
    assert judged(changed()).result is Result.LOGICAL_DELETE_ONLY


def test_a_refused_attempt_is_refused_whatever_drive_was_found() -> None:
    allowed, report = overwritten(ending=Ending.REFUSED, steps=(), checks=(), medium=NVME, medium_after=None)

    assert judge(allowed, report).result is Result.REFUSED


# ---- negative controls: one fault each

FAULTS: dict[str, tuple[Why, Result, Callable[[], Case]]] = {
    "of another ticket": (
        Why.NOT_THIS_TICKET, Result.UNKNOWN, lambda: overwritten(ticket_id=TicketId(bytes(16)))),
    "of an edited ticket": (Why.NOT_THIS_TICKET, Result.UNKNOWN, lambda: overwritten(ticket_sha256=bytes(32))),
    "of another host": (Why.NOT_THIS_TICKET, Result.UNKNOWN, lambda: overwritten(host_id=HostId(bytes(16)))),
    "begun after the ticket's end": (
        Why.OUT_OF_TIME, Result.UNKNOWN,
        lambda: (ticket(drive=drive_of(DISK), expires=made.NOW + timedelta(minutes=1)),
                 report_of(ticket(drive=drive_of(DISK), expires=made.NOW + timedelta(minutes=1))))),
    "begun before the ticket": (
        Why.OUT_OF_TIME, Result.UNKNOWN, lambda: overwritten(started=made.NOW - timedelta(minutes=6))),
    "clock unsure": (Why.CLOCK_UNSURE, Result.UNKNOWN, lambda: overwritten(clock_sure=False)),
    "a step after the end": (
        Why.TIMES_CONTRADICT, Result.UNKNOWN, lambda: overwritten(ended=at(15))),
    "an override that the ticket does not have": (
        Why.NOT_ALLOWED, Result.FAILED, lambda: overwritten(overridden=(Override.INCIDENT_HOLD,))),
    "another serial": (
        Why.NOT_THIS_DRIVE, Result.UNKNOWN,
        lambda: overwritten(medium=dataclasses.replace(DISK, serial="X"),
                            medium_after=dataclasses.replace(DISK, serial="X"))),
    "another size": (
        Why.NOT_THIS_DRIVE, Result.UNKNOWN,
        lambda: overwritten(medium=dataclasses.replace(DISK, size_bytes=SIZE // 2))),
    "a serial from nowhere": (
        Why.SERIAL_UNKNOWN, Result.UNKNOWN,
        lambda: overwritten(medium=dataclasses.replace(DISK, serial_source=SerialSource.NONE),
                            medium_after=dataclasses.replace(DISK, serial_source=SerialSource.NONE))),
    "another drive afterwards": (
        Why.DRIVE_CHANGED, Result.UNKNOWN,
        lambda: overwritten(medium_after=dataclasses.replace(DISK, serial="X"))),
    "a smaller drive afterwards": (
        Why.DRIVE_CHANGED, Result.UNKNOWN,
        lambda: overwritten(medium_after=dataclasses.replace(DISK, size_bytes=SIZE - SECTOR))),
    "the drive not seen again": (
        Why.DRIVE_NOT_SEEN_AGAIN, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(medium_after=None)),
    "refused and yet written": (
        Why.REFUSED_YET_WRITTEN, Result.UNKNOWN, lambda: overwritten(ending=Ending.REFUSED)),
    "ended failed": (Why.ENDED_FAILED, Result.FAILED, lambda: overwritten(ending=Ending.FAILED)),
    "ended aborted": (Why.ENDED_ABORTED, Result.ABORTED, lambda: overwritten(ending=Ending.ABORTED)),
    "ended unknown": (Why.ENDED_UNKNOWN, Result.UNKNOWN, lambda: overwritten(ending=Ending.UNKNOWN)),
    "nothing done": (Why.NOTHING_DONE, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(steps=())),
    "a step failed": (
        Why.STEP_FAILED, Result.FAILED, lambda: overwritten(steps=(random_pass(outcome=StepOutcome.FAILED),))),
    "a step interrupted": (
        Why.STEP_INTERRUPTED, Result.ABORTED,
        lambda: overwritten(steps=(random_pass(outcome=StepOutcome.INTERRUPTED),))),
    "a step unknown": (
        Why.STEP_UNKNOWN, Result.COMPLETION_NOT_PROVEN,
        lambda: overwritten(steps=(random_pass(outcome=StepOutcome.UNKNOWN, ended=at(0.5), started=at(0.1)),
                                   random_pass()))),
    "a step done without an end": (
        Why.STEP_CONTRADICTS, Result.UNKNOWN, lambda: overwritten(steps=(random_pass(ended=None),))),
    "a technique that the ticket does not have": (
        Why.NOT_ALLOWED, Result.FAILED, lambda: with_drive(MediumKind.ATA_DISK, dataclasses.replace(
            METHOD, techniques=(Technique.DISCARD,)))),
    "a pass too few": (
        Why.PASSES_DIFFER, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(MediumKind.ATA_DISK, dataclasses.replace(METHOD, sequence=Sequence.THREE_PASS))),
    "passes in another order": (
        Why.PASSES_DIFFER, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK,
            dataclasses.replace(METHOD, sequence=Sequence.CUSTOM, passes=("00", "ff", "random")),
            steps=(byte_pass("ff"), byte_pass("00"), random_pass()))),
    "a byte not written": (
        Why.NOT_ALL_WRITTEN, Result.PARTIAL, lambda: overwritten(steps=(random_pass(bytes_written=SIZE - 1),))),
    "a drive that claims to be smaller to the writer": (
        Why.NOT_ALL_WRITTEN, Result.PARTIAL,
        lambda: overwritten(steps=(random_pass(bytes_total=SIZE - SECTOR, bytes_written=SIZE - SECTOR),))),
    "a pass not completed": (
        Why.NOT_ALL_WRITTEN, Result.PARTIAL, lambda: overwritten(steps=(random_pass(completed=False),))),
    "sectors unwritable": (
        Why.SECTORS_UNWRITABLE, Result.PARTIAL, lambda: overwritten(steps=(random_pass(unwritable=BAD),))),
    "no seed": (
        Why.SEED_MISSING, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(steps=(random_pass(seed=None),))),
    "no commitment": (
        Why.SEED_MISSING, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(steps=(random_pass(commitment=None),))),
    "another seed than was committed to": (
        Why.SEED_NOT_COMMITTED, Result.UNKNOWN, lambda: overwritten(steps=(random_pass(commitment=bytes(32)),))),
    "one seed for two passes": (
        Why.SEED_TWICE, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK,
            dataclasses.replace(METHOD, sequence=Sequence.CUSTOM, passes=("random", "random")),
            steps=(random_pass(), random_pass()))),
    "a command that was not accepted": (
        Why.COMMAND_NOT_ACCEPTED, Result.COMPLETION_NOT_PROVEN,
        lambda: sanitized(steps=(command(Technique.NVME_SANITIZE_BLOCK, accepted=False),))),
    "a command that exited 0 and no more": (
        Why.COMMAND_NOT_COMPLETED, Result.COMPLETION_NOT_PROVEN,
        lambda: sanitized(steps=(command(Technique.NVME_SANITIZE_BLOCK, completed=False),))),
    "an idle drive that says success": (
        Why.COMMAND_NOT_SEEN, Result.COMPLETION_NOT_PROVEN,
        lambda: sanitized(
            steps=(command(Technique.NVME_SANITIZE_BLOCK, progress_seen=False),),
            checks=(samples(expected=Expected.PATTERN, pattern="00", stream_seed=None),))),
    "a password left on the drive": (
        Why.PASSWORD_LEFT, Result.FAILED,
        lambda: sanitized(steps=(command(Technique.NVME_SANITIZE_BLOCK, facts={"password_left": True}),))),
    "a format of some namespaces": (
        Why.HIDDEN_AREA_LEFT, Result.PARTIAL,
        lambda: with_drive(
            MediumKind.NVME, dataclasses.replace(METHOD, techniques=(Technique.NVME_FORMAT_CRYPTO,),
                                                 read_back=ReadBack.SAMPLES),
            hidden=ONE_NAMESPACE, checks=(changed(),),
            steps=(command(Technique.NVME_FORMAT_CRYPTO, facts={"namespaces_covered": False}),))),
    "keys that are not proved to be gone": (
        Why.KEYS_NOT_PROVED, Result.LOGICAL_DELETE_ONLY,
        lambda: with_drive(
            MediumKind.ATA_DISK, dataclasses.replace(METHOD, techniques=(Technique.LUKS_ERASE,),
                                                     read_back=ReadBack.SAMPLES),
            steps=(command(Technique.LUKS_ERASE),), checks=())),
    "a hidden area left": (
        Why.HIDDEN_AREA_LEFT, Result.PARTIAL,
        lambda: overwritten(hidden=(HiddenArea(HiddenKind.HPA, HiddenState.PRESENT, 4096, ""), NO_HIDDEN[1]))),
    "an area opened that the host never saw": (
        Why.HIDDEN_AREA_LEFT, Result.PARTIAL,
        lambda: overwritten(hidden=(HiddenArea(HiddenKind.HPA, HiddenState.REMOVED, 4096, ""), NO_HIDDEN[1]))),
    "not read back": (Why.NOT_READ_BACK, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(checks=())),
    "read back before it was written": (
        Why.NOT_READ_BACK, Result.COMPLETION_NOT_PROVEN,
        lambda: overwritten(checks=(read_back(started=at(5), ended=at(9)),))),
    "samples where the ticket asks for the whole": (
        Why.READ_BACK_TOO_LITTLE, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(checks=(samples(),))),
    "samples after a pass that was cut off and went on": (
        Why.READ_BACK_TOO_LITTLE, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK, dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES),
            steps=(random_pass(resumed=1),), checks=(samples(),))),
    "samples after the power was cut between pass and read back": (
        Why.READ_BACK_TOO_LITTLE, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK, dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES),
            interruptions=1, checks=(samples(),))),
    "fewer samples than there are to be": (
        Why.READ_BACK_INCOMPLETE, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK, dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES),
            checks=(samples(bytes_to_read=SECTOR, bytes_read=SECTOR, bytes_equal=SECTOR),))),
    "samples at places that nobody can tell": (
        Why.READ_BACK_INCOMPLETE, Result.COMPLETION_NOT_PROVEN,
        lambda: with_drive(
            MediumKind.ATA_DISK, dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES),
            checks=(samples(sample_seed=None),))),
    "a read back that stopped": (
        Why.READ_BACK_INCOMPLETE, Result.COMPLETION_NOT_PROVEN,
        lambda: overwritten(checks=(read_back(bytes_read=SIZE - 1, bytes_equal=SIZE - 1),))),
    "a read back without an end": (
        Why.READ_BACK_INCOMPLETE, Result.COMPLETION_NOT_PROVEN, lambda: overwritten(checks=(read_back(ended=None),))),
    "a read back of another stream": (
        Why.READ_BACK_OF_ANOTHER, Result.COMPLETION_NOT_PROVEN,
        lambda: overwritten(checks=(read_back(stream_seed=bytes(32)),))),
    "a read back of zeros after random data": (
        Why.READ_BACK_OF_ANOTHER, Result.COMPLETION_NOT_PROVEN,
        lambda: overwritten(checks=(read_back(expected=Expected.PATTERN, pattern="00", stream_seed=None),))),
    "samples that held nothing before": (
        Why.NOT_READ_BACK, Result.COMPLETION_NOT_PROVEN,
        lambda: sanitized(checks=(changed(bytes_to_read=0, bytes_read=0, bytes_equal=0),))),
    "a byte that differs": (
        Why.READ_BACK_DIFFERS, Result.PARTIAL, lambda: overwritten(checks=(read_back(bytes_equal=SIZE - 1),))),
    "sectors that differ": (
        Why.READ_BACK_DIFFERS, Result.PARTIAL,
        lambda: overwritten(checks=(read_back(different=BAD),))),
    "sectors unreadable": (
        Why.SECTORS_UNREADABLE, Result.PARTIAL, lambda: overwritten(checks=(read_back(unreadable=BAD),))),
    "clear where purge was asked for": (
        Why.BELOW_LEAST, Result.PARTIAL,
        lambda: with_drive(MediumKind.ATA_SSD, dataclasses.replace(METHOD, least=LeastClass.PURGE))),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_never_certified(fault: str) -> None:
    why, result, case = FAULTS[fault]
    judged = judge(*case())

    assert why in judged.why
    assert judged.result is result
    assert not judged.may_be_certified


def test_every_fault_has_its_control() -> None:
    good = {
        Why.ALL_PASSES_WRITTEN, Why.COMMAND_RAN, Why.READ_BACK_WHOLE, Why.READ_BACK_SAMPLES, Why.HIDDEN_AREA_UNKNOWN,
        Why.OVERWRITE_IS_CLEAR, Why.KEYS_DESTROYED, Why.WENT_ON, Why.SERIAL_FROM_BRIDGE, Why.SERIAL_FROM_PERSON,
        Why.PERSON_DIFFERS, Why.PERSON_SAYS_DESTROYED,
    }  # fmt: skip

    assert {why for why, _, _ in FAULTS.values()} | good | {Why.REFUSED} == set(Why)


def test_what_was_not_reached_names_the_sectors() -> None:
    judged = judge(*overwritten(steps=(random_pass(unwritable=BAD),)))

    assert [(one.sectors, one.listed) for one in judged.not_reached if one.place is Place.UNWRITABLE] == [
        (BAD.sectors, BAD.listed)
    ]


def test_a_class_below_what_was_asked_for_is_still_said() -> None:
    _, _, case = FAULTS["clear where purge was asked for"]

    assert judge(*case()).reached is CLEAR


# ---- and any of them together

SPOILT: list[dict[str, Any]] = [
    {"ending": Ending.FAILED}, {"ending": Ending.ABORTED}, {"ending": Ending.UNKNOWN}, {"clock_sure": False},
    {"ticket_sha256": bytes(32)}, {"medium_after": None}, {"steps": ()}, {"checks": ()},
    {"medium": dataclasses.replace(DISK, serial="X")}, {"overridden": (Override.INCIDENT_HOLD,)},
    {"steps": (random_pass(unwritable=BAD),)}, {"steps": (random_pass(seed=None),)},
    {"checks": (read_back(different=BAD),)}, {"checks": (read_back(unreadable=BAD),)},
]  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.sampled_from(SPOILT), min_size=1, max_size=5), st.sampled_from([overwritten, sanitized]))
def test_no_faults_together_make_a_result_that_may_be_certified(
    faults: list[dict[str, Any]], good: Callable[..., Case]
) -> None:
    judged = judge(*good(**{name: value for fault in faults for name, value in fault.items()}))

    assert not judged.may_be_certified
    assert judged.reached is NONE


STEP_CHANGES = st.fixed_dictionaries({}, optional={
    "outcome": st.sampled_from(list(StepOutcome)),
    "accepted": st.booleans(), "progress_seen": st.booleans(), "completed": st.booleans(),
    "bytes_written": st.sampled_from([0, SIZE - SECTOR, SIZE, SIZE + SECTOR]),
    "bytes_total": st.sampled_from([0, SIZE - SECTOR, SIZE, SIZE + SECTOR]),
    "seed": st.sampled_from([None, SEED, bytes(32)]),
    "pattern": st.sampled_from(["random", "00", ""]),
    "technique": st.sampled_from(list(Technique)),
    "unwritable": st.sampled_from([Extents(0, ()), BAD]),
})  # fmt: skip
CHECK_CHANGES = st.fixed_dictionaries({}, optional={
    "amount": st.sampled_from(list(ReadBack)), "expected": st.sampled_from(list(Expected)),
    "bytes_to_read": st.sampled_from([0, SECTOR, SIZE]), "bytes_read": st.sampled_from([0, SECTOR, SIZE]),
    "bytes_equal": st.sampled_from([0, SECTOR, SIZE - 1, SIZE]),
    "stream_seed": st.sampled_from([None, SEED, bytes(32)]), "sample_seed": st.sampled_from([None, bytes(32)]),
    "unreadable": st.sampled_from([Extents(0, ()), BAD]),
})  # fmt: skip


@settings(max_examples=400)
@given(STEP_CHANGES, CHECK_CHANGES)
def test_what_may_be_certified_of_an_overwrite_was_written_and_read_to_the_last_byte(
    step_changes: dict[str, Any], check_changes: dict[str, Any]
) -> None:
    step, check = random_pass(**step_changes), read_back(**check_changes)
    if not judge(*overwritten(steps=(step,), checks=(check,))).may_be_certified:
        return

    assert (step.technique, step.outcome, step.pattern) == (Technique.OVERWRITE, StepOutcome.DONE, "random")
    assert (step.bytes_written, step.bytes_total, step.seed, step.unwritable.sectors) == (SIZE, SIZE, SEED, 0)
    assert (check.amount, check.expected, check.stream_seed) == (ReadBack.WHOLE, Expected.STREAM, SEED)
    assert (check.bytes_read, check.bytes_equal, check.unreadable.sectors) == (SIZE, SIZE, 0)


@settings(max_examples=300)
@given(STEP_CHANGES, CHECK_CHANGES)
def test_nothing_is_purged_without_an_accepted_command_of_the_drive_s_own(
    step_changes: dict[str, Any], check_changes: dict[str, Any]
) -> None:
    step = dataclasses.replace(command(Technique.NVME_SANITIZE_BLOCK), **step_changes)
    check = changed(**check_changes)
    judged = judge(*sanitized(steps=(step,), checks=(check,)))
    if judged.reached is not PURGE:
        return

    assert step.accepted
    assert step.completed
    assert step.technique is Technique.NVME_SANITIZE_BLOCK
    assert check.bytes_equal == check.bytes_read > 0


@pytest.mark.parametrize("case", [overwritten, sanitized, *(case for _, _, case in FAULTS.values())])
def test_a_judgement_can_be_written_down_and_read_again(case: Callable[[], Case]) -> None:
    from shared.fields import Fields

    judged = judge(*case())

    assert Judged.parse(Fields(judged.json(), "judgement")) == judged


# ---- keys


def keys_step(**facts: Any) -> Step:
    attested: dict[str, Any] = {
        luks.HEADERS: 1, luks.HEADERS_GONE: 1, luks.ALL_INSIDE: True, luks.FROM_START: True,
        luks.COPIES: luks.HeaderCopies.NONE_ATTESTED.value, **facts,
    }  # fmt: skip
    return command(
        Technique.LUKS_ERASE, bytes_total=16 << 20, bytes_written=16 << 20, started=at(0), ended=at(1), facts=attested
    )


def keys_erased(kind: MediumKind = MediumKind.ATA_DISK, **facts: Any) -> Judged:
    step = keys_step(**facts)
    method = dataclasses.replace(METHOD, techniques=(Technique.LUKS_ERASE,), read_back=ReadBack.SAMPLES)
    return judge(*with_drive(kind, method, steps=(step,), checks=()))


def test_destroyed_keys_are_certified_as_just_that() -> None:
    judged, on_flash = keys_erased(), keys_erased(MediumKind.ATA_SSD)

    assert (judged.result, judged.reached, judged.why) == (Result.CRYPTO_SHREDDED, PURGE, (Why.KEYS_DESTROYED,))
    assert (on_flash.result, on_flash.reached) == (Result.CRYPTO_SHREDDED, CLEAR)
    assert {Place.BESIDE_KEYS, Place.SPARE_AREA} <= places(on_flash)
    assert Place.NOT_READ_BACK in places(judged), "nothing but headers was touched"


def test_what_people_say_of_keys_is_not_verified_by_an_overwrite_after_it() -> None:
    method = dataclasses.replace(METHOD, techniques=(Technique.LUKS_ERASE, Technique.OVERWRITE))
    judged = judge(*with_drive(MediumKind.ATA_DISK, method, steps=(keys_step(), random_pass())))

    assert (judged.result, judged.reached) == (Result.CRYPTO_SHREDDED, PURGE)
    assert {Why.KEYS_DESTROYED, Why.ALL_PASSES_WRITTEN, Why.READ_BACK_WHOLE} <= set(judged.why)


@pytest.mark.parametrize(
    "fact, value",
    [
        (luks.COPIES, luks.HeaderCopies.KNOWN.value),
        (luks.COPIES, luks.HeaderCopies.UNKNOWN.value),
        (luks.ALL_INSIDE, False),
        (luks.FROM_START, False),
        (luks.HEADERS_GONE, 0),
    ],
)
def test_keys_that_may_be_elsewhere_are_not_destroyed(fact: str, value: Any) -> None:
    judged = keys_erased(**{fact: value})

    assert judged.result is Result.LOGICAL_DELETE_ONLY
    assert judged.reached is NONE

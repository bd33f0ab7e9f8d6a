"""What the evidence of a wipe comes to: one function for the host's screen, the centre and the offline verifier.

Every rule names what it misses. A result that may be certified is given only where no rule missed anything; the host's
own word for how it ended can make a result worse and never better.
docs/formats/wipe-certificate.md section 2
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from itertools import groupby, zip_longest
from typing import TypeAlias

from shared.policy.wipe import ReadBack
from shared.sanitization import luks, reach, sampling, sequences
from shared.sanitization.judged import Judged, NotReached, Place, Result, Why
from shared.sanitization.medium import MAGNETIC, Medium, MediumKind, SerialSource
from shared.sanitization.report import (
    Checked,
    Ending,
    Expected,
    Extents,
    HiddenArea,
    HiddenKind,
    HiddenState,
    Step,
    StepOutcome,
    WipeReport,
)
from shared.sanitization.technique import SanitizationClass, Technique
from shared.sanitization.ticket import Ticket

# The rules below; a certificate names them, so that a later reader knows by what it was judged.
RULES = 1

# Of a drive that no longer answers there is no evidence but people's word.
DESTROYED = Judged(Result.DESTROYED, SanitizationClass.DESTROY, (), (Why.PERSON_SAYS_DESTROYED,))

# How far the clock of whoever made the ticket and the host's may be apart.
CLOCKS_APART = timedelta(minutes=5)

Missed: TypeAlias = tuple[Result, Why]

# The worst first: of several faults the first of these is the result.
_WORST = (
    Result.UNKNOWN, Result.FAILED, Result.ABORTED, Result.COMPLETION_NOT_PROVEN, Result.LOGICAL_DELETE_ONLY,
    Result.PARTIAL, Result.REFUSED,
)  # fmt: skip

# Hidden areas that such a drive may have; one that the report does not speak of was not looked for.
_MAY_HIDE = {
    MediumKind.ATA_DISK: (HiddenKind.HPA, HiddenKind.DCO),
    MediumKind.ATA_SSD: (HiddenKind.HPA, HiddenKind.DCO),
    MediumKind.USB: (HiddenKind.HPA,),
    MediumKind.NVME: (HiddenKind.NAMESPACES,),
    MediumKind.MMC: (HiddenKind.BOOT_PARTITIONS,),
}
_FORMATS = frozenset({Technique.NVME_FORMAT_USER, Technique.NVME_FORMAT_CRYPTO})
_CLASSES = tuple(SanitizationClass)
_CUTS_CAPACITY = frozenset({HiddenKind.HPA, HiddenKind.DCO, HiddenKind.AMA})


@dataclass(frozen=True)
class _Run:
    """Steps of one technique that follow each other, and what was read back of them before anything else was done."""

    technique: Technique
    steps: tuple[Step, ...]
    checks: tuple[Checked, ...]

    @property
    def is_seen(self) -> bool:
        """A drive that never did a command may say that it ended well: something must be seen to have happened."""
        changed = any(one.expected is Expected.CHANGED and one.bytes_equal for one in self.checks)
        return changed or all(step.progress_seen or step.facts.get("log_names_run") is True for step in self.steps)


@dataclass(frozen=True)
class _Evidence:
    ticket: Ticket
    report: WipeReport

    @cached_property
    def runs(self) -> tuple[_Run, ...]:
        done = [step for step in self.report.steps if step.outcome is StepOutcome.DONE]
        grouped = [tuple(steps) for _, steps in groupby(done, lambda step: step.technique)]
        runs = list[_Run]()
        for steps, following in zip_longest(grouped, grouped[1:]):
            end, until = steps[-1].ended or self.report.ended, following[0].started if following else None
            checks = [
                one
                for one in self.report.checks
                if end <= one.started and (until is None or one.started < until) and _tells(one)
            ]
            runs.append(_Run(steps[0].technique, steps, tuple(checks)))
        return tuple(runs)

    @property
    def last(self) -> _Run | None:
        return self.runs[-1] if self.runs else None

    @cached_property
    def size_bytes(self) -> int:
        """Of the drive as it is now, with what was hidden."""
        return (self.report.medium_after or self.report.medium).size_bytes

    @cached_property
    def hidden(self) -> tuple[HiddenArea, ...]:
        spoken_of = {area.kind for area in self.report.hidden}
        unasked = [kind for kind in _MAY_HIDE.get(self.report.medium.kind, ()) if kind not in spoken_of]
        return (*self.report.hidden, *(HiddenArea(kind, HiddenState.INDETERMINATE, 0, "") for kind in unasked))

    @cached_property
    def unseen(self) -> tuple[HiddenArea, ...]:
        """Hidden areas that were opened, and that the host never got to see: the drive is no larger by them."""
        opened = _opened(self.report.hidden)
        return opened if self.size_bytes < _larger(self.report.medium, opened) else ()

    @property
    def is_hidden_unknown(self) -> bool:
        return reach.is_hidden_unknown(self.hidden)

    @cached_property
    def reached(self) -> SanitizationClass:
        """The highest class of what was done and read back by itself."""
        reached = max((self._of(run) for run in self.runs), key=_CLASSES.index, default=SanitizationClass.NONE)
        return SanitizationClass.CLEAR if self.is_hidden_unknown and reached is SanitizationClass.PURGE else reached

    @property
    def is_purged_by_drive(self) -> bool:
        by_drive = (run for run in self.runs if run.technique is not Technique.LUKS_ERASE)
        return any(self._of(run) is SanitizationClass.PURGE for run in by_drive)

    def _of(self, run: _Run) -> SanitizationClass:
        if run.technique is Technique.LUKS_ERASE:
            return luks.erased(self.report.medium, run.steps[-1]).reached
        return reach.best(run.technique, self.report.medium.kind) if run.checks else SanitizationClass.NONE


def judge(ticket: Ticket, report: WipeReport) -> Judged:
    """Say what `report` proves of what `ticket` allowed. Signatures are the caller's to verify."""
    evidence = _Evidence(ticket, report)
    missed, places = tuple(_missed(evidence)), tuple(_places(evidence))
    if not missed:
        return Judged(_result(evidence), evidence.reached, places, tuple(_grounds(evidence)))
    result = min((found for found, _ in missed), key=_WORST.index)
    why = tuple(dict.fromkeys(one for _, one in missed))
    proved = evidence.reached if why == (Why.BELOW_LEAST,) else SanitizationClass.NONE
    return Judged(result, proved, places, why)


def _result(evidence: _Evidence) -> Result:
    if evidence.reached is SanitizationClass.PURGE:
        # What people attest of keys raises the class, and is never called verified.
        return Result.PURGED_VERIFIED if evidence.is_purged_by_drive else Result.CRYPTO_SHREDDED
    if evidence.last is not None and evidence.last.technique is Technique.LUKS_ERASE:
        return Result.CRYPTO_SHREDDED
    return Result.CLEARED_HIDDEN_UNKNOWN if evidence.is_hidden_unknown else Result.CLEARED_VERIFIED


# ---- faults


def _missed(evidence: _Evidence) -> Iterator[Missed]:
    ticket, report = evidence.ticket, evidence.report
    if (report.ticket_id, report.ticket_sha256, report.host_id) != (ticket.ticket_id, ticket.digest, ticket.host_id):
        yield Result.UNKNOWN, Why.NOT_THIS_TICKET
    if report.ending is Ending.REFUSED:
        touched = any(step.accepted or step.bytes_written or _is_done(step) for step in report.steps)
        yield (Result.UNKNOWN, Why.REFUSED_YET_WRITTEN) if touched else (Result.REFUSED, Why.REFUSED)
        return
    yield from _ending(report)
    yield from _times(ticket, report)
    yield from _drive(evidence)
    yield from _steps(evidence)
    yield from _hidden_left(evidence)
    yield from _read_back(evidence)
    if not evidence.reached.reaches(SanitizationClass(ticket.method.least.value)):
        yield Result.PARTIAL, Why.BELOW_LEAST


def _ending(report: WipeReport) -> Iterator[Missed]:
    match report.ending:
        case Ending.FAILED:
            yield Result.FAILED, Why.ENDED_FAILED
        case Ending.ABORTED:
            yield Result.ABORTED, Why.ENDED_ABORTED
        case Ending.UNKNOWN:
            yield Result.UNKNOWN, Why.ENDED_UNKNOWN


def _times(ticket: Ticket, report: WipeReport) -> Iterator[Missed]:
    if not ticket.issued - CLOCKS_APART <= report.started <= ticket.expires:
        yield Result.UNKNOWN, Why.OUT_OF_TIME
    if not report.clock_sure:
        yield Result.UNKNOWN, Why.CLOCK_UNSURE
    spans = [(step.started, step.ended or step.started) for step in report.steps]
    spans += [(check.started, check.ended or check.started) for check in report.checks]
    if any(not report.started <= begun <= ended <= report.ended for begun, ended in spans):
        yield Result.UNKNOWN, Why.TIMES_CONTRADICT
    if report.ended < report.started:
        yield Result.UNKNOWN, Why.TIMES_CONTRADICT
    if not set(report.overridden) <= set(ticket.overrides):
        yield Result.FAILED, Why.NOT_ALLOWED


def _drive(evidence: _Evidence) -> Iterator[Missed]:
    asked, before, after = evidence.ticket.drive, evidence.report.medium, evidence.report.medium_after
    if (before.serial, before.wwn, before.model, before.size_bytes) != (
        asked.serial, asked.wwn, asked.model, asked.size_bytes,
    ):  # fmt: skip
        yield Result.UNKNOWN, Why.NOT_THIS_DRIVE
    if before.serial_source is SerialSource.NONE:
        yield Result.UNKNOWN, Why.SERIAL_UNKNOWN
    if after is None:
        yield Result.COMPLETION_NOT_PROVEN, Why.DRIVE_NOT_SEEN_AGAIN
    elif replace(after, partitions=()) != replace(_grown(before, evidence.report.hidden, after), partitions=()):
        yield Result.UNKNOWN, Why.DRIVE_CHANGED


def _grown(before: Medium, hidden: tuple[HiddenArea, ...], after: Medium) -> Medium:
    """Return the drive with the size that it has once its hidden areas are removed, where the drive says so."""
    larger = _larger(before, _opened(hidden))
    return replace(before, size_bytes=larger) if after.size_bytes == larger else before


def _opened(hidden: tuple[HiddenArea, ...]) -> tuple[HiddenArea, ...]:
    return tuple(area for area in hidden if area.kind in _CUTS_CAPACITY and area.state is HiddenState.REMOVED)


def _larger(before: Medium, opened: tuple[HiddenArea, ...]) -> int:
    return before.size_bytes + sum(area.sectors for area in opened) * before.logical_sector_bytes


def _is_done(step: Step) -> bool:
    return step.outcome is StepOutcome.DONE


def _steps(evidence: _Evidence) -> Iterator[Missed]:
    if not evidence.runs:
        yield Result.COMPLETION_NOT_PROVEN, Why.NOTHING_DONE
    for step in evidence.report.steps:
        yield from _step(step)
        if step.technique not in evidence.ticket.method.techniques:
            yield Result.FAILED, Why.NOT_ALLOWED
    for run in evidence.runs:
        match run.technique:
            case Technique.OVERWRITE:
                yield from _overwritten(evidence, run)
            case Technique.LUKS_ERASE:
                yield from _keys_erased(evidence, run)
            case _:
                yield from _commanded(run)


def _step(step: Step) -> Iterator[Missed]:
    match step.outcome:
        case StepOutcome.FAILED:
            yield Result.FAILED, Why.STEP_FAILED
        case StepOutcome.INTERRUPTED:
            yield Result.ABORTED, Why.STEP_INTERRUPTED
        case StepOutcome.UNKNOWN:
            yield Result.COMPLETION_NOT_PROVEN, Why.STEP_UNKNOWN
        case StepOutcome.REFUSED if step.accepted or step.bytes_written:
            yield Result.UNKNOWN, Why.STEP_CONTRADICTS
        case StepOutcome.DONE if step.ended is None:
            yield Result.UNKNOWN, Why.STEP_CONTRADICTS
    if step.unwritable.sectors:
        yield Result.PARTIAL, Why.SECTORS_UNWRITABLE


def _overwritten(evidence: _Evidence, run: _Run) -> Iterator[Missed]:
    if not sequences.is_run(evidence.ticket.method, [step.pattern for step in run.steps]):
        yield Result.COMPLETION_NOT_PROVEN, Why.PASSES_DIFFER
    seeds = [step.seed for step in run.steps if step.seed is not None]
    if len(set(seeds)) != len(seeds):
        yield Result.COMPLETION_NOT_PROVEN, Why.SEED_TWICE
    for step in run.steps:
        if not (step.completed and step.bytes_written == step.bytes_total == evidence.size_bytes):
            yield Result.PARTIAL, Why.NOT_ALL_WRITTEN
        if step.pattern != "random":
            continue
        if step.seed is None or step.commitment is None:
            yield Result.COMPLETION_NOT_PROVEN, Why.SEED_MISSING
        elif sha256(step.seed).digest() != step.commitment:
            yield Result.UNKNOWN, Why.SEED_NOT_COMMITTED


def _commanded(run: _Run) -> Iterator[Missed]:
    for step in run.steps:
        if not step.accepted:
            yield Result.COMPLETION_NOT_PROVEN, Why.COMMAND_NOT_ACCEPTED
        if not step.completed:
            yield Result.COMPLETION_NOT_PROVEN, Why.COMMAND_NOT_COMPLETED
        if step.facts.get("password_left") is True:
            yield Result.FAILED, Why.PASSWORD_LEFT
        if step.technique in _FORMATS and step.facts.get("namespaces_covered") is not True:
            yield Result.PARTIAL, Why.HIDDEN_AREA_LEFT
    if run.technique is not Technique.DISCARD and not run.is_seen:
        yield Result.COMPLETION_NOT_PROVEN, Why.COMMAND_NOT_SEEN


def _keys_erased(evidence: _Evidence, run: _Run) -> Iterator[Missed]:
    for step in run.steps:
        if not (step.accepted and step.completed):
            yield Result.COMPLETION_NOT_PROVEN, Why.COMMAND_NOT_COMPLETED
        if luks.erased(evidence.report.medium, step).reached is SanitizationClass.NONE:
            yield Result.LOGICAL_DELETE_ONLY, Why.KEYS_NOT_PROVED


def _hidden_left(evidence: _Evidence) -> Iterator[Missed]:
    for area in evidence.report.hidden:
        if area.state is HiddenState.PRESENT and area.kind is not HiddenKind.BOOT_PARTITIONS:
            yield Result.PARTIAL, Why.HIDDEN_AREA_LEFT
    if evidence.unseen:
        yield Result.PARTIAL, Why.HIDDEN_AREA_LEFT


def _read_back(evidence: _Evidence) -> Iterator[Missed]:
    for one in evidence.report.checks:
        if one.different.sectors:
            yield Result.PARTIAL, Why.READ_BACK_DIFFERS
        if one.unreadable.sectors:
            yield Result.PARTIAL, Why.SECTORS_UNREADABLE
    for run in evidence.runs:
        not_proven = Result.LOGICAL_DELETE_ONLY if run.technique is Technique.DISCARD else Result.COMPLETION_NOT_PROVEN
        for missed in _run_read_back(evidence, run):
            yield (Result.PARTIAL if missed is Why.READ_BACK_DIFFERS else not_proven), missed


def _run_read_back(evidence: _Evidence, run: _Run) -> Iterator[Why]:
    for one in run.checks:
        if not _is_of(run, one):
            yield Why.READ_BACK_OF_ANOTHER
        if not _is_whole(evidence, one):
            yield Why.READ_BACK_INCOMPLETE
        elif one.bytes_equal != one.bytes_read:
            yield Why.READ_BACK_DIFFERS
    if run is not evidence.last:
        return
    # What became of key slots is in the step itself: nothing of the rest of the drive was touched.
    # A drive that lied about a flush before the power went may have lost a stretch that samples miss.
    went_on = any(step.resumed for step in run.steps) or (
        run.technique is Technique.OVERWRITE and evidence.report.interruptions > 0
    )
    must_be_whole = went_on or run.technique is Technique.DISCARD or evidence.ticket.method.read_back is ReadBack.WHOLE
    if not run.checks and run.technique is not Technique.LUKS_ERASE:
        yield Why.NOT_READ_BACK
    elif must_be_whole and not any(one.amount is ReadBack.WHOLE for one in run.checks):
        yield Why.READ_BACK_TOO_LITTLE


def _is_of(run: _Run, one: Checked) -> bool:
    """Say whether a read back looked for what this run left."""
    last = run.steps[-1]
    match one.expected:
        case Expected.STREAM:
            return last.technique is Technique.OVERWRITE and last.seed is not None and one.stream_seed == last.seed
        case Expected.PATTERN if last.technique is Technique.OVERWRITE:
            return one.pattern == last.pattern != "random"
        case Expected.PATTERN if last.technique is Technique.DISCARD:
            return one.pattern == "00"
        case Expected.PATTERN:
            return one.pattern not in ("", "random")
        case Expected.CHANGED:
            return last.technique not in (Technique.OVERWRITE, Technique.DISCARD)


def _tells(one: Checked) -> bool:
    """Say whether there was anything to read: samples of a blank drive cannot change, and tell nothing."""
    return one.expected is not Expected.CHANGED or one.bytes_to_read > 0


def _is_whole(evidence: _Evidence, one: Checked) -> bool:
    """Say whether as much was read as such a read back is of."""
    if one.ended is None or one.bytes_read != one.bytes_to_read or not one.bytes_read:
        return False
    if one.amount is ReadBack.WHOLE:
        return (
            one.sample_seed is None and one.expected is not Expected.CHANGED and one.bytes_read == evidence.size_bytes
        )
    if one.sample_seed is None:
        return False
    sector_bytes = evidence.report.medium.logical_sector_bytes
    meant = sampling.sampled_bytes(evidence.size_bytes, sector_bytes)
    # Of samples that are to have changed only those count that held something before.
    return one.bytes_read <= meant if one.expected is Expected.CHANGED else one.bytes_read == meant


# ---- what was not reached


def _places(evidence: _Evidence) -> Iterator[NotReached]:
    report = evidence.report
    if report.ending is Ending.REFUSED:
        return
    yield from _hidden_places(evidence)
    if evidence.reached is not SanitizationClass.PURGE:
        yield from _beneath(report)
    for run in evidence.runs:
        if run.technique is Technique.LUKS_ERASE:
            for said in luks.erased(report.medium, run.steps[-1]).not_reached:
                yield NotReached(Place.BESIDE_KEYS, None, (), said)
    for step in report.steps:
        yield from _sectors(Place.UNWRITABLE, step.unwritable)
    for one in report.checks:
        yield from _sectors(Place.DIFFERENT, one.different)
        yield from _sectors(Place.UNREADABLE, one.unreadable)
    read = max((one.bytes_read for one in evidence.last.checks), default=0) if evidence.last else 0
    if read < evidence.size_bytes:
        unread = -(-(evidence.size_bytes - read) // report.medium.logical_sector_bytes)
        yield NotReached(Place.NOT_READ_BACK, unread)


def _hidden_places(evidence: _Evidence) -> Iterator[NotReached]:
    for area in evidence.hidden:
        said = area.kind.value
        if area.state is HiddenState.INDETERMINATE:
            yield NotReached(Place.HIDDEN_AREA_UNKNOWN, None, (), said)
        elif area.state is HiddenState.PRESENT and area.kind is HiddenKind.BOOT_PARTITIONS:
            yield NotReached(Place.BOOT_PARTITIONS, area.sectors or None)
        elif area.state is HiddenState.PRESENT:
            yield NotReached(Place.HIDDEN_AREA, area.sectors or None, (), said)
    for area in evidence.unseen:
        yield NotReached(Place.HIDDEN_AREA, area.sectors or None, (), area.kind.value)


def _beneath(report: WipeReport) -> Iterator[NotReached]:
    """Name what lies beneath the addresses that a drive offers, where nothing was done that reaches it."""
    kind = report.medium.kind
    if kind is MediumKind.VIRTUAL:
        yield NotReached(Place.BENEATH_VIRTUAL)
        return
    if kind is MediumKind.USB:
        yield NotReached(Place.BEHIND_BRIDGE)
    elif kind not in MAGNETIC:
        yield NotReached(Place.SPARE_AREA)
    remapped = report.health_after.get("reallocated_sectors")
    if not isinstance(remapped, int) or isinstance(remapped, bool):
        yield NotReached(Place.REMAPPED_UNKNOWN)
    elif remapped > 0:
        yield NotReached(Place.REMAPPED, remapped)


def _sectors(place: Place, extents: Extents) -> Iterator[NotReached]:
    if extents.sectors:
        yield NotReached(place, extents.sectors, extents.listed)


# ---- what a good result rests on


_GROUNDS = {Technique.OVERWRITE: Why.ALL_PASSES_WRITTEN, Technique.LUKS_ERASE: Why.KEYS_DESTROYED}


def _grounds(evidence: _Evidence) -> Iterator[Why]:
    report = evidence.report
    yield from dict.fromkeys(_GROUNDS.get(run.technique, Why.COMMAND_RAN) for run in evidence.runs)
    if all(run.technique is Technique.OVERWRITE for run in evidence.runs):
        yield Why.OVERWRITE_IS_CLEAR
    if evidence.last is not None and evidence.last.checks:
        is_whole = any(one.amount is ReadBack.WHOLE for one in evidence.last.checks)
        yield Why.READ_BACK_WHOLE if is_whole else Why.READ_BACK_SAMPLES
    if evidence.is_hidden_unknown:
        yield Why.HIDDEN_AREA_UNKNOWN
    if report.interruptions or any(step.resumed for step in report.steps):
        yield Why.WENT_ON
    match report.medium.serial_source:
        case SerialSource.USB_DESCRIPTOR | SerialSource.KERNEL:
            yield Why.SERIAL_FROM_BRIDGE
        case SerialSource.LABEL:
            yield Why.SERIAL_FROM_PERSON
    if report.typed_person != evidence.ticket.person:
        yield Why.PERSON_DIFFERS

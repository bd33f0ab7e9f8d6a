"""What may be done with the storage of devices that are allowed: read-only, or only if it is encrypted, or written.

The udev rule has made every disk on the USB read-only, and kept it from being mounted, before anybody heard of it. Here
a disk is looked at in a child and judged; then its device is refused, or the disk is released, read-only or writable as
the verdict of its device has it. Approval, unlocking and scanning have their place between judgement and release.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.children import ChildFailed, Children
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.log import Log, why
from edge_agent.media.answer import MAX_BYTES, Answer
from edge_agent.media.disks import Disk
from edge_agent.media.judge import StorageJudgement, StorageVerdict, judge, unreadable
from edge_agent.short_lived import of_ours
from shared.devices.record import GuardEvent
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import IntegrityFailure, Malformed, Unavailable

_TIMEOUT_S = 60.0  # a stick that answers no sooner is not evaluated
_AGAIN_S = 10.0  # how soon a disk that is written to is looked at again
_MINOR, _SERIOUS = 4, 8


def child_command(disk: Disk, access: Access | None) -> list[str]:
    sequence = ["--sequence", disk.sequence] if disk.sequence else []
    return of_ours("edge_agent.media.child", disk.number, *sequence, *(["--set", access] if access else []))


@dataclass(frozen=True)
class _Treatment:
    access: Access
    only_encrypted: bool
    hardware_encrypted: bool

    @classmethod
    def of(cls, verdict: Verdict) -> "_Treatment":
        return cls(verdict.access, verdict.only_encrypted, verdict.hardware_encrypted)

    @property
    def first(self) -> Access:
        """Return as what a disk is looked at."""
        return Access.READ_ONLY if self.only_encrypted else self.access


@dataclass(eq=False)
class _Taken:
    """One treatment of one disk, from its first look on."""

    treatment: _Treatment
    looked_s: float = 0.0
    is_released: bool = False
    is_dirty: bool = False  # something was written to it since the last look


class StorageGate:
    """`verdict` returns that of the device in a port, `refuse` takes its authorisation away for what lies on it.

    A child is told what to set before it reads, so a look never leaves a disk more open than it found it.
    """

    def __init__(
        self,
        disks: Callable[[], Iterable[Disk]],
        children: Children,
        journal: GuardJournal,
        *,
        verdict: Callable[[str], Verdict | None],
        refuse: Callable[[str, Cause, str], None],
        announce: Callable[[Disk, str], None],
        marks: Path,
        log: Log,
        command: Callable[[Disk, Access | None], list[str]] = child_command,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`marks` is the folder in which the udev rule looks for what may be mounted, and what may be written."""
        self._disks, self._children, self._journal = disks, children, journal
        self._verdict, self._refuse, self._announce = verdict, refuse, announce
        self._marks, self._log, self._command, self._monotonic_s = marks, log, command, monotonic_s
        self._taken: dict[Disk, _Taken] = {}
        self._busy: set[Disk] = set()
        self._own_events = str(uuid.uuid4())

    def changed(self, port: str, synthetic: str = "") -> None:
        """Take note that the kernel tells of a change of a disk or partition there; `synthetic` is who had it told."""
        if synthetic != self._own_events:
            for disk, taken in self._taken.items():
                taken.is_dirty = taken.is_dirty or disk.port == port

    def look(self) -> None:
        """Take up disks that came, let go of those that went, and treat anew those whose verdict has changed."""
        present = set(self._disks())
        for disk in self._taken.keys() - present:
            del self._taken[disk]
            self._mark(disk, "writable", there=False)
            self._mark(disk, "released", there=False)
        for disk in sorted(present, key=lambda disk: disk.number):
            verdict = self._verdict(disk.port)
            if verdict is not None and verdict.target is Target.ALLOW:
                self._take(disk, _Treatment.of(verdict))

    def _take(self, disk: Disk, treatment: _Treatment) -> None:
        taken = self._taken.get(disk)
        if taken is None or taken.treatment != treatment:
            self._taken[disk] = _Taken(treatment)
            if taken is not None:  # of a disk that was there before the guard's start, what is mounted stays so
                self._mark(disk, "released", there=False)
            if disk not in self._busy:
                self._begin(disk)
            return
        is_due = self._monotonic_s() - taken.looked_s >= _AGAIN_S
        if taken.is_dirty and treatment.only_encrypted and is_due and disk not in self._busy:
            self._start(disk, taken, None)

    def _begin(self, disk: Disk) -> None:
        taken = self._taken[disk]
        self._mark(disk, "writable", there=taken.treatment.first is Access.READ_WRITE)
        self._start(disk, taken, taken.treatment.first)

    def _start(self, disk: Disk, taken: _Taken, access: Access | None) -> None:
        self._busy.add(disk)
        taken.is_dirty = False
        self._children.run(
            "storage",
            self._command(disk, access),
            timeout_s=_TIMEOUT_S,
            most_bytes=MAX_BYTES,
            done=lambda line: self._looked(disk, taken, access, line),
            failed=lambda exc: self._looked(disk, taken, access, exc),
        )

    def _looked(self, disk: Disk, taken: _Taken, access: Access | None, found: bytes | ChildFailed) -> None:
        self._busy.discard(disk)
        now = self._taken.get(disk)
        if now is not taken:
            if now is not None:
                self._begin(disk)  # another verdict has come in between
            return
        taken.looked_s = self._monotonic_s()
        treatment = taken.treatment
        answer, judgement = _judged(found, asserted=treatment.hardware_encrypted)
        is_set = access is None or _is_set(answer, access)
        verdict = judgement.verdict if treatment.only_encrypted else None
        if access is not None or verdict is not StorageVerdict.ALLOWED:
            self._record(disk, access, judgement, verdict, is_set=is_set)
        if disk not in set(self._disks()):
            return  # what is in its port now is another one's business
        if access is Access.READ_ONLY and not is_set:
            self._refuse(disk.port, Cause.NOT_READ_ONLY, f"disk {disk.number} could not be set read-only")
        elif verdict is not None and verdict is not StorageVerdict.ALLOWED:
            self._refuse(disk.port, Cause.NOT_ENCRYPTED, judgement.reason)
        elif access is not None and access is not treatment.access:
            self._mark(disk, "writable", there=True)
            self._start(disk, taken, treatment.access)
        elif not taken.is_released:
            taken.is_released = True
            self._mark(disk, "released", there=True)
            self._announce(disk, self._own_events)

    def _record(
        self,
        disk: Disk,
        access: Access | None,
        judgement: StorageJudgement,
        verdict: StorageVerdict | None,
        *,
        is_set: bool,
    ) -> None:
        """`verdict` is None where it matters to nobody what lies on the disk."""
        asked = "nothing" if access is None else access.value
        fields = {
            "disk": disk.number,
            "state": judgement.state.value,
            "verdict": "not asked for" if verdict is None else verdict.value,
            "reason": judgement.reason,
            "set": asked if is_set else f"not proved to be {asked}",
            "evidence": "; ".join(judgement.evidence),
        }
        # A stick with a switch against writing stays read-only: that is told, and harms nobody.
        failure = _SERIOUS if access is Access.READ_ONLY else _MINOR
        note = Note(GuardEvent.STORAGE_JUDGED, disk.port, fields, 0 if is_set else failure)
        try:
            self._journal.record(note)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _mark(self, disk: Disk, what: str, *, there: bool) -> None:
        """Tell the udev rule, which without a mark sets a disk read-only at its `add` and lets nobody mount it."""
        if not disk.sequence.isdecimal():
            return
        try:
            if there:
                (self._marks / what).mkdir(mode=0o755, exist_ok=True)
                (self._marks / what / disk.sequence).touch(mode=0o644)
            else:
                (self._marks / what / disk.sequence).unlink(missing_ok=True)
        except OSError as exc:
            self._log.event("guard.storage-mark", why=exc.strerror or "it failed")


def _is_set(answer: Answer | None, access: Access) -> bool:
    """Return whether the kernel said of the disk and all its partitions that they are so."""
    flags = answer.read_only if answer is not None else ()
    return bool(flags) and all(flag is (access is Access.READ_ONLY) for _, flag in flags)


def _judged(found: bytes | ChildFailed, *, asserted: bool) -> tuple[Answer | None, StorageJudgement]:
    if isinstance(found, ChildFailed):
        return None, unreadable(str(found))
    try:
        answer = Answer.parse(found)
    except Malformed as exc:
        return None, unreadable(str(exc))
    if answer.looked_at is None:
        return answer, unreadable(answer.unread)
    return answer, judge(answer.looked_at, asserted=asserted)

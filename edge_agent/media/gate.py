"""What may be done with the storage of devices that are allowed: read-only, or only if it is encrypted, or written.

The udev rule has made every disk on the USB read-only before anybody could mount it; here a disk is looked at in a
child, judged, and made writable where the verdict of its device says so and the judgement allows it.
"""

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
from shared.devices.verdict import Access, Target, Verdict
from shared.errors import IntegrityFailure, Malformed, Unavailable

_TIMEOUT_S = 60.0  # a stick that answers no sooner is not evaluated
_MINOR, _SERIOUS = 4, 8
_CHILD = "edge_agent.media.child"

_Treatment = tuple[Access, bool, bool]  # of a verdict: access, only_encrypted, hardware_encrypted


@dataclass
class _Taken:
    """A disk and how it is being treated. `judged` is None before the first look."""

    treatment: _Treatment
    judged: StorageJudgement | None = None


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
        refuse: Callable[[str, str], None],
        writable: Path,
        log: Log,
        command: Callable[[str, Access], list[str]] = lambda number, access: of_ours(_CHILD, number, "--set", access),
    ) -> None:
        """`writable` is the folder in which the udev rule looks for what may be written."""
        self._disks, self._children, self._journal = disks, children, journal
        self._verdict, self._refuse, self._writable, self._log = verdict, refuse, writable, log
        self._command = command
        self._taken: dict[Disk, _Taken] = {}

    def look(self) -> None:
        """Take up disks that came, let go of those that went, and treat anew those whose verdict has changed."""
        present = set(self._disks())
        for disk in self._taken.keys() - present:
            del self._taken[disk]
            self._mark(disk, writable=False)
        for disk in sorted(present, key=lambda disk: disk.number):
            verdict = self._verdict(disk.port)
            if verdict is None or verdict.target is not Target.ALLOW:
                continue
            treatment = (verdict.access, verdict.only_encrypted, verdict.hardware_encrypted)
            taken = self._taken.get(disk)
            if taken is None or taken.treatment != treatment:
                self._taken[disk] = _Taken(treatment)
                self._begin(disk, treatment)

    def _begin(self, disk: Disk, treatment: _Treatment) -> None:
        access, only_encrypted, _ = treatment
        first = Access.READ_ONLY if only_encrypted else access
        self._mark(disk, writable=first is Access.READ_WRITE)
        self._start(disk, first, treatment)

    def _start(self, disk: Disk, access: Access, treatment: _Treatment) -> None:
        self._children.run(
            "storage",
            self._command(disk.number, access),
            timeout_s=_TIMEOUT_S,
            most_bytes=MAX_BYTES,
            done=lambda line: self._looked(disk, access, treatment, line),
            failed=lambda exc: self._looked(disk, access, treatment, exc),
        )

    def _looked(self, disk: Disk, access: Access, treatment: _Treatment, found: bytes | ChildFailed) -> None:
        taken = self._taken.get(disk)
        if taken is None or taken.treatment != treatment:
            return  # it has gone, or another verdict has come in between and begun anew
        wanted, only_encrypted, asserted = treatment
        answer, judgement = _judged(found, asserted=asserted)
        taken.judged = judgement
        is_set = answer is not None and all(flag is (access is Access.READ_ONLY) for _, flag in answer.read_only)
        verdict = judgement.verdict if only_encrypted else None
        self._record(disk, access, judgement, verdict, is_set=is_set and answer is not None and bool(answer.read_only))
        if only_encrypted and judgement.verdict is not StorageVerdict.ALLOWED:
            self._refuse(disk.port, judgement.reason)
        elif access is not wanted:
            self._mark(disk, writable=True)
            self._start(disk, wanted, treatment)

    def _record(
        self, disk: Disk, access: Access, judgement: StorageJudgement, verdict: StorageVerdict | None, *, is_set: bool
    ) -> None:
        """`verdict` is None where it matters to nobody what lies on the disk."""
        fields = {
            "disk": disk.number,
            "state": judgement.state.value,
            "verdict": "not asked for" if verdict is None else verdict.value,
            "reason": judgement.reason,
            "set": access.value if is_set else f"not proved to be {access.value}",
            "evidence": "; ".join(judgement.evidence),
        }
        # A stick with a switch against writing stays read-only: that is told, and harms nobody.
        failure = _SERIOUS if access is Access.READ_ONLY else _MINOR
        note = Note(GuardEvent.STORAGE_JUDGED, disk.port, fields, 0 if is_set else failure)
        try:
            self._journal.record(note)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _mark(self, disk: Disk, *, writable: bool) -> None:
        """Tell the udev rule, which would make it read-only at the next `add`."""
        if not disk.sequence.isdecimal():
            return
        try:
            if writable:
                self._writable.mkdir(mode=0o755, exist_ok=True)
                (self._writable / disk.sequence).touch(mode=0o644)
            else:
                (self._writable / disk.sequence).unlink(missing_ok=True)
        except OSError as exc:
            self._log.event("guard.storage-mark", why=exc.strerror or "it failed")


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

"""What has to be done to a drive, in order, for what was chosen.

By values alone, so that a start that finds a wipe cut short comes to the same list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.policy.wipe import ReadBack
from shared.sanitization.method import Method
from shared.sanitization.sequences import passes
from shared.sanitization.technique import Technique

_ZEROS = "00"
_LEAVE_ZEROS = frozenset({
    Technique.ATA_SANITIZE_OVERWRITE, Technique.NVME_SANITIZE_OVERWRITE, Technique.SCSI_SANITIZE_OVERWRITE,
})  # fmt: skip


class TaskKind(StrEnum):
    """`SAMPLE` keeps what is on the drive before a command that leaves nothing known; `CHANGED` looks for it after."""

    SAMPLE = "sample"
    COMMAND = "command"
    CHANGED = "changed"
    WRITE = "write"
    READ_BACK = "read-back"


STEPS = frozenset({TaskKind.COMMAND, TaskKind.WRITE})


@dataclass(frozen=True)
class Task:
    """`pattern` is of what is written, or is read back: "random" or a byte. `amount` is of a read back."""

    kind: TaskKind
    technique: Technique
    pattern: str = ""
    part: str = ""
    amount: ReadBack = ReadBack.SAMPLES

    @property
    def may_be_stopped(self) -> bool:
        return self.kind is not TaskKind.COMMAND or self.technique is Technique.DISCARD


def tasks(method: Method, chosen: Sequence[Technique], character: int) -> tuple[Task, ...]:
    """`character` is the byte that one sequence draws by chance; the same for all of a wipe."""
    return tuple(task for technique in chosen for task in _of(technique, method, character))


def _of(technique: Technique, method: Method, character: int) -> Iterator[Task]:
    match technique:
        case Technique.OVERWRITE:
            patterns = passes(method, character)
            for number, pattern in enumerate(patterns, 1):
                part = f"pass {number} of {len(patterns)}" if len(patterns) > 1 else ""
                yield Task(TaskKind.WRITE, technique, pattern, part)
            yield Task(TaskKind.READ_BACK, technique, patterns[-1], amount=method.read_back)
        case Technique.DISCARD:
            yield Task(TaskKind.COMMAND, technique)
            yield Task(TaskKind.READ_BACK, technique, _ZEROS, amount=ReadBack.WHOLE)
        case Technique.LUKS_ERASE:
            yield Task(TaskKind.COMMAND, technique)
        case _:
            yield Task(TaskKind.SAMPLE, technique)
            yield Task(TaskKind.COMMAND, technique)
            yield Task(TaskKind.CHANGED, technique)
            if technique in _LEAVE_ZEROS:
                yield Task(TaskKind.READ_BACK, technique, _ZEROS, amount=method.read_back)

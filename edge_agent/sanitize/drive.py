"""A drive of this host, and how whatever works on one tells how far it is and is told to stop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.sanitization.medium import Medium


@dataclass(frozen=True)
class Drive:
    """`node` is the whole device (/dev/sda), `number` its major:minor by which it is found again.

    `sequence` is the kernel's diskseq, never given twice in one start; empty where the kernel has none.
    """

    node: Path
    number: str
    sysfs: Path
    medium: Medium
    sequence: str = ""


class Watch(Protocol):
    """Handed to whatever takes long: it says how far it is, and asks whether to go on."""

    def at(self, done: int, total: int) -> None:
        """Say that `done` of `total` bytes, or of the drive's own units, are behind it."""

    @property
    def is_stopped(self) -> bool:
        """Whether a person stopped it; it then ends as soon as it can, and says that it was interrupted."""

"""Which of the drives here is the one of a ticket, and why each other is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.sanitize.drive import Drive
from shared.sanitization.medium import Medium
from shared.sanitization.ticket import TargetDrive


class Difference(StrEnum):
    SERIAL = "other-serial"
    WWN = "other-wwn"
    MODEL = "other-model"
    SIZE = "other-size"


@dataclass(frozen=True)
class Candidate:
    """A drive that is here; it is the one of the ticket where nothing differs."""

    drive: Drive
    differences: tuple[Difference, ...]

    @property
    def is_it(self) -> bool:
        return not self.differences


def candidates(target: TargetDrive, drives: Sequence[Drive]) -> tuple[Candidate, ...]:
    return tuple(Candidate(drive, differences(target, drive.medium)) for drive in drives)


def differences(target: TargetDrive, medium: Medium) -> tuple[Difference, ...]:
    found = (
        (Difference.SERIAL, target.serial, medium.serial),
        (Difference.WWN, target.wwn, medium.wwn),
        (Difference.MODEL, target.model, medium.model),
        (Difference.SIZE, target.size_bytes, medium.size_bytes),
    )
    return tuple(name for name, wanted, there in found if wanted != there)


def is_same(before: Medium, now: Medium) -> bool:
    """Return whether a drive that was seen before is this one, whatever is written on it by now."""
    return _identity(before) == _identity(now)


def _identity(medium: Medium) -> tuple[object, ...]:
    return (medium.kind, medium.serial, medium.serial_source, medium.wwn, medium.model, medium.size_bytes)

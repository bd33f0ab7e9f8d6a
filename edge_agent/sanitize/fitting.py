"""Which of the drives here is the one of a ticket, and why each other is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.sanitize.drive import Drive
from shared.sanitization.medium import Medium
from shared.sanitization.report import HiddenArea, HiddenKind, HiddenState
from shared.sanitization.ticket import TargetDrive

_CUTS_CAPACITY = frozenset({HiddenKind.HPA, HiddenKind.DCO, HiddenKind.AMA})
_OPENED = frozenset({HiddenState.PRESENT, HiddenState.REMOVED})


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


def is_same(before: Medium, now: Medium, hidden: Sequence[HiddenArea]) -> bool:
    """Return whether a drive that was seen before is this one, whatever is written on it by now.

    Where a hidden area was opened, or was about to be, it may be larger by just that.
    """
    opened = [area.sectors for area in hidden if area.kind in _CUTS_CAPACITY and area.state in _OPENED]
    sizes = {before.size_bytes, before.size_bytes + sum(opened) * before.logical_sector_bytes}
    return _identity(before) == _identity(now) and now.size_bytes in sizes


def _identity(medium: Medium) -> tuple[object, ...]:
    return (medium.kind, medium.serial, medium.serial_source, medium.wwn, medium.model)

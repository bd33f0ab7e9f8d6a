"""Chooses what is done to a drive, of what a ticket allows, by what the drive has and what that can reach at best."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.medium import Medium
from shared.sanitization.method import Method
from shared.sanitization.reach import best, is_hidden_unknown
from shared.sanitization.report import Considered, HiddenArea, HiddenKind, HiddenState
from shared.sanitization.technique import Available, SanitizationClass, Technique

# After these the host knows what the whole medium holds.
_LEAVE_SOMETHING_KNOWN = {
    Technique.OVERWRITE, Technique.DISCARD, Technique.ATA_SANITIZE_OVERWRITE, Technique.NVME_SANITIZE_OVERWRITE,
    Technique.SCSI_SANITIZE_OVERWRITE,
}  # fmt: skip
_REMOVABLE = {HiddenKind.HPA, HiddenKind.AMA}


@dataclass(frozen=True)
class Plan:
    """`chosen` in the order in which it is done; where it is empty nothing may be done, and `why` says of each why not.

    `removes_hidden`: hidden areas are opened first, for good, so that what is chosen reaches them.
    """

    chosen: tuple[Technique, ...]
    removes_hidden: bool
    considered: tuple[Considered, ...]
    why: str

    @property
    def is_refused(self) -> bool:
        return not self.chosen


def is_left(area: HiddenArea) -> bool:
    """Say whether an area was found that nothing here opens: what is in it stays, and nobody certifies the drive."""
    stays = area.kind not in _REMOVABLE and area.kind is not HiddenKind.BOOT_PARTITIONS
    return area.state is HiddenState.PRESENT and stays


def choose(method: Method, medium: Medium, considered: Sequence[Considered], hidden: Sequence[HiddenArea]) -> Plan:
    """Take the first technique of the ticket's that the drive has and that can reach the least class.

    An overwrite follows a technique after which nobody knows what the medium holds, where the ticket lists one as well
    and wants the whole read back.
    """
    by_technique = {one.technique: one for one in considered}
    why_not: list[str] = []
    for technique in method.techniques:
        objection = _objection(technique, method, medium, by_technique.get(technique), hidden)
        if not objection:
            return _planned(technique, method, by_technique, hidden, tuple(considered), why_not)
        why_not.append(f"{technique}: {objection}")
    return Plan((), removes_hidden=False, considered=tuple(considered), why="; ".join(why_not))


def _objection(
    technique: Technique,
    method: Method,
    medium: Medium,
    considered: Considered | None,
    hidden: Sequence[HiddenArea],
) -> str:
    if considered is None:
        return "it was not looked for"
    if considered.available is not Available.YES:
        return considered.why
    reach = best(technique, medium.kind)
    if not reach.reaches(SanitizationClass(method.least.value)):
        return f"it reaches {reach} at best, and {method.least} is asked for"
    if method.least is LeastClass.PURGE and is_hidden_unknown(hidden):
        return "what the drive hides is not known or out of reach, so it reaches clear at best, and purge is asked for"
    return ""


def _planned(
    first: Technique,
    method: Method,
    by_technique: dict[Technique, Considered],
    hidden: Sequence[HiddenArea],
    considered: tuple[Considered, ...],
    why_not: Sequence[str],
) -> Plan:
    overwrite = by_technique.get(Technique.OVERWRITE)
    follows = (
        method.read_back is ReadBack.WHOLE
        and first not in _LEAVE_SOMETHING_KNOWN
        and Technique.OVERWRITE in method.techniques
        and overwrite is not None
        and overwrite.available is Available.YES
    )
    chosen = (first, Technique.OVERWRITE) if follows else (first,)
    why = f"{first} is the first of the ticket's that the drive has and that can reach {method.least}"
    if follows:
        why += "; an overwrite follows, so that all of it can be read back"
    if any(one.state is HiddenState.PRESENT and one.kind not in _REMOVABLE for one in hidden):
        why += "; what the drive hides stays, and the result will say so"
    return Plan(
        chosen,
        removes_hidden=any(one.state is HiddenState.PRESENT and one.kind in _REMOVABLE for one in hidden),
        considered=considered,
        why="; ".join((why, *why_not)),
    )

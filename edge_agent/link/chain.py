"""Judges whether a record of the guard follows the one that was relayed last. Touches nothing."""

from dataclasses import dataclass
from enum import StrEnum

from shared.devices.record import GENESIS, GuardRecord


@dataclass(frozen=True)
class Position:
    """Number and digest of the record that was relayed last."""

    number: int = 0
    digest: bytes = GENESIS


class Link(StrEnum):
    FOLLOWS = "follows"
    SEEN = "seen"  # follows, and was relayed before: read again on purpose
    GAP = "gap"
    FORK = "fork"
    REPEAT = "repeat"


@dataclass(frozen=True)
class Judged:
    """`why` says what is wrong, empty where nothing is."""

    link: Link
    why: str = ""


def judge(held: Position, record: GuardRecord, *, is_known: bool) -> Judged:
    """`is_known`: a record with this digest was relayed before."""
    if record.number == held.number + 1 and record.prev == held.digest:
        return Judged(Link.SEEN if is_known else Link.FOLLOWS)
    if is_known:
        return Judged(Link.REPEAT, f"record {record.number} came again after record {held.number}")
    if record.number > held.number + 1:
        return Judged(Link.GAP, f"records {held.number + 1} to {record.number - 1} are missing")
    return Judged(Link.FORK, f"record {record.number} does not follow record {held.number}, which was relayed before")

"""Decides whether a host that reports keeps its audit records back, or no longer holds the log against what it saw."""

from dataclasses import dataclass
from datetime import datetime, timedelta

AFTER = timedelta(hours=1)
_COSIGNS = timedelta(minutes=30)
"""A host cosigns every ten minutes."""


@dataclass(frozen=True)
class Heard:
    """What came last of a host, and when; `waiting` are the records that it says it still has.

    One that does not report is off, and said to be silent as a whole.
    """

    reports: bool
    waiting: int
    record: datetime | None
    image: datetime | None
    cosigned: datetime | None


@dataclass(frozen=True)
class Owed:
    """Since when something is owed, and what: it counts only while the host reports, and ends with what comes."""

    since: datetime
    why: str


def owed(heard: Heard, before: datetime | None, now: datetime) -> Owed | None:
    """Return what a host owes, which it did since `before` as far as was known, None where nothing is."""
    if not heard.reports:
        return None
    why, last = _why(heard, now)
    if not why:
        return None
    if before is None or (last is not None and last > before):
        return Owed(now, why)
    return Owed(before, why)


def is_silent(owes: Owed, now: datetime) -> bool:
    return now - owes.since >= AFTER


def _why(heard: Heard, now: datetime) -> tuple[str, datetime | None]:
    """Return what is owed, empty where nothing is, and when the last of that kind came."""
    if heard.waiting:
        return f"{heard.waiting} of its audit records wait, it says, and none comes", heard.record
    if heard.image is not None and (heard.record is None or heard.image > heard.record):
        return "its images come, and the audit records of them do not", heard.record
    if heard.cosigned is not None and now - heard.cosigned > _COSIGNS:
        return "it cosigns the centre's log no more", heard.cosigned
    return "", None

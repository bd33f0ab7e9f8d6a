"""What stands between the parentheses of a condition."""

import re
from datetime import timedelta

from shared.devices.rule import DayTime

_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2}))?")
_SECONDS, _HOURS = re.compile(r"[0-9]{1,8}"), re.compile(r"([0-9]{1,4}):([0-5]?[0-9])(?::([0-5]?[0-9]))?")
_PROBABILITY = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}|[0-9]{1,20}\.")


def day_time(text: str) -> DayTime | None:
    first, dash, last = text.partition("-")
    first_s = _clock_s(first)
    last_s = _clock_s(last) if dash else first_s
    if first_s is None or last_s is None or first_s > last_s:
        return None
    return DayTime(first_s, last_s)


def _clock_s(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds if hours < 24 and minutes < 60 and seconds < 60 else None


def duration(text: str) -> timedelta | None:
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    found = _HOURS.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def probability(text: str) -> float | None:
    if not _PROBABILITY.fullmatch(text) or float(text) > 1:
        return None
    return float(text)

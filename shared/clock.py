"""The only module that reads the time: UTC, RFC 3339 with whole microseconds or none.

Expiry is security here, so every decision takes its instant from a `Clock` that tests replace.
"""

import re
from datetime import UTC, datetime
from typing import Protocol

from shared.errors import Malformed

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z")

_1970, _DAY_S = datetime(1970, 1, 1, tzinfo=UTC), 86_400


class Clock(Protocol):
    """Tells the present instant, timezone-aware and in UTC."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""


class SystemClock:
    """The host's own clock. It may be wrong; whoever needs certainty asks `clock sure` as well."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def text(instant: datetime) -> str:
    """Write `instant` as RFC 3339 in UTC, always with six fractional digits and `Z`."""
    # strftime would drop the leading zeros of a year before 1000.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse(value: str) -> datetime:
    """Read what `text` writes, or the same without a fraction.

    Raises Malformed: another form, another zone, or no such day or hour.
    """
    if not _RFC3339.fullmatch(value):
        raise Malformed("time", "expected RFC 3339 in UTC such as 2026-01-31T08:00:00Z")
    try:
        return datetime.fromisoformat(value)
    except ValueError as exc:
        raise Malformed("time", str(exc)) from exc


def microseconds(instant: datetime) -> int:
    """Return how many of them lie between 1970 and `instant`, exactly."""
    since = instant - _1970
    return (since.days * _DAY_S + since.seconds) * 1_000_000 + since.microseconds

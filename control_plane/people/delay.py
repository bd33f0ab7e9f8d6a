"""Decides how long a sign-in waits after failures: long enough that guessing is hopeless, never for ever.

Each failure after the first few doubles the wait, up to a bound. What comes while it lasts is not looked at and does
not make it longer, so whoever guesses cannot keep the right person out for more than the bound at a time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

FORGOTTEN_AFTER = timedelta(days=1)
_FIRST = timedelta(seconds=2)


@dataclass(frozen=True)
class Patience:
    """`free` failures cost nothing; `most` is the longest wait."""

    free: int
    most: timedelta


OF_AN_ACCOUNT = Patience(free=5, most=timedelta(minutes=15))
OF_AN_ADDRESS = Patience(free=30, most=timedelta(minutes=1))


def wait(patience: Patience, count: int, last: datetime, now: datetime) -> timedelta:
    """Return how long from `now` nothing is looked at; zero or less: it is."""
    over = count - patience.free
    if over < 0:
        return timedelta(0)
    # 16 doublings are beyond any bound, and no number that overflows.
    return min(patience.most, _FIRST * (1 << min(over, 16))) - (now - last)

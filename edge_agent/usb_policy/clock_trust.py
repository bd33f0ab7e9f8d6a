"""Whether the machine's clock can be believed where a permission ends at a time.

Whoever sets a clock back makes what has ended begin again. Three things say what a clock may not be behind:

    latest   the control plane's signatures say when they were made
    newest   what the clock showed before, which outlives a start of the machine
    anchor   what it showed once in this start, and how long the machine has been up since then

A clock that runs ahead cannot be told: it ends permissions early, and begins them early. Set right again it is behind
what it showed itself, so it is not sure until it has come by there, unless nothing had kept it and something does now.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# Two machines with working clocks differ by less.
TOLERANCE = timedelta(minutes=5)
# What a bad crystal gains or loses, and what a clock that is set right once a day may therefore be set back.
_DRIFT = 500e-6


@dataclass(frozen=True)
class Reading:
    """`uptime` is that of the machine, sleep included. `is_kept`: the kernel says that something keeps the clock."""

    now: datetime
    uptime: timedelta
    is_kept: bool


@dataclass(frozen=True)
class ClockTrust:
    """`latest` is the newest time at which anything that was verified here was signed; None: there is none yet."""

    latest: datetime | None = None
    newest: datetime | None = None
    anchor: Reading | None = None

    def seen(self, signed_at: datetime | None) -> "ClockTrust":
        """Return what is known after one more signature was verified; under one root the newest time only rises."""
        if signed_at is None or (self.latest is not None and signed_at <= self.latest):
            return self
        return replace(self, latest=signed_at)

    def vouched_anew(self, signed_at: datetime | None) -> "ClockTrust":
        """Return what is known after the first signature under a newer root, which people signed.

        What was signed before no longer counts: whoever misused the control plane's key may have said any time.
        """
        return self if signed_at is None else replace(self, latest=signed_at)

    def looked(self, shown: Reading, expires: datetime | None) -> "ClockTrust":
        """Return what is known after a look at the clock, while a policy is in force that `expires`.

        Past that time nothing is allowed anyway, so a clock that runs years ahead is not remembered for years.
        """
        newest = self.newest
        if expires is not None:
            until = min(shown.now, expires)
            newest = until if newest is None else max(newest, until)
        return replace(self, newest=newest, anchor=shown if self._is_better(shown) else self.anchor)

    def is_sure(self, shown: Reading) -> bool:
        """Return whether what the clock shows may be what decides; never before a first signature with a time."""
        if self.latest is None:
            return False
        bounds = [self.latest, self.newest or self.latest]
        if self.anchor is not None and not _may_correct(shown, self.anchor):
            bounds.append(_expected(self.anchor, shown.uptime))
        return shown.now >= max(bounds) - TOLERANCE

    def _is_better(self, shown: Reading) -> bool:
        """Return whether later readings are to be held against this one instead of the anchor."""
        anchor = self.anchor
        if anchor is None or _may_correct(shown, anchor):
            return True
        # A clock that is left to itself takes the place of no anchor from a time when it was kept.
        return shown.is_kept >= anchor.is_kept and shown.now >= _expected(anchor, shown.uptime)


def _may_correct(shown: Reading, anchor: Reading) -> bool:
    return shown.is_kept and not anchor.is_kept


def _expected(anchor: Reading, uptime: timedelta) -> datetime:
    """Return what the clock shows at the least, if nobody has set it back by more than it may have been wrong."""
    return anchor.now + (uptime - anchor.uptime) * (1 - _DRIFT)

"""Whether the machine's clock can be believed where a permission ends at a time.

Whoever sets a clock back makes what has ended begin again. The control plane's signatures say when they were made, so a
clock that is behind the newest of them is wrong. One that runs ahead cannot be told: it ends permissions early, and
begins them early.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# Two machines with working clocks differ by less.
TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class ClockTrust:
    """`latest` is the newest time at which anything that was verified here was signed; None: there is none yet."""

    latest: datetime | None = None

    def seen(self, signed_at: datetime | None) -> "ClockTrust":
        """Return what is known after one more signature was verified; the newest time only rises."""
        if signed_at is None or (self.latest is not None and signed_at <= self.latest):
            return self
        return ClockTrust(signed_at)

    def is_sure(self, now: datetime) -> bool:
        """Return whether `now` may be what decides; never before a first signature with a time."""
        return self.latest is not None and now >= self.latest - TOLERANCE

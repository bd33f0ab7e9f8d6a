"""Since when a host must have been heard for its last report to say how things are now."""

from datetime import datetime, timedelta

from shared.policy.document import MAX_STATE_EVERY_S, PolicyDocument

_MISSED_REPORTS = 3
_GRACE = timedelta(seconds=15)


def heard_since(policy: PolicyDocument | None, now: datetime) -> datetime:
    # Hosts that no policy tells how often to report do so as they see fit.
    every = timedelta(seconds=policy.state_every_s if policy else MAX_STATE_EVERY_S)
    return now - _MISSED_REPORTS * every - _GRACE

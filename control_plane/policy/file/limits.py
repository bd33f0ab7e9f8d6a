"""Reads how often a host speaks, and how much it may keep: `timings` and `spool`."""

from control_plane.policy.file.values import Value
from shared.policy.document import MAX_PULL_EVERY_S, MAX_STATE_EVERY_S

_SECONDS = " of seconds"
_TIMINGS = ("state_every_s", "pull_every_s")
_QUOTA_UNITS = {"quota_mib": 1 << 20, "quota_gib": 1 << 30}
_MAX_QUOTA = 1 << 20


def read_timings(value: Value, *, may_leave_out: bool = False) -> tuple[int, int]:
    """Return how often a host reports and how often it asks, in seconds; 0: that is left out."""
    section = value.section((), _TIMINGS) if may_leave_out else value.section(_TIMINGS)
    if may_leave_out and value.is_empty:
        value.problem(f"expected at least one of the fields {', '.join(_TIMINGS)}")
    return (
        section.number("state_every_s", MAX_STATE_EVERY_S, _SECONDS),
        section.number("pull_every_s", MAX_PULL_EVERY_S, _SECONDS),
    )


def read_quota(value: Value | None) -> int:
    """Return the quota in bytes; 0 where the disk's own limit is the limit."""
    if value is None:
        return 0
    section = value.section((), tuple(_QUOTA_UNITS))
    given = [unit for unit in _QUOTA_UNITS if section.get(unit) is not None]
    if len(given) != 1:
        value.problem(f"expected one of the fields {', '.join(_QUOTA_UNITS)}; leave spool out for no quota")
        return 0
    return section.number(given[0], _MAX_QUOTA) * _QUOTA_UNITS[given[0]]

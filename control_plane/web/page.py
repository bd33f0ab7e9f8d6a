"""Writes the pages of the people door from what the API says. Nothing here reads a database or a clock.

Every value is escaped, no page needs a script, and the only asset is the style sheet beside this module, so
`CONTENT_SECURITY_POLICY` can forbid everything else. A value that the API left out is an error and never a blank:
a page that silently shows less would be a false green.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from shared import clock
from shared.policy.document import ORGANISATION

STATIC = Path(__file__).parent / "static"
STYLE_SHEET = "status.css"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
REFRESH_S = 5

_OUTCOMES = {0: "done", 4: "refused or failed", 8: "failed, serious", 12: "failed, major"}


def render_status(status: Mapping[str, Any], *, refresh_s: int = REFRESH_S) -> str:
    """Return the status page for the JSON of `/api/v1/status`, whose members the template names."""
    return _pages().get_template("status.html").render(status=status, refresh_s=refresh_s)


def render_devices(devices: Mapping[str, Any], *, refresh_s: int = REFRESH_S) -> str:
    """Return the page of what is plugged in, for the JSON of `/api/v1/devices`."""
    return _pages().get_template("devices.html").render(devices=devices, refresh_s=refresh_s)


def render_signed_out() -> str:
    """Return what somebody sees who has no session: how to get one, and nothing about this installation."""
    return _pages().get_template("signed_out.html").render()


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("control_plane.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["age"] = age
    pages.filters["instant"] = instant
    pages.filters["outcome"] = outcome
    pages.filters["waiting"] = waiting
    pages.filters["waits_for_ring"] = waits_for_ring
    return pages


def instant(value: str | None) -> str:
    """Return an instant to the second, in UTC as it came; nothing is rounded up to look fresher."""
    if value is None:
        return "never"
    when: datetime = clock.parse(value)
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def age(value: str | None, now: str) -> str:
    """Return how long ago an instant was, in whole units and rounded up, so that nothing looks fresher than it is."""
    if value is None:
        return "no report yet"
    seconds = max(0, -((clock.parse(value) - clock.parse(now)) // timedelta(seconds=1)))
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = -(-seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"{seconds} s ago"


def waiting(hosts: Sequence[Mapping[str, Any]]) -> str:
    """Say how many objects the hosts report without a receipt, and for how many hosts nobody knows."""
    reported = [int(host["waiting"]) for host in hosts if "waiting" in host]
    unknown = len(hosts) - len(reported)
    return f"{sum(reported)} waiting on hosts" + (f"; unknown for {unknown} of {len(hosts)}" if unknown else "")


def waits_for_ring(host: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether a host that acts by another version than it accepted does so because of a roll-out."""
    is_open = any(rollout["layer"] == ORGANISATION and rollout["state"] != "finished" for rollout in status["rollouts"])
    drifts = [one for one in status["drift"] if (one["part"], one["layer"]) == ("agent", ORGANISATION)]
    return is_open and not host["policy_error"] and host["host"] not in [one["host"] for one in drifts]


def outcome(value: int) -> str:
    """Return a DICOM EventOutcomeIndicator (PS3.15 A.5.1) in words."""
    return _OUTCOMES.get(value, f"unknown ({value})")

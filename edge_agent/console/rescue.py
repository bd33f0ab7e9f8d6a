"""The rescue: any keyboard in the port that policy names works for some minutes after the machine's start.

For when the pinned keyboard breaks. Who can switch the machine off and reach that port can use it, for as long and no
longer; each use is recorded. Time is counted from the kernel's start, never by the clock, which may be set.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_agent.console.choose import role
from shared.devices.device import UsbDevice
from shared.devices.policy import Rescue
from shared.devices.verdict import Cause, Target, Verdict


@dataclass(frozen=True)
class Start:
    """`uptime` since the kernel's start, sleep included; None: it could not be read, and the rescue stays closed."""

    uptime: timedelta | None
    now: datetime


def rescued(rescue: Rescue | None, device: UsbDevice, start: Start) -> Verdict | None:
    """Return the verdict that lets `device` be used; None: the rescue does not concern it, or is over.

    Only a keyboard or pointer, and nothing that is also something else. The verdict ends with the rescue.
    """
    if rescue is None or device.port != rescue.port or role(device) is None:
        return None
    left = remaining(rescue, start)
    if not left:
        return None
    detail = f"rescue port {rescue.port}, for {rescue.minutes} minutes after the machine's start"
    return Verdict(Target.ALLOW, Cause.RESCUE, detail=detail, until=start.now + left)


def remaining(rescue: Rescue | None, start: Start) -> timedelta:
    """Return for how long the port is open; zero: it is closed."""
    if rescue is None or start.uptime is None or start.uptime < timedelta(0):
        return timedelta(0)
    return max(timedelta(0), timedelta(minutes=rescue.minutes) - start.uptime)

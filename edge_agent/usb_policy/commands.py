"""`leadglass-guard trust`, as a person reads it."""

import sys
from pathlib import Path

from edge_agent.usb_policy.pinning import Pinned, pin

_NEXT = """\
Compare the policy root with what `leadglass-server policy root` tells the administrator, not by way of this machine.
Then start the guard anew: systemctl restart leadglass-guard
"""


def trust(state: Path, agent_data: Path, replace: str | None) -> None:
    """Pin whose policy the guard follows, and say what has to be compared. Raises what `pin` does."""
    sys.stdout.write(_told(pin(state, agent_data, replace)))


def _told(pinned: Pinned) -> str:
    trust = pinned.trust
    told = f"policy root  {trust.fingerprint}\nlayer        {trust.layer}\nhost         {trust.host_id}\n"
    return told + (_NEXT if pinned.is_new else "this was pinned already; nothing was changed\n")

"""`leadglass-guard trust`, as a person reads it."""

import sys
from pathlib import Path

from edge_agent.usb_policy.pinning import Pinned, pin

_NEXT = """\
Compare the policy root with what `leadglass-server policy root` tells the administrator, not by way of this machine.
{layers}Then start the guard anew: systemctl restart leadglass-guard
"""
_LAYERS = """\
Compare the layers with those that the administrator named for this host: a layer that is missing here takes its rules
away from this machine.
"""


def trust(state: Path, agent_data: Path, replace: str | None, expected: str | None = None) -> None:
    """Pin whose policy the guard follows, and say what has to be compared. Raises what `pin` does."""
    sys.stdout.write(_told(pin(state, agent_data, replace, expected)))


def _told(pinned: Pinned) -> str:
    trust = pinned.trust
    layers = "\n             ".join(trust.layers)
    told = f"policy root  {trust.fingerprint}\nlayer        {layers}\nhost         {trust.host_id}\n"
    if not pinned.is_new:
        return f"{told}this was pinned already; nothing was changed\n"
    return told + _NEXT.format(layers=_LAYERS)

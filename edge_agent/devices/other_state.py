"""Judges whether what is detected and cannot be prevented may be there, by the policy's `others`."""

import re

from edge_agent.devices.events import Kind
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.fleet.devices import OtherState

# The kernel's name of a Thunderbolt device is domain and route; on the empty route is the machine's own router.
_OWN_ROUTER = re.compile("[0-9]+-0", re.ASCII)
_STATES = {
    Target.ALLOW: OtherState.ALLOWED,
    Target.BLOCK: OtherState.NOT_ALLOWED,
    None: OtherState.NOT_EVALUATED,
}


def judge(policy: DevicePolicy | None, kind: Kind, name: str, port: str) -> OtherState:
    """Return what to tell of it. `port` is that of the USB device it hangs on, whose verdict covers it; or empty."""
    if port:
        return OtherState.WITH_USB_DEVICE
    said = policy.others.of(kind.value) if policy is not None else None
    if said is not None and kind is Kind.THUNDERBOLT and _OWN_ROUTER.fullmatch(name):
        return OtherState.ALLOWED
    return _STATES[said]

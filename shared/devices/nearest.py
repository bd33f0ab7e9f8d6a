"""Which rule came nearest to a device that none decided about, and in what the two differ."""

from collections.abc import Sequence

from shared.devices.device import UsbDevice
from shared.devices.matching import differences
from shared.devices.policy import DevicePolicy
from shared.devices.printable import printable
from shared.devices.rule import RuleTarget

_SHOWN_CHARS = 90


def nearest(policy: DevicePolicy, device: UsbDevice, passed: Sequence[int]) -> tuple[int, str]:
    """Return the number of the nearest allowing rule and what differs; 0: there is none.

    `passed` are the numbers of the rules whose attributes apply and that are not in force. Otherwise the nearest is
    the one with the fewest attributes that differ, and among equals the first.
    """
    for number in passed:
        rule = policy.rules[number - 1].rule
        if rule.target is RuleTarget.ALLOW and rule.conditions.values:
            return number, f"rule {number} is for it, but does not hold: if {_short(rule.conditions.text())}"
    fewest = min(
        ((differences(policy.rules[position].rule, device), position) for position in policy.index.near(device)),
        key=lambda found: (len(found[0]), found[1]),
        default=None,
    )
    if fewest is None or not fewest[0]:
        return 0, "no rule allows anything like it"
    first, *others = fewest[0]
    text = (
        f"nearest rule {fewest[1] + 1} differs in {first.attribute}: expected {_short(first.expected)}, found "
        f"{_short(first.found)}"
    )
    return fewest[1] + 1, text + (f"; and in {', '.join(each.attribute for each in others)}" if others else "")


def _short(text: str) -> str:
    shown = printable(text, len(text))
    return shown if len(shown) <= _SHOWN_CHARS else shown[: _SHOWN_CHARS - 1] + "…"

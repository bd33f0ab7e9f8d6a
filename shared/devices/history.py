"""What has to be kept of past verdicts for the conditions `rule-applied` and `rule-evaluated`."""

from collections.abc import Mapping
from dataclasses import replace

from shared.devices.device import UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.rule import ConditionName, Rule
from shared.devices.surroundings import Past, RuleHistory, Surroundings
from shared.devices.verdict import Cause, Verdict

_KEPT = 2  # of different attachments, so that there is one besides that of the device which is decided about


def history_after(
    policy: DevicePolicy | None, device: UsbDevice, around: Surroundings, verdict: Verdict
) -> RuleHistory:
    """Return the history for the verdicts that come after `verdict`, which `evaluate` returned for the same arguments.

    A rule was evaluated if its attributes apply to the device and no rule before it decided; it was applied if it
    decided. Of an attachment that is decided about several times the first time is kept.
    """
    history = around.history
    if policy is None or device.is_root_hub or not policy.asks_for_history:
        return history
    for position in policy.index.applying(device):
        number, rule = position + 1, policy.rules[position].rule
        is_decided = verdict.cause is Cause.RULE and number == verdict.rule
        if rule.asks(ConditionName.RULE_EVALUATED):
            history = replace(history, evaluated=_with(history.evaluated, rule, device, around))
        if is_decided and rule.asks(ConditionName.RULE_APPLIED):
            history = replace(history, applied=_with(history.applied, rule, device, around))
        if is_decided:
            break
    return history


def _with(
    kept: Mapping[str, tuple[Past, ...]], rule: Rule, device: UsbDevice, around: Surroundings
) -> Mapping[str, tuple[Past, ...]]:
    before = kept.get(rule.text(), ())
    if around.uptime is None or any(around.is_own(past, device) for past in before):
        return kept
    return {**kept, rule.text(): (*before[1 - _KEPT :], Past(around.uptime, device.port))}

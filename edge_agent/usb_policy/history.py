"""For which attachments a rule with a condition on its own past was looked at, and which it decided."""

from datetime import timedelta
from types import MappingProxyType

from shared.devices.policy import DevicePolicy
from shared.devices.rule import ConditionName, Rule
from shared.devices.surroundings import Past, RuleHistory
from shared.devices.verdict import Cause, Verdict

_OF_THE_PAST = {ConditionName.RULE_APPLIED, ConditionName.RULE_EVALUATED}
_KEPT = 2  # the last one, and the last one of another attachment


class RulePasts:
    """Since the guard's start, as it is with USBGuard's daemon."""

    def __init__(self) -> None:
        self._applied: dict[str, tuple[Past, ...]] = {}
        self._evaluated: dict[str, tuple[Past, ...]] = {}
        self._policy: DevicePolicy | None = None
        self._asking: tuple[tuple[int, Rule], ...] = ()

    def history(self) -> RuleHistory:
        return RuleHistory(MappingProxyType(self._applied), MappingProxyType(self._evaluated))

    def note(self, policy: DevicePolicy, verdict: Verdict, port: str, at: timedelta) -> None:
        """Keep which rules were looked at for what is in `port`: those up to the one that decided."""
        if policy is not self._policy:
            asking = ((number, each.rule) for number, each in enumerate(policy.rules, 1))
            self._policy, self._asking = policy, tuple(pair for pair in asking if _asks_for_its_past(pair[1]))
        decided = verdict.rule if verdict.cause is Cause.RULE else 0
        for number, rule in self._asking:
            if decided and number > decided:
                break
            _keep(self._evaluated, rule, Past(at, port))
            if number == decided:
                _keep(self._applied, rule, Past(at, port))


def _asks_for_its_past(rule: Rule) -> bool:
    return any(condition.name in _OF_THE_PAST for condition in rule.conditions.values)


def _keep(kept: dict[str, tuple[Past, ...]], rule: Rule, past: Past) -> None:
    others = [each for each in kept.get(rule.text(), ()) if each.port != past.port]
    kept[rule.text()] = (*others[1 - _KEPT :], past)

"""Whether a rule is in force: its conditions and its window.  docs/formats/device-policy.md sections 4 and 5

None means that it cannot be told, because the clock is not sure. An allowing rule needs to be in force for certain; a
blocking one must not be so for certain to be passed over.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo

from shared.devices.device import UsbDevice
from shared.devices.matching import applies
from shared.devices.policy import DeviceRule
from shared.devices.rule import Condition, ConditionName, DayTime, Rule, SetOperator
from shared.devices.surroundings import Surroundings

_DAY_S = 86_400
Truth = bool | None


def in_force(rule: DeviceRule, device: UsbDevice, around: Surroundings) -> Truth:
    """Return whether `rule`, whose attributes apply to `device`, decides about it now."""
    return _all((in_window(rule, around), meets_conditions(rule.rule, device, around)))


def in_window(rule: DeviceRule, around: Surroundings) -> Truth:
    """Return whether it is the rule's time: from `not_before`, included, to `not_after`, excluded."""
    if rule.not_before is None and rule.not_after is None:
        return True
    if around.is_lapsed:
        return None
    began = rule.not_before is None or rule.not_before <= around.now
    return began and (rule.not_after is None or around.now < rule.not_after)


def meets_conditions(rule: Rule, device: UsbDevice, around: Surroundings) -> Truth:
    if not rule.conditions.values:
        return True
    each = [_holds(condition, rule, device, around) for condition in rule.conditions.values]
    if rule.conditions.operator is SetOperator.ONE_OF:
        return _not(_all(map(_not, each)))
    if rule.conditions.operator is SetOperator.NONE_OF:
        return _all(map(_not, each))
    return _all(each)


def would_allow(rule: DeviceRule, device: UsbDevice, around: Surroundings) -> bool:
    """Return whether only time, or its being uncertain, keeps the allowing `rule` from being in force."""
    conditions = meets_conditions(rule.rule, device, around)
    return conditions is None or (conditions and in_window(rule, around) is not True)


def changes(rule: DeviceRule, device: UsbDevice, around: Surroundings) -> Iterator[datetime]:
    """Yield the instants after now at which `in_force` may become another, as far as time alone brings it about.

    What changes with other devices, with the history or with certainty is not among them.
    """
    if not around.is_lapsed:
        yield from (edge for edge in (rule.not_before, rule.not_after) if edge is not None and edge > around.now)
    for condition in rule.rule.conditions.values:
        if isinstance(condition.meaning, DayTime) and around.clock_sure:
            yield _next_edge(condition.meaning, around.now, around.zone)
        if isinstance(condition.meaning, timedelta):
            past = _past(condition, rule.rule, device, around)
            if past is not None and past <= condition.meaning:
                yield around.now + condition.meaning - past + timedelta(microseconds=1)


def _holds(condition: Condition, rule: Rule, device: UsbDevice, around: Surroundings) -> Truth:
    truth = _is_true(condition, rule, device, around)
    return _not(truth) if condition.negated else truth


def _is_true(condition: Condition, rule: Rule, device: UsbDevice, around: Surroundings) -> Truth:
    match condition.meaning:
        case DayTime() as times:
            return _is_within(times, around) if around.clock_sure else None
        case Rule() as query:
            return any(applies(query, other) for other in around.allowed if other.port != device.port)
        case timedelta() as longest:
            past = _past(condition, rule, device, around)
            return past is not None and past <= longest
        case float() as probability:
            return around.random() < probability
    if condition.name is ConditionName.RANDOM:
        return around.random() < 0.5
    if condition.name in (ConditionName.RULE_APPLIED, ConditionName.RULE_EVALUATED):
        return _past(condition, rule, device, around) is not None
    return condition.name is ConditionName.TRUE


def _past(condition: Condition, rule: Rule, device: UsbDevice, around: Surroundings) -> timedelta | None:
    is_applied = condition.name is ConditionName.RULE_APPLIED
    kept = around.history.applied if is_applied else around.history.evaluated
    return around.past(rule, kept, device)


def _is_within(times: DayTime, around: Surroundings) -> bool:
    local = around.now.astimezone(around.zone)
    return times.first_s <= local.hour * 3600 + local.minute * 60 + local.second <= times.last_s


def _next_edge(times: DayTime, now: datetime, zone: tzinfo) -> datetime:
    """Return the next instant at which local time enters or leaves `times`, or changes to or from summer time."""
    midnight = datetime.combine(now.astimezone(zone).date(), time())
    edges = (
        (midnight + timedelta(seconds=day * _DAY_S + second)).replace(tzinfo=zone).astimezone(UTC)
        for day in range(3)
        for second in (times.first_s, times.last_s + 1)
    )
    edge = min(each for each in edges if each > now)
    offset, first = now.astimezone(zone).utcoffset(), now
    if edge.astimezone(zone).utcoffset() == offset:
        return edge
    while edge - first > timedelta(seconds=1):
        middle = first + (edge - first) / 2
        first, edge = (middle, edge) if middle.astimezone(zone).utcoffset() == offset else (first, middle)
    return edge


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _all(truths: "Iterator[Truth] | list[Truth] | tuple[Truth, ...]") -> Truth:
    least: Truth = True
    for truth in truths:
        if truth is False:
            return False
        least = truth if truth is None else least
    return least

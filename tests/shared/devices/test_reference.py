"""`evaluate` against a slow evaluator that is written otherwise: on the texts of rule and device, from the page."""

from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.index import RuleIndex
from shared.devices.matching import applies
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import Attribute, Condition, Rule
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Cause, Target
from tests.shared.devices.given import device_rules, devices, policies, surroundings


def covered(pattern: object, own: str) -> bool:
    return fnmatchcase(own, str(pattern)) if not isinstance(pattern, str) else _as_shown(pattern) == own


def _as_shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def attribute_applies(attribute: Attribute[object], own: list[str]) -> bool:  # type: ignore[type-var]
    if not attribute.values:
        return True
    table = [[covered(value, each) for each in own] for value in attribute.values]
    rows, columns = [any(row) for row in table], [any(column) for column in zip(*table, strict=True)]
    square = len(attribute.values) == len(own)
    return {
        "all-of": all(rows),
        "one-of": any(rows),
        "none-of": not any(rows),
        "match-all": all(columns),
        "equals": square and all(rows),
        "equals-ordered": square and all(table[place][place] for place in range(len(own))),
    }[attribute.operator.value]


def attributes_apply(rule: Rule, device: UsbDevice) -> bool:
    own: dict[str, list[str]] = {
        "id": [device.id], "serial": [device.serial], "name": [device.name], "hash": [device.fingerprint],
        "parent_hash": [device.parent_fingerprint], "via_port": [device.port],
        "with_interface": [str(each) for each in device.interfaces], "with_connect_type": [device.connect_type.value],
    }  # fmt: skip
    return all(attribute_applies(getattr(rule, name), values) for name, values in own.items())


def condition_holds(condition: Condition, rule: Rule, device: UsbDevice, around: Surroundings) -> bool:
    name, parameter = condition.name.value, condition.parameter
    if name == "localtime":
        first, _, last = parameter.partition("-")
        clock = datetime.strftime(around.now, "%H:%M:%S")
        truth = f"{first:0>5}:00" <= clock <= f"{last or first:0>5}:00"
    elif name == "allowed-matches":
        truth = any(
            attributes_apply(condition.meaning, other)  # type: ignore[arg-type]
            for other in around.allowed
            if other.port != device.port
        )
    elif name == "random":
        truth = around.random() < float(parameter or "0.5")
    else:
        truth = name == "true"  # there is no history here, so that nothing was applied or evaluated
    return truth != condition.negated


def conditions_hold(rule: Rule, device: UsbDevice, around: Surroundings) -> bool:
    each = [condition_holds(condition, rule, device, around) for condition in rule.conditions.values]
    if not each:
        return True
    return {"one-of": any(each), "none-of": not any(each)}.get(rule.conditions.operator.value, all(each))


def in_window(rule: DeviceRule, now: datetime) -> bool:
    return (rule.not_before or now) <= now < (rule.not_after or now + timedelta(1))


def first_match(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> int:
    """Return the number of the deciding rule, 0 where none decides."""
    for number, rule in enumerate(policy.rules, 1):
        if (
            in_window(rule, around.now)
            and attributes_apply(rule.rule, device)
            and conditions_hold(rule.rule, device, around)
        ):
            return number
    return 0


certain = surroundings.filter(lambda around: not around.is_lapsed)


@given(policies, devices, certain)
def test_the_first_rule_that_matches_decides(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> None:
    verdict = evaluate(policy, device, around)
    expected = first_match(policy, device, around)

    if verdict.cause is Cause.SUSPICIOUS:
        return
    assert (verdict.rule if verdict.cause is Cause.RULE else 0) == expected
    if not expected:
        assert verdict.cause in (Cause.DEFAULT, Cause.LAPSED)
        return
    rule = policy.rules[expected - 1]
    observed = rule.observe_until is not None and around.now < rule.observe_until
    assert (verdict.would_be or verdict.target) is rule.target
    assert verdict.target is (Target.ALLOW if observed else rule.target)


@given(st.lists(device_rules(), min_size=1, max_size=30), devices)
def test_the_index_finds_every_rule_that_applies_in_order(rules: list[DeviceRule], device: UsbDevice) -> None:
    found = list(RuleIndex(rules).applying(device))

    assert found == [place for place, rule in enumerate(rules) if attributes_apply(rule.rule, device)]
    assert found == [place for place, rule in enumerate(rules) if applies(rule.rule, device)]

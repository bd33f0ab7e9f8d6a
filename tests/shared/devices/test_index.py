"""Many rules: the right ones are found, in their order, without holding a device against all of them."""

from dataclasses import replace

import pytest

from shared.devices.evaluate import evaluate
from shared.devices.index import MOST_NEAR, RuleIndex
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Cause, Target
from tests.shared.devices.given import AROUND, STICK, policy


def applying(rules: str, **changed: object) -> list[int]:
    return list(RuleIndex(policy(rules).rules).applying(replace(STICK, **changed)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rule",
    [
        "allow",
        'allow hash one-of { "x" "aFuQ7BLj0Xrz1knYCPG+xvKofw+iufU0TiAEQzZJkMw=" }',
        'allow serial match-all { "4C54" "4C53" }',
        "allow id one-of { 1234:* 0781:5583 }",
        "allow id match-all { 1234:* 0781:* }",
        "allow 0781:*",
        "allow *:*",
        'allow via-port "1-1"',
        'allow name one-of { "Cruzer" "Ultra Fit" }',
        "allow with-interface one-of { 03:*:* 08:*:* }",
        "allow with-interface match-all { 03:*:* 08:*:* }",
        'allow name none-of { "Cruzer" }',
        'allow serial none-of { "4C54" } hash none-of { "x" }',
        'allow with-connect-type "hotplug"',
    ],
)
def test_a_rule_is_found_by_whichever_attribute_it_has(rule: str) -> None:
    assert applying(f"allow 1234:5678\n{rule}\nallow 1234:5678") == [1]


def test_an_empty_text_is_an_attribute_like_any_other() -> None:
    assert applying('allow serial ""\nallow hash ""\nallow name one-of { "" "x" }', serial="", fingerprint="") == [0, 1]


def test_a_device_without_interfaces_is_found_by_match_all() -> None:
    assert applying("allow with-interface match-all { 08:*:* }", interfaces=()) == [0]


def test_rules_from_different_attributes_come_in_their_own_order() -> None:
    rules = ["allow 1234:5678"] * 2000
    places = {3: 'block serial "4C53"', 300: "block 0781:*", 1000: "block", 1024: 'block name "Ultra Fit"'}
    for place, rule in places.items():
        rules[place] = rule

    assert applying("\n".join(rules)) == sorted(places)


def test_the_nearest_rule_is_looked_for_among_few() -> None:
    held = policy("\n".join(f'allow 0781:5583 serial "{number}"' for number in range(2000)))

    assert len(held.index.near(STICK)) == MOST_NEAR
    assert evaluate(held, STICK, AROUND).rule == 1


@pytest.mark.parametrize("place", [1, 4999, 10_000])
def test_among_ten_thousand_rules_the_one_that_is_for_a_device_decides(place: int) -> None:
    rules = [f'allow 0781:5583 serial "{number}" with-interface 08:06:50' for number in range(10_000)]
    rules[place - 1] = 'reject 0781:5583 serial "4C53"'
    held: DevicePolicy = policy("\n".join(rules))

    verdict = evaluate(held, STICK, AROUND)
    assert (verdict.target, verdict.cause, verdict.rule) == (Target.REJECT, Cause.RULE, place)

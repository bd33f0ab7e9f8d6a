"""What is suspicious, what is not, and what becomes of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.surroundings import Remembered, Surroundings
from shared.devices.suspicion import RE_ENUMERATION, Sign, suspicions
from shared.devices.verdict import Cause, Target
from tests.shared.devices.given import AROUND, KEYBOARD, NOW, ROOT_HUB, STICK, interfaces, policy

ELSEWHERE = replace(STICK, port="1-3")
TYPING = replace(STICK, interfaces=interfaces("08:06:50 03:01:01"), fingerprint="ttt=")
SOON, LATER = RE_ENUMERATION, RE_ENUMERATION + timedelta(microseconds=1)


def signs(
    device: UsbDevice, *present: UsbDevice, before: UsbDevice | None = None, ago: timedelta | None = None
) -> list[Sign]:
    remembered = (Remembered(before, ago),) if before else ()
    return [found.sign for found in suspicions(device, present, remembered)]


def test_the_same_serial_twice_is_suspicious() -> None:
    assert signs(STICK, ELSEWHERE) == [Sign.TWIN]
    assert signs(STICK, replace(TYPING, port="1-3")) == [Sign.TWIN]


def test_two_equal_mice_without_serials_are_not() -> None:
    mouse = replace(KEYBOARD, interfaces=interfaces("03:01:02"))

    assert signs(mouse, replace(mouse, port="1-4"), before=mouse, ago=None) == []


@pytest.mark.parametrize(
    "other",
    [
        STICK,
        replace(ELSEWHERE, serial="4C54"),
        replace(ELSEWHERE, vendor=1),
        replace(ELSEWHERE, port="usb2", parent=""),
    ],
    ids=["itself", "another serial", "another vendor", "a root hub"],
)
def test_nor_is_what_only_resembles_a_twin(other: UsbDevice) -> None:
    assert signs(STICK, other) == []


@pytest.mark.parametrize("ago", [None, timedelta(days=100), SOON])
def test_a_stick_that_grew_an_interface_is_suspicious_whenever_it_comes_back(ago: timedelta | None) -> None:
    assert signs(TYPING, before=STICK, ago=ago) == [Sign.OTHER_INTERFACES]
    assert signs(TYPING, before=replace(STICK, port="3-1"), ago=ago) == [Sign.OTHER_INTERFACES]
    assert signs(STICK, before=TYPING, ago=ago) == [Sign.OTHER_INTERFACES]


def test_the_same_stick_in_another_port_or_speed_is_not() -> None:
    faster = replace(ELSEWHERE, fingerprint="other=", interfaces=STICK.interfaces * 2)

    assert signs(faster, before=STICK, ago=SOON) == []


def test_without_a_serial_other_interfaces_are_suspicious_only_where_it_came_back_at_once() -> None:
    mouse = replace(KEYBOARD, interfaces=interfaces("03:01:02"))

    assert signs(KEYBOARD, before=mouse, ago=SOON) == [Sign.OTHER_INTERFACES]
    assert signs(KEYBOARD, before=mouse, ago=LATER) == []
    assert signs(KEYBOARD, before=replace(mouse, port="1-4"), ago=SOON) == []


def test_another_serial_is_suspicious_only_where_it_came_back_at_once() -> None:
    before = replace(STICK, serial="4C54")

    assert signs(STICK, before=before, ago=SOON) == [Sign.OTHER_SERIAL]
    assert signs(replace(STICK, serial=""), before=before, ago=SOON) == [Sign.OTHER_SERIAL]
    assert signs(STICK, before=before, ago=LATER) == []
    assert signs(STICK, before=before, ago=None) == []
    assert signs(STICK, before=replace(before, port="1-3"), ago=SOON) == []
    assert signs(STICK, before=replace(before, name="Cruzer"), ago=SOON) == []


def test_a_root_hub_is_never_suspicious() -> None:
    assert signs(ROOT_HUB, replace(ROOT_HUB, port="usb2"), before=replace(ROOT_HUB, serial="x"), ago=SOON) == []


# ---- what becomes of it

WITH_A_TWIN = replace(AROUND, present=(ELSEWHERE, STICK))
GROWN = replace(AROUND, remembered=(Remembered(STICK),))


def test_what_is_suspicious_is_blocked_though_a_rule_allows_it() -> None:
    verdict = evaluate(policy("allow"), STICK, WITH_A_TWIN)

    assert (verdict.target, verdict.cause, verdict.rule) == (Target.BLOCK, Cause.SUSPICIOUS, 1)
    assert verdict.detail == 'suspicious: 0781:5583 with the same serial "4C53" is present at 1-3'


def test_what_rules_reject_stays_rejected() -> None:
    assert evaluate(policy("reject"), STICK, WITH_A_TWIN).target is Target.REJECT
    assert evaluate(policy("allow", suspicious=Target.REJECT), STICK, WITH_A_TWIN).target is Target.REJECT


def test_policy_can_leave_the_decision_to_the_rules_and_have_it_recorded() -> None:
    verdict = evaluate(policy("allow", suspicious=Target.ALLOW), STICK, WITH_A_TWIN)

    assert (verdict.target, verdict.cause) == (Target.ALLOW, Cause.RULE)
    assert verdict.detail.startswith("suspicious: ")


@pytest.mark.parametrize(
    "rule, device, around, cause",
    [
        ("allow", TYPING, GROWN, Cause.SUSPICIOUS),
        ('allow hash "ttt="', TYPING, GROWN, Cause.RULE),
        ('allow hash one-of { "ttt=" "uuu=" }', TYPING, GROWN, Cause.RULE),
        ('allow hash none-of { "uuu=" }', TYPING, GROWN, Cause.SUSPICIOUS),
        ('allow hash "ttt="', TYPING, replace(AROUND, present=(ELSEWHERE,)), Cause.SUSPICIOUS),
        ('allow hash "ttt=" via-port "1-1"', TYPING, replace(AROUND, present=(ELSEWHERE,)), Cause.RULE),
    ],
)
def test_a_rule_that_names_the_hash_and_for_a_twin_the_port_approves_it(
    rule: str, device: UsbDevice, around: Surroundings, cause: Cause
) -> None:
    assert evaluate(policy(rule), device, around).cause is cause


def test_suspicion_is_observed_as_the_default_is() -> None:
    observed = replace(policy("allow"), observe_until=NOW + timedelta(hours=1))
    verdict = evaluate(observed, STICK, WITH_A_TWIN)

    assert (verdict.target, verdict.would_be, verdict.cause) == (Target.ALLOW, Target.BLOCK, Cause.SUSPICIOUS)

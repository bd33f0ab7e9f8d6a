"""Attributes against a device: USBGuard's own answers, which usbguard/generate.py recorded, and what they rest on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.matching import Difference, applies, differences
from shared.devices.parse import parse_rule
from shared.devices.rule import Rule, SetOperator
from tests.shared.devices.given import KEYBOARD, STICK, interfaces
from tests.shared.devices.usbguard.peer import NotBuilt, build, device_text
from tests.shared.devices.usbguard.peer import applies as usbguard_applies

RECORDED = json.loads(Path(__file__).with_name("usbguard").joinpath("applies.json").read_text())


def device(text: str) -> UsbDevice:
    """Read a device as USBGuard writes it."""
    rule = parse_rule(text)
    (an_id,) = rule.id.values
    each = (rule.name, rule.serial, rule.hash, rule.parent_hash, rule.via_port, rule.with_connect_type)
    name, serial, fingerprint, parent_fingerprint, port, connect_type = (attribute.values[0] for attribute in each)
    own = (
        Interface(value.class_code, value.subclass or 0, value.protocol or 0) for value in rule.with_interface.values
    )
    return UsbDevice(
        port, "usb1", an_id.vendor or 0, an_id.product or 0, name, serial, fingerprint, parent_fingerprint, tuple(own),
        ConnectType(connect_type),
    )  # fmt: skip


def disagreements(held: list[tuple[Rule, UsbDevice, bool]]) -> list[str]:
    return [rule.text() for rule, own, answer in held if applies(rule, own) is not answer]


def has_unfinished_match_all(rule: Rule) -> bool:
    """USBGuard finished `match-all` for interfaces alone: text always applies, and an id only where it is the same."""
    texts = (rule.serial, rule.name, rule.hash, rule.parent_hash, rule.via_port, rule.with_connect_type)
    return any(attribute.operator is SetOperator.MATCH_ALL for attribute in (rule.id, *texts))


ALL = [(parse_rule(rule), device(own), answer) for rule, own, answer in RECORDED]
HELD = [each for each in ALL if not has_unfinished_match_all(each[0])]


def test_applies_exactly_where_usbguard_says_so() -> None:
    assert not disagreements(HELD)
    assert sum(answer for _, _, answer in HELD) > 100
    assert sum(not answer for _, _, answer in HELD) > 100


def test_match_all_means_of_text_what_the_manual_says() -> None:
    pinned = parse_rule('allow hash match-all { "A" "B" }')

    assert applies(pinned, replace(STICK, fingerprint="B"))
    assert not applies(pinned, replace(STICK, fingerprint="C"))
    assert applies(parse_rule("allow id match-all { 0781:* }"), STICK)


def test_control_a_disagreement_would_be_seen() -> None:
    turned = [(rule, own, not answer) for rule, own, answer in HELD]

    assert len(disagreements(turned)) == len(HELD)


def test_usbguards_library_still_says_what_was_recorded(tmp_path: Path) -> None:
    try:
        program = build(tmp_path)
    except NotBuilt as exc:
        pytest.skip(str(exc))

    assert usbguard_applies(program, [(rule, own) for rule, own, _ in ALL]) == [answer for _, _, answer in ALL]
    assert [device_text(own) for _, own, _ in ALL] == [text for _, text, _ in RECORDED]


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("allow", True),
        ("allow 1234:*", True),
        ("allow 1234:ABCD", True),
        ('allow name "N" label "whatever"', True),
        ('allow serial ""', True),
        ('allow name { "N" "N" }', False),
        ('allow name all-of { "N" "N" }', True),
        ('allow name { "N" "M" }', False),
        ('allow name one-of { "N" "M" }', True),
        ("allow with-interface 08:06:50", False),
        ("allow with-interface { 08:*:* 03:*:* 03:01:01 }", True),
        ("allow with-interface { 08:*:* 08:*:* 08:*:* }", True),
        ("allow with-interface all-of { 08:*:* }", True),
        ("allow with-interface equals-ordered { 08:*:* 03:*:* 03:*:* }", True),
        ("allow with-interface equals-ordered { 03:*:* 08:*:* 03:*:* }", False),
        ("allow with-interface match-all { 08:*:* 03:*:* ff:*:* }", True),
        ("allow with-interface match-all { 08:*:* }", False),
        ("allow with-interface none-of { 03:*:* }", False),
        ("allow with-interface none-of { 02:*:* }", True),
        ("allow if false", True),
    ],
)
def test_the_cases_of_the_page(rule: str, expected: bool) -> None:
    own = replace(
        STICK, vendor=0x1234, product=0xABCD, name="N", serial="", interfaces=interfaces("08:06:50 03:01:01 03:01:01")
    )

    assert applies(parse_rule(rule), own) is expected


def test_a_device_without_interfaces_has_the_empty_set() -> None:
    bare = replace(STICK, interfaces=())
    holding = {
        operator: applies(parse_rule(f"allow with-interface {operator} {{ 08:*:* }}"), bare)
        for operator in ("all-of", "one-of", "none-of", "equals", "equals-ordered", "match-all")
    }

    assert holding == {
        "all-of": False, "one-of": False, "none-of": True, "equals": False, "equals-ordered": False, "match-all": True,
    }  # fmt: skip


def test_text_that_cannot_be_shown_matches_as_it_is_shown() -> None:
    shown = replace(STICK, name="a\ufffdb")

    assert applies(parse_rule('allow name "a\\x01b"'), shown)
    assert not applies(parse_rule('allow name "ab"'), shown)


def test_says_in_which_attributes_a_rule_differs_and_how() -> None:
    rule = parse_rule('allow 046d:* serial "S" name "Keyboard" with-interface { 03:01:01 03:00:01 }')

    assert differences(rule, KEYBOARD) == [
        Difference("serial", '"S"', '""'),
        Difference("with-interface", "{ 03:01:01 03:00:01 }", "03:01:01 03:00:00"),
    ]

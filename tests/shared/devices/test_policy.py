"""The `devices` section as JSON."""

from datetime import timedelta

import pytest
from hypothesis import given, settings

from shared import canonical
from shared.canonical import Json
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.rule import Rule, RuleTarget
from shared.devices.verdict import Access, Target
from shared.errors import Malformed
from shared.fields import Fields
from tests.shared.devices.given import NOW, interfaces, policies

INSTANT = "2026-03-04T12:00:00.000000Z"


def parse(value: Json) -> DevicePolicy:
    return DevicePolicy.parse(Fields(value, "devices"))


@settings(max_examples=150)
@given(policies)
def test_what_is_written_is_read_back(policy: DevicePolicy) -> None:
    written = canonical.encode(policy.json())

    assert parse(canonical.parse(written, "devices")) == policy


def test_a_default_is_left_out() -> None:
    assert DevicePolicy().json() == {"rules": []}
    assert DeviceRule(parse_rule("allow")).json() == {"rule": "allow"}


def test_every_member() -> None:
    full: Json = {
        "rules": [
            {
                "rule": "allow id 0781:*", "not_before": INSTANT,
                "not_after": "2026-03-05T12:00:00.000000Z", "access": "read-only", "only_encrypted": True,
                "hardware_encrypted": True, "interfaces": ["03:01:01", "08:06:50"],
            },
            {"rule": "reject", "observe_until": INSTANT},
        ],
        "default": "reject", "observe_until": INSTANT, "suspicious": "allow",
        "rescue": {"port": "1-1.2", "minutes": 10}, "contact": "IT, 4711 (Café)", "language": "zh",
        "others": {"optical": "allow", "thunderbolt": "block"},
    }  # fmt: skip

    assert parse(full).json() == full


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"rules": [], "default": "block"},
        {"rules": [], "suspicious": "block"},
        {"rules": [], "language": "en"},
        {"rules": [], "language": "de"},
        {"rules": [], "contact": ""},
        {"rules": [], "contact": "a\nb"},
        {"rules": [], "contact": "a" * 201},
        {"rules": [], "rescue": {"port": "usb1", "minutes": 5}},
        {"rules": [], "rescue": {"port": "1-1", "minutes": 0}},
        {"rules": [], "rescue": {"port": "1-1", "minutes": 61}},
        {"rules": [], "others": {}},
        {"rules": [], "others": {"optical": "reject"}},
        {"rules": [], "others": {"optical": True}},
        {"rules": [], "others": {"usb-device": "allow"}},
        {"rules": [], "others": {"Optical": "allow"}},
        {"rules": [], "others": ["optical"]},
        {"rules": [], "others": None},
        {"rules": [], "unknown": 1},
        {"rules": [{"rule": "allow "}]},
        {"rules": [{"rule": "allow 0781:5583"}]},
        {"rules": [{"rule": "allow id ABCD:0001"}]},
        {"rules": [{"rule": "match"}]},
        {"rules": [{"rule": "device"}]},
        {"rules": [{"rule": "# nothing"}]},
        {"rules": ["allow"]},
        {"rules": [{"rule": "allow", "access": "read-write"}]},
        {"rules": [{"rule": "allow", "only_encrypted": False}]},
        {"rules": [{"rule": "allow id 0781:*", "only_encrypted": True, "hardware_encrypted": False}]},
        {"rules": [{"rule": "allow id 0781:*", "hardware_encrypted": True}]},
        {"rules": [{"rule": "allow", "only_encrypted": True, "hardware_encrypted": True}]},
        {"rules": [{"rule": "allow", "interfaces": ["08:06:50", "03:01:01"]}]},
        {"rules": [{"rule": "allow", "interfaces": ["03:01:01", "03:01:01"]}]},
        {"rules": [{"rule": "allow", "interfaces": ["03:*:*"]}]},
        {"rules": [{"rule": "allow", "not_before": INSTANT, "not_after": INSTANT}]},
        {"rules": [{"rule": "allow", "not_before": "2026-03-04T12:00:00Z"}]},
        {"rules": [{"rule": "allow", "observe_until": INSTANT}]},
        {"rules": [{"rule": "block", "access": "read-only"}]},
        {"rules": [{"rule": "block", "only_encrypted": True}]},
        {"rules": [{"rule": "reject", "interfaces": ["03:01:01"]}]},
        {"rules": [{"rule": "allow", "comment": "x"}]},
        {"rules": [{"rule": "allow"}] * 10_001},
    ],
)
def test_anything_else_is_malformed(value: Json) -> None:
    with pytest.raises(Malformed):
        parse(value)


def test_an_error_names_the_rule_by_its_number() -> None:
    with pytest.raises(Malformed, match="line 2, column 7"):
        parse({"rules": [{"rule": "allow"}, {"rule": "allow nome"}]})


@pytest.mark.parametrize(
    "rule, beside",
    [
        ("match", {}),
        ("allow", {"observe_until": NOW}),
        ("block", {"access": Access.READ_ONLY}),
        ("block", {"only_encrypted": True}),
        ("block", {"interfaces": interfaces("03:01:01")}),
        ("allow", {"not_before": NOW, "not_after": NOW - timedelta(1)}),
    ],
)
def test_what_says_nothing_cannot_be_made(rule: str, beside: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        DeviceRule(parse_rule(rule), **beside)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "named",
    [
        ((OtherKind.SD, Target.ALLOW), (OtherKind.NET, Target.ALLOW)),
        ((OtherKind.SD, Target.ALLOW), (OtherKind.SD, Target.BLOCK)),
        ((OtherKind.SD, Target.REJECT),),
    ],
)
def test_a_kind_is_named_once_in_order_and_nothing_is_taken_off_its_bus(
    named: tuple[tuple[OtherKind, Target], ...],
) -> None:
    with pytest.raises(Malformed):
        OtherKinds(named)


def test_of_a_kind_that_is_not_named_nothing_is_said() -> None:
    named = OtherKinds(((OtherKind.SD, Target.BLOCK),))

    assert (named.of("sd"), named.of("net")) == (Target.BLOCK, None)


def test_a_rescue_port_is_a_port() -> None:
    with pytest.raises(Malformed):
        Rescue("1-1; reboot", 5)
    assert DeviceRule(Rule(RuleTarget.ALLOW)).json() == {"rule": "allow"}

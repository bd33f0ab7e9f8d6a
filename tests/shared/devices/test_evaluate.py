"""The causes of a verdict, what it says, and until when it holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import Malformed
from shared.fleet.devices import MAX_DETAIL_CHARS
from tests.shared.devices.given import (
    AROUND,
    KEYBOARD,
    NOW,
    ROOT_HUB,
    STICK,
    devices,
    interface,
    interfaces,
    policies,
    policy,
    surroundings,
)

HOUR = timedelta(hours=1)


def one(text: str, not_before: datetime | None = None, not_after: datetime | None = None) -> DevicePolicy:
    return DevicePolicy((DeviceRule(parse_rule(text), not_before, not_after),))


def decided(held: DevicePolicy | None, device: UsbDevice = STICK, around: Surroundings = AROUND) -> Verdict:
    return evaluate(held, device, around)


# ---- what is decided without rules


@pytest.mark.parametrize("held", [None, policy("reject"), policy("")])
def test_a_root_hub_is_never_blocked(held: DevicePolicy | None) -> None:
    assert decided(held, ROOT_HUB) == Verdict(Target.ALLOW, Cause.ROOT_HUB)


def test_without_a_policy_everything_else_is_blocked() -> None:
    assert (decided(None).target, decided(None).cause) == (Target.BLOCK, Cause.NO_POLICY)


def test_a_hub_is_a_device_like_any_other() -> None:
    hub = replace(STICK, vendor=0x05E3, product=0x0610, interfaces=interfaces("09:00:00"))

    assert decided(policy("allow with-interface equals { 08:*:* }"), hub).target is Target.BLOCK
    assert decided(policy("allow with-interface equals { 09:00:* }"), hub).target is Target.ALLOW


def test_what_is_not_well_formed_is_blocked_whatever_rules_say() -> None:
    verdict = decided(policy("allow"), replace(STICK, problems=("it ends within a descriptor",)))

    assert verdict == Verdict(Target.BLOCK, Cause.UNREADABLE, detail="it ends within a descriptor")


# ---- rules


def test_the_first_match_wins() -> None:
    held = policy('allow serial "nobody"\nreject name "Ultra Fit"\nallow')

    assert (decided(held).target, decided(held).cause, decided(held).rule) == (Target.REJECT, Cause.RULE, 2)


def test_the_detail_is_the_rule_or_what_its_label_calls_it() -> None:
    assert decided(policy('allow 0781:* label "sticks of the department"')).detail == "sticks of the department"
    assert decided(policy("allow 0781:*")).detail == "allow id 0781:*"


def test_limits_of_an_allowing_rule_are_in_the_verdict() -> None:
    rule = DeviceRule(
        parse_rule("allow"), access=Access.READ_ONLY, only_encrypted=True, interfaces=interfaces("08:06:50")
    )
    verdict = decided(DevicePolicy((rule,)))

    assert (verdict.access, verdict.only_encrypted) == (Access.READ_ONLY, True)
    assert verdict.interfaces == frozenset({interface("08:06:50")})


def test_what_one_rule_asserts_of_its_device_another_that_may_hold_does_not_believe() -> None:
    asserting = DeviceRule(parse_rule("allow id 0781:*"), only_encrypted=True, hardware_encrypted=True)
    measuring = replace(asserting, hardware_encrypted=False, not_after=NOW)

    assert decided(DevicePolicy((asserting,))).hardware_encrypted
    assert decided(DevicePolicy((measuring, asserting))).hardware_encrypted
    doubtful = evaluate(DevicePolicy((measuring, asserting)), STICK, replace(AROUND, clock_sure=False))
    assert (doubtful.only_encrypted, doubtful.hardware_encrypted) == (True, False)


@pytest.mark.parametrize("beside", [{"only_encrypted": False}, {"rule": parse_rule("allow")}])
def test_only_a_named_device_that_has_to_be_encrypted_can_be_asserted(beside: dict[str, object]) -> None:
    asserting = DeviceRule(parse_rule("allow id 0781:*"), only_encrypted=True, hardware_encrypted=True)

    with pytest.raises(Malformed, match="hardware_encrypted"):
        replace(asserting, **beside)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rules, number, detail",
    [
        ("", 0, "no rule allows anything like it"),
        ("reject 1234:*", 0, "no rule allows anything like it"),
        (
            'allow serial "4C54"\nallow 0781:5583 serial "4C54"',
            1,
            'nearest rule 1 differs in serial: expected "4C54", found "4C53"',
        ),
        (
            'allow 1234:* name "x" serial "y"\nallow 0781:5583 name "Cruzer" via-port "1-1"',
            2,
            'nearest rule 2 differs in name: expected "Cruzer", found "Ultra Fit"',
        ),
        (
            "allow with-interface equals { 08:06:50 03:01:01 } with-connect-type { \"hardwired\" }",
            1,
            (
                "nearest rule 1 differs in with-interface: expected { 08:06:50 03:01:01 }, found 08:06:50; "
                "and in with-connect-type"
            ),
        ),
        ("allow 0781:* if false", 1, "rule 1 is for it, but does not hold: if false"),
    ],
)  # fmt: skip
def test_without_a_match_it_is_said_what_differs_from_the_nearest_rule(rules: str, number: int, detail: str) -> None:
    verdict = decided(policy(rules))

    assert (verdict.target, verdict.cause, verdict.rule, verdict.detail) == (
        Target.BLOCK, Cause.DEFAULT, number, detail,
    )  # fmt: skip


@given(policies, devices, surroundings)
def test_the_detail_is_one_short_printable_line(held: DevicePolicy, device: UsbDevice, around: Surroundings) -> None:
    verdict = evaluate(held, replace(device, name="\x1b[2J\u202e\n" * 20), around)

    assert len(verdict.detail) <= MAX_DETAIL_CHARS
    assert not set(verdict.detail) & set("\x1b\u202e\n")


# ---- windows


@pytest.mark.parametrize(
    "first, last, target, cause, until",
    [
        (None, NOW + HOUR, Target.ALLOW, Cause.RULE, NOW + HOUR),
        (NOW, None, Target.ALLOW, Cause.RULE, None),
        (NOW + HOUR, NOW + 2 * HOUR, Target.BLOCK, Cause.LAPSED, NOW + HOUR),
        (None, NOW, Target.BLOCK, Cause.LAPSED, None),
        (NOW - HOUR, NOW - timedelta(microseconds=1), Target.BLOCK, Cause.LAPSED, None),
    ],
)
def test_a_rule_allows_within_its_window_only(
    first: datetime | None, last: datetime | None, target: Target, cause: Cause, until: datetime | None
) -> None:
    verdict = decided(one("allow", first, last))

    assert (verdict.target, verdict.cause, verdict.rule, verdict.until) == (target, cause, 1, until)


def test_outside_of_its_window_a_rule_leaves_the_decision_to_the_next() -> None:
    held = DevicePolicy((DeviceRule(parse_rule("allow"), not_after=NOW), DeviceRule(parse_rule("reject"))))

    assert (decided(held).target, decided(held).rule) == (Target.REJECT, 2)


def test_a_lapsed_rule_blocks_even_where_the_default_allows() -> None:
    held = replace(one("allow 0781:*", not_after=NOW), default=Target.ALLOW)

    assert (decided(held).target, decided(held).cause) == (Target.BLOCK, Cause.LAPSED)
    assert decided(held, KEYBOARD).target is Target.ALLOW


@pytest.mark.parametrize(
    "around, why",
    [
        (replace(AROUND, clock_sure=False), "the clock is not sure"),
        (replace(AROUND, policy_expired=True), "the policy has expired"),
    ],
)
def test_a_window_allows_nothing_where_time_or_policy_is_not_certain(around: Surroundings, why: str) -> None:
    verdict = decided(one("allow", NOW - HOUR, NOW + HOUR), around=around)

    assert (verdict.target, verdict.cause) == (Target.BLOCK, Cause.LAPSED)
    assert verdict.detail == f"rule 1 allows it for a time, and {why}"
    assert verdict.until is None


def test_a_blocking_rule_with_a_window_holds_where_time_is_not_certain() -> None:
    held = DevicePolicy((DeviceRule(parse_rule("block"), not_after=NOW), DeviceRule(parse_rule("allow"))))

    assert decided(held).target is Target.ALLOW
    assert decided(held, around=replace(AROUND, clock_sure=False)).target is Target.BLOCK


def test_what_an_uncertain_rule_would_limit_stays_limited_by_the_next_one() -> None:
    limited = DeviceRule(
        parse_rule("allow"), not_after=NOW + HOUR, access=Access.READ_ONLY, interfaces=interfaces("08:06:50")
    )
    held = DevicePolicy((limited, DeviceRule(parse_rule("allow"), only_encrypted=True)))
    verdict = decided(held, around=replace(AROUND, clock_sure=False))

    assert (verdict.rule, verdict.access, verdict.only_encrypted) == (2, Access.READ_ONLY, True)
    assert verdict.interfaces == frozenset({interface("08:06:50")})


# ---- observing


@pytest.mark.parametrize("target", ["block", "reject"])
def test_an_observed_rule_is_recorded_and_not_done(target: str) -> None:
    held = DevicePolicy((DeviceRule(parse_rule(target), observe_until=NOW + HOUR),))
    verdict = decided(held)

    assert (verdict.target, verdict.would_be, verdict.is_observed) == (Target.ALLOW, Target(target), True)
    assert (verdict.cause, verdict.rule, verdict.until) == (Cause.RULE, 1, NOW + HOUR)


@pytest.mark.parametrize(
    "around",
    [
        replace(AROUND, now=NOW + HOUR),
        replace(AROUND, clock_sure=False),
        replace(AROUND, policy_expired=True),
    ],
)
def test_observing_ends_with_its_time_and_with_certainty(around: Surroundings) -> None:
    held = DevicePolicy((DeviceRule(parse_rule("block"), observe_until=NOW + HOUR),))
    default = DevicePolicy(observe_until=NOW + HOUR)

    for verdict in (decided(held, around=around), decided(default, around=around)):
        assert (verdict.target, verdict.would_be) == (Target.BLOCK, None)


def test_the_default_can_be_observed_too() -> None:
    verdict = decided(DevicePolicy(observe_until=NOW + HOUR))

    assert (verdict.target, verdict.would_be, verdict.cause) == (Target.ALLOW, Target.BLOCK, Cause.DEFAULT)


# ---- local time


@pytest.mark.parametrize(
    "times, zone, holds, until",
    [
        ("12:00-17:59", "UTC", True, datetime(2026, 3, 4, 17, 59, 1, tzinfo=UTC)),
        ("12:00:01-13:00", "UTC", False, datetime(2026, 3, 4, 12, 0, 1, tzinfo=UTC)),
        ("20:00-20:00:59", "Asia/Shanghai", True, datetime(2026, 3, 4, 12, 1, tzinfo=UTC)),
        ("08:00-11:00", "Asia/Shanghai", False, datetime(2026, 3, 5, 0, 0, tzinfo=UTC)),
        ("00:00-23:59:59", "UTC", True, datetime(2026, 3, 5, 0, 0, tzinfo=UTC)),
    ],
)
def test_local_time_is_the_hosts(times: str, zone: str, holds: bool, until: datetime) -> None:
    verdict = decided(policy(f"allow if localtime({times})"), around=replace(AROUND, zone=ZoneInfo(zone)))

    assert (verdict.target is Target.ALLOW) is holds
    assert verdict.until == until


def test_it_is_decided_anew_when_summer_time_begins() -> None:
    around = replace(AROUND, now=datetime(2026, 3, 29, 0, 30, tzinfo=UTC), zone=ZoneInfo("Europe/Berlin"))
    verdict = decided(policy("allow if localtime(02:30-04:00)"), around=around)

    assert verdict.until is not None
    assert abs(verdict.until - datetime(2026, 3, 29, 1, tzinfo=UTC)) <= timedelta(seconds=1)


def test_local_time_holds_for_nothing_that_allows_while_the_clock_is_not_sure() -> None:
    unsure = replace(AROUND, clock_sure=False)

    for condition in ("localtime(00:00-23:59:59)", "!localtime(00:00-00:01)"):
        assert decided(policy(f"allow if {condition}"), around=unsure).cause is Cause.LAPSED
        assert decided(policy(f"block if {condition}\nallow"), around=unsure).rule == 1


# ---- other conditions


def test_allowed_matches_looks_at_the_other_devices_that_are_allowed() -> None:
    held = policy("allow if !allowed-matches(with-interface one-of { 03:01:01 })")
    other = replace(KEYBOARD, port="1-3")

    assert decided(held, KEYBOARD, AROUND).target is Target.ALLOW
    assert decided(held, KEYBOARD, replace(AROUND, allowed=(KEYBOARD,))).target is Target.ALLOW
    assert decided(held, KEYBOARD, replace(AROUND, allowed=(other,))).target is Target.BLOCK


@pytest.mark.parametrize("drawn, target", [(0.0, Target.ALLOW), (0.2499, Target.ALLOW), (0.25, Target.BLOCK)])
def test_random_allows_with_its_probability(drawn: float, target: Target) -> None:
    assert decided(policy("allow if random(0.25)"), around=replace(AROUND, random=lambda: drawn)).target is target


@pytest.mark.parametrize(
    "conditions, holds",
    [
        ("{ true true }", True),
        ("{ true false }", False),
        ("equals-ordered { true !false }", True),
        ("all-of { true false }", False),
        ("one-of { false true }", True),
        ("one-of { false false }", False),
        ("none-of { false false }", True),
        ("none-of { false true }", False),
    ],
)
def test_set_operators_of_conditions(conditions: str, holds: bool) -> None:
    assert (decided(policy(f"allow if {conditions}")).target is Target.ALLOW) is holds


# ---- rescue

RESCUE = replace(policy("reject"), rescue=Rescue("1-2", 10))
EARLY = replace(AROUND, uptime=timedelta(minutes=4))


def test_a_keyboard_in_the_rescue_port_works_for_some_minutes_after_the_start() -> None:
    verdict = decided(RESCUE, KEYBOARD, EARLY)

    assert (verdict.target, verdict.cause, verdict.until) == (Target.ALLOW, Cause.RESCUE, NOW + timedelta(minutes=6))
    assert verdict.detail == "the rescue port, for 10 min after the start; otherwise reject: reject"


@pytest.mark.parametrize(
    "device, around",
    [
        (KEYBOARD, replace(AROUND, uptime=timedelta(minutes=10))),
        (KEYBOARD, replace(AROUND, uptime=None)),
        (replace(KEYBOARD, port="1-1"), EARLY),
        (replace(KEYBOARD, port="1-2.1"), EARLY),
        (replace(KEYBOARD, interfaces=interfaces("03:01:01 08:06:50")), EARLY),
        (replace(KEYBOARD, interfaces=interfaces("03:01:02")), EARLY),
        (replace(KEYBOARD, interfaces=()), EARLY),
        (replace(KEYBOARD, problems=("unclear",)), EARLY),
    ],
    ids=[
        "later",
        "uptime not known",
        "other port",
        "behind a hub there",
        "also storage",
        "mouse",
        "nothing",
        "unclear",
    ],
)
def test_nothing_else_is_rescued(device: UsbDevice, around: Surroundings) -> None:
    assert decided(RESCUE, device, around).target is not Target.ALLOW


def test_what_rules_allow_needs_no_rescue() -> None:
    held = replace(RESCUE, rules=policy("allow").rules)

    assert decided(held, KEYBOARD, EARLY).cause is Cause.RULE

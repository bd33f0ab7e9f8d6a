"""What is said of a device from a report alone is what its guard would do, or *not evaluated*."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.policy.simulation.devices import (
    Attached,
    Attachments,
    DeviceDifference,
    differences,
    gone_differences,
    other_differences,
)
from control_plane.policy.simulation.outcomes import JudgedPolicy
from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.simulate import treatment
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import Authorized, DeviceState, GuardReport, OtherDevice, OtherState, Seen

NOW = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
AROUND = Surroundings(NOW)
KEYBOARD, MOUSE, STORAGE = Interface(3, 1, 1), Interface(3, 1, 2), Interface(8, 6, 0x50)

RULES = tuple(
    DeviceRule(parse_rule(text))
    for text in (
        "allow id 046d:c31c",
        "allow id 046d:*",
        "block id 046d:c31c with-interface 08:*:*",
        "allow with-interface 03:01:01",
        "allow with-interface { 03:01:01 03:01:02 }",
        "allow with-interface one-of { 08:*:* }",
        "reject with-interface all-of { 03:*:* 08:*:* }",
        "block with-interface none-of { 03:*:* }",
        "allow with-interface match-all { 03:*:* }",
        'allow hash "AAAA"',
        'block hash "BBBB"',
        'allow id 0781:5581 serial "1" hash "AAAA"',
        'allow parent-hash "CCCC" with-interface 03:01:01',
        'allow with-connect-type "hardwired"',
        'block via-port "1-1"',
        'allow name "Stick" serial none-of { "2" }',
        "allow id 046d:c31c if false",
        "allow if localtime(00:00-23:59)",
        "block id *:*",
        "allow id *:* if random(0.5)",
    )
)
BESIDE = (
    DeviceRule(parse_rule("allow with-interface one-of { 08:*:* }"), access=Access.READ_ONLY),
    DeviceRule(parse_rule("allow id 0781:5581"), only_encrypted=True),
    DeviceRule(parse_rule("allow id 0781:5581"), only_encrypted=True, hardware_encrypted=True),
    DeviceRule(parse_rule("allow id 046d:c31c"), interfaces=(KEYBOARD,)),
    DeviceRule(parse_rule("allow id 046d:c31c"), not_after=datetime(2026, 12, 1, tzinfo=UTC)),
    DeviceRule(parse_rule("allow id 046d:c31c"), not_after=datetime(2026, 1, 1, tzinfo=UTC)),
    DeviceRule(parse_rule('allow hash "AAAA"'), not_before=datetime(2027, 1, 1, tzinfo=UTC)),
    DeviceRule(parse_rule("block id 046d:c31c"), observe_until=datetime(2026, 12, 1, tzinfo=UTC)),
)
policies = st.none() | st.builds(
    DevicePolicy,
    st.lists(st.sampled_from(RULES + BESIDE), max_size=6).map(tuple),
    st.sampled_from(Target),
    st.sampled_from([None, datetime(2026, 12, 1, tzinfo=UTC)]),
)
devices = st.builds(
    UsbDevice,
    st.sampled_from(["1-1", "1-2"]),
    st.just("usb1"),
    st.sampled_from([0x046D, 0x0781]),
    st.sampled_from([0xC31C, 0x5581]),
    st.sampled_from(["Stick", "Keyboard"]),
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(["AAAA", "BBBB", "DDDD"]),
    st.sampled_from(["CCCC", "EEEE"]),
    st.sets(st.sampled_from([KEYBOARD, MOUSE, STORAGE])).map(lambda each: tuple(sorted(each))),
    st.sampled_from(ConnectType),
)


def told(device: UsbDevice, verdict: Verdict) -> DeviceState:
    """Return what a guard reports of a device, as `usb_policy/warden.py` does."""
    interfaces = " ".join(map(str, sorted(device.interface_set)))
    return DeviceState(
        device.port, device.parent, device.id, device.name, device.serial, device.identity, interfaces, Seen.NOW, NOW,
        verdict.target, verdict.would_be or verdict.target, verdict.cause, verdict.rule, verdict.detail, verdict.access,
        Authorized.YES if verdict.target is Target.ALLOW else Authorized.NO,
    )  # fmt: skip


def report(*states: DeviceState, others: tuple[OtherDevice, ...] = ()) -> GuardReport:
    return GuardReport("guard", 1, "", True, "boot", False, 0, 9, states, others)


def simulated(
    state: DeviceState, before: DevicePolicy | None, after: DevicePolicy | None, attached: Attachments | None = None
) -> DeviceDifference | None:
    (found,) = differences(report(state), attached or {}, JudgedPolicy(before), JudgedPolicy(after), NOW)
    return found


def recorded(device: UsbDevice) -> Attachments:
    """Return what a guard's record of an attachment tells: the hash of the descriptors, and no connect type."""
    interfaces = tuple(sorted(device.interface_set))
    known = replace(device, parent="", parent_fingerprint="", interfaces=interfaces, connect_type=ConnectType.NONE)
    return {(device.port, device.identity): Attached(known, "2026-10-30T08:00:00.000000Z")}


@settings(max_examples=600)
@given(devices, policies, policies, st.booleans(), st.booleans())
def test_what_is_certain_is_what_the_guard_would_do(
    device: UsbDevice, before: DevicePolicy | None, after: DevicePolicy | None, is_recorded: bool, is_there: bool
) -> None:
    was, then = evaluate(before, device, AROUND), evaluate(after, device, AROUND)
    if is_there:
        found = simulated(told(device, was), before, after, recorded(device) if is_recorded else None)
    else:
        (found,) = gone_differences(report(), recorded(device), JudgedPolicy(before), JudgedPolicy(after), NOW)

    if found is None:
        assert treatment(was) == treatment(then)
    elif found.then is not None:
        assert treatment(was) != treatment(then)
        assert found.then.startswith({"allow": "allowed", "block": "blocked", "reject": "rejected"}[then.target])


@given(devices, policies)
def test_under_the_same_policy_nothing_differs(device: UsbDevice, policy: DevicePolicy | None) -> None:
    assert simulated(told(device, evaluate(policy, device, AROUND)), policy, policy) is None


def policy(*rules: str, default: Target = Target.BLOCK) -> DevicePolicy:
    return DevicePolicy(tuple(DeviceRule(parse_rule(rule)) for rule in rules), default)


STICK = UsbDevice("1-2", "usb1", 0x0781, 0x5581, "Ultra", "1", "AAAA", "CCCC", (STORAGE,))


def test_a_rule_by_hash_that_let_a_device_in_is_known_to_be_for_it_in_another_policy_too() -> None:
    before = policy('allow hash "AAAA"')
    state = told(STICK, evaluate(before, STICK, AROUND))

    assert simulated(state, before, policy("block id 046d:*", 'allow hash "AAAA"')) is None
    found = simulated(state, before, policy('block hash "AAAA"'))
    assert found is not None
    assert (found.now, found.then, found.loosens) == ("allowed", "blocked", False)


def test_a_rule_by_a_hash_that_no_guard_has_judged_is_not_evaluated() -> None:
    before = policy()
    found = simulated(told(STICK, evaluate(before, STICK, AROUND)), before, policy('allow hash "AAAA"'))

    assert found is not None
    assert (found.now, found.then) == ("blocked", None)
    assert found.why == 'no report tells whether this rule is for it: allow hash "AAAA"'


def test_a_hash_that_the_record_of_an_attachment_has_is_judged_by() -> None:
    before, state = policy(), told(STICK, evaluate(policy(), STICK, AROUND))

    found = simulated(state, before, policy('allow hash "AAAA"'), recorded(STICK))
    assert found is not None
    assert (found.now, found.then) == ("blocked", "allowed")
    assert simulated(state, before, policy('allow hash "BBBB"'), recorded(STICK)) is None
    other = recorded(replace(STICK, serial="2"))
    assert simulated(state, before, policy('allow hash "BBBB"'), other) is not None


def test_the_hash_of_the_hub_is_that_of_the_device_it_hangs_on() -> None:
    hub = UsbDevice("1-1", "usb1", 0x1D6B, 2, "Hub", "", "HHHH", "", (Interface(9, 0, 0),))
    stick = replace(STICK, port="1-1.2", parent="1-1", parent_fingerprint="HHHH")
    states = (told(each, evaluate(policy(), each, AROUND)) for each in (hub, stick))
    found = differences(
        report(*states), recorded(hub), JudgedPolicy(policy()), JudgedPolicy(policy('allow parent-hash "HHHH"')), NOW
    )

    assert [each and each.then for each in found] == [None, "allowed"]


def test_a_device_that_was_there_lately_is_judged_as_if_it_came_back_and_one_that_is_there_is_not_told_twice() -> None:
    before, after = (JudgedPolicy(each) for each in (policy("allow id 0781:*"), policy()))
    state = told(STICK, evaluate(policy("allow id 0781:*"), STICK, AROUND))

    (found,) = gone_differences(report(), recorded(STICK), before, after, NOW)
    assert found is not None
    assert (found.now, found.then, found.last_attached) == ("allowed", "blocked", "2026-10-30T08:00:00.000000Z")
    assert list(gone_differences(report(state), recorded(STICK), before, after, NOW)) == []
    (same,) = gone_differences(report(), recorded(STICK), before, before, NOW)
    assert same is None


def test_a_device_that_would_be_let_in_is_called_looser_and_the_rule_is_named() -> None:
    before, after = policy(), policy("block id 046d:*", 'allow id 0781:* label "sticks"')
    found = simulated(told(STICK, evaluate(before, STICK, AROUND)), before, after)

    assert found == DeviceDifference(
        "1-2", "0781:5581", "Ultra", "1", "blocked", "allowed", "rule 2: sticks", loosens=True
    )


def test_a_suspicious_device_and_a_full_list_of_interfaces_are_not_guessed_at() -> None:
    suspicious = told(STICK, Verdict(Target.BLOCK, Cause.SUSPICIOUS, 1))
    found = simulated(suspicious, policy(), policy("allow id 0781:*"))
    assert found is not None
    assert found.then is None

    many = replace(STICK, interfaces=tuple(Interface(8, 6, number) for number in range(16)))
    state = told(many, evaluate(policy(), many, AROUND))
    found = simulated(state, policy(), policy("allow with-interface all-of { 03:*:* }"))
    assert found is not None
    assert found.then is None


def test_storage_that_was_found_not_to_be_encrypted_stays_blocked_where_that_is_still_asked() -> None:
    asked = DevicePolicy((DeviceRule(parse_rule("allow id 0781:*"), only_encrypted=True),))
    state = told(STICK, Verdict(Target.BLOCK, Cause.NOT_ENCRYPTED, 1))
    still = DevicePolicy((replace(asked.rules[0], access=Access.READ_ONLY),))

    assert simulated(state, asked, still) is None
    found = simulated(state, asked, policy("allow id 0781:*"))
    assert found is not None
    assert (found.then, found.loosens) == ("allowed", True)


@pytest.mark.parametrize("cause", [Cause.ROOT_HUB, Cause.PINNED_CONSOLE])
def test_what_no_rule_decides_about_never_differs(cause: Cause) -> None:
    assert simulated(told(STICK, Verdict(Target.ALLOW, cause)), policy("allow id *:*"), policy()) is None


def test_on_other_buses_it_is_what_is_told_that_differs() -> None:
    disc = OtherDevice("optical", "sr0", "medium inserted", Seen.NOW, NOW, OtherState.ALLOWED)
    hung_on_usb = replace(disc, name="sr1", state=OtherState.WITH_USB_DEVICE)
    after = DevicePolicy(others=OtherKinds(((OtherKind.OPTICAL, Target.BLOCK),)))

    (found,) = other_differences(report(others=(disc, hung_on_usb)), after)
    assert (found.where, found.name, found.now, found.then) == (
        "optical", "sr0", "allowed", "not allowed: detected, not prevented",
    )  # fmt: skip
    (unnamed,) = other_differences(report(others=(disc,)), None)
    assert unnamed.then == "not evaluated: detected, not prevented"

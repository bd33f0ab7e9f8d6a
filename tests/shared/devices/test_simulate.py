"""What another policy would change."""

import pytest

from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.simulate import simulate
from shared.devices.verdict import Access, Target
from tests.shared.devices.given import AROUND, KEYBOARD, ROOT_HUB, STICK, interfaces, policy

SEEN = [(ROOT_HUB, AROUND), (STICK, AROUND), (KEYBOARD, AROUND)]


def test_tells_the_devices_that_are_treated_otherwise() -> None:
    changes = simulate(policy("allow"), policy("allow with-interface one-of { 03:*:* }"), SEEN)

    assert [(change.device, change.before.target, change.after.target) for change in changes] == [
        (STICK, Target.ALLOW, Target.BLOCK)
    ]
    assert not changes[0].loosens


def test_another_reason_for_the_same_treatment_is_no_change() -> None:
    assert simulate(policy("allow 0781:*\nallow 046d:*"), policy("allow"), SEEN) == ()


def limited(**limits: object) -> DevicePolicy:
    return DevicePolicy((DeviceRule(parse_rule("allow"), **limits),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "limits",
    [{"access": Access.READ_ONLY}, {"only_encrypted": True}, {"interfaces": interfaces("08:06:50")}],
    ids=["access", "encryption", "interfaces"],
)
def test_a_limit_that_goes_loosens_and_one_that_comes_does_not(limits: dict[str, object]) -> None:
    (loosened,) = simulate(limited(**limits), policy("allow"), [(STICK, AROUND)])
    (tightened,) = simulate(policy("allow"), limited(**limits), [(STICK, AROUND)])

    assert loosened.loosens
    assert not tightened.loosens


def test_from_no_policy_to_one_that_allows_loosens() -> None:
    assert [change.loosens for change in simulate(None, policy("allow"), SEEN)] == [True, True]

"""Which attached devices other rules would treat otherwise than the guard does."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge_agent.guard_commands.compare import Difference, differences, policy_of
from shared.devices.device import Interface, UsbDevice
from shared.devices.parse import parse_rules
from shared.devices.verdict import Cause, Target
from shared.errors import Malformed
from shared.fleet.devices import DeviceState
from tests.fakes.guard import HUB, STICK

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ROOT = UsbDevice("usb1", "", 0x1D6B, 2, "", "", "", "", (Interface(9, 0, 0),))
DEVICE = UsbDevice("1-2", "usb1", 0x0781, 0x5581, "Ultra", "4C53", "", "", (Interface(8, 6, 0x50),))
ALLOWED = replace(STICK, target=Target.ALLOW, would_be=Target.ALLOW, cause=Cause.RULE)


def found(rules: str, *states: DeviceState) -> tuple[Difference, ...]:
    return differences((ROOT, DEVICE), states, policy_of(parse_rules(rules)), NOW, UTC)


def test_rules_that_change_nothing_say_nothing() -> None:
    assert found("", HUB, STICK) == ()
    assert found("allow 0781:5581", HUB, ALLOWED) == ()


def test_what_would_be_let_in_is_looser_and_what_would_be_shut_out_is_not() -> None:
    (looser,) = found("allow 0781:5581", HUB, STICK)
    (stricter,) = found("block 0781:*", HUB, ALLOWED)

    assert (looser.loosens, looser.then.target, looser.then.rule) == (True, Target.ALLOW, 1)
    assert (stricter.loosens, stricter.then.target) == (False, Target.BLOCK)
    assert looser.json()["now"] == "block"


def test_what_is_only_observed_now_is_a_difference() -> None:
    assert len(found("", HUB, replace(STICK, target=Target.ALLOW))) == 1


def test_a_pinned_console_and_a_root_hub_are_not_the_rules_affair() -> None:
    assert found("reject", HUB, replace(ALLOWED, cause=Cause.PINNED_CONSOLE)) == ()


def test_a_device_that_the_guard_does_not_know_yet_is_named() -> None:
    (difference,) = found("allow 0781:5581", HUB)
    assert difference.now is None
    assert difference.loosens
    (other,) = found("block", HUB, replace(STICK, id="046d:c31c"))

    assert other.now is None


def test_rules_that_only_queries_have_are_refused() -> None:
    with pytest.raises(Malformed):
        policy_of(parse_rules("match 0781:5581"))

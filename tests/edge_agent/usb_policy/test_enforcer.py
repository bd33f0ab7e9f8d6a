from dataclasses import replace

import pytest

from edge_agent.usb_policy.enforcer import Enforcer
from shared.devices.verdict import Cause, Target, Verdict
from shared.fleet.devices import Authorized
from tests.fakes.usb_bus import KEYBOARD, STORAGE, FakeBus, usb_device

ALLOW, BLOCK, REJECT = (Verdict(target, Cause.RULE, 1) for target in Target)
ONLY_STORAGE = replace(ALLOW, interfaces=frozenset({STORAGE}))


@pytest.fixture
def bus() -> FakeBus:
    bus = FakeBus()
    bus.plug(usb_device("usb1"))
    return bus


def test_an_allowed_device_is_bound_and_read_back(bus: FakeBus) -> None:
    stick = usb_device("1-1")
    bus.plug(stick)

    enforced = Enforcer(bus).enforce(stick, ALLOW)

    assert (enforced.authorized, enforced.holds) == (Authorized.YES, True)
    assert bus.bound == {"usb1:1.0", "1-1:1.0"}


def test_a_device_that_came_up_authorised_is_taken_back(bus: FakeBus) -> None:
    bus.authorized_default = True
    stick = usb_device("1-1")
    bus.plug(stick)
    assert "1-1:1.0" in bus.bound

    enforced = Enforcer(bus).enforce(stick, BLOCK)

    assert (enforced.authorized, enforced.holds) == (Authorized.NO, True)
    assert "1-1:1.0" not in bus.bound


def test_a_rejected_device_is_off_the_bus(bus: FakeBus) -> None:
    stick = usb_device("1-1")
    bus.plug(stick)

    enforced = Enforcer(bus).enforce(stick, REJECT)

    assert enforced.holds
    assert "1-1" not in bus.ports()


@pytest.mark.parametrize("verdict", [ALLOW, BLOCK])
def test_what_the_kernel_did_not_do_is_not_reported_as_done(bus: FakeBus, verdict: Verdict) -> None:
    bus.authorized_default = verdict is BLOCK
    stick = usb_device("1-1")
    bus.plug(stick)
    bus.obeys = lambda _port: False

    enforced = Enforcer(bus).enforce(stick, verdict)

    assert not enforced.holds


def test_a_device_that_went_is_unknown_and_not_enforced(bus: FakeBus) -> None:
    enforced = Enforcer(bus).enforce(usb_device("1-4"), BLOCK)

    assert (enforced.authorized, enforced.holds) == (Authorized.UNKNOWN, False)
    assert "gone" in enforced.why


def test_of_a_composite_device_no_driver_ever_meets_what_is_not_allowed(bus: FakeBus) -> None:
    bad = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(bad)
    ever_bound: set[str] = set()
    bus.obeys = lambda _port: not ever_bound.__ior__(bus.bound) or True

    enforced = Enforcer(bus).enforce(bad, ONLY_STORAGE)

    assert enforced.holds
    assert bus.bound - {"usb1:1.0"} == {"1-1:1.0"}
    assert "1-1:1.1" not in ever_bound
    assert bus.interface_default is True


def test_control_without_holding_interfaces_back_the_keyboard_is_bound_first(bus: FakeBus) -> None:
    class Leaking(FakeBus):
        def set_interface_authorized_default(self, root_hub: str, value: int, /) -> None:
            pass

    leaking = Leaking()
    bad = usb_device("1-1", STORAGE, KEYBOARD)
    leaking.plug(bad)
    ever_bound: set[str] = set()
    leaking.obeys = lambda _port: not ever_bound.__ior__(leaking.bound) or True

    Enforcer(leaking).enforce(bad, ONLY_STORAGE)

    assert "1-1:1.1" in ever_bound


def test_a_tightened_rule_unbinds_the_interface_of_a_device_that_is_in_use(bus: FakeBus) -> None:
    bad = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(bad)
    Enforcer(bus).enforce(bad, ALLOW)

    enforced = Enforcer(bus).enforce(bad, ONLY_STORAGE)

    assert enforced.holds
    assert bus.bound - {"usb1:1.0"} == {"1-1:1.0"}


def test_a_loosened_rule_binds_what_was_held_back(bus: FakeBus) -> None:
    device = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(device)
    Enforcer(bus).enforce(device, ONLY_STORAGE)

    enforced = Enforcer(bus).enforce(device, ALLOW)

    assert enforced.holds
    assert bus.bound >= {"1-1:1.0", "1-1:1.1"}


def test_a_root_hub_is_never_touched(bus: FakeBus) -> None:
    bus.obeys = lambda port: pytest.fail(f"wrote to {port}")

    Enforcer(bus).enforce(usb_device("usb1"), BLOCK)

    assert bus.authorized("usb1") is Authorized.YES

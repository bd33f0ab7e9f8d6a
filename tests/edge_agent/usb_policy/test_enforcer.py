from dataclasses import replace

import pytest

from edge_agent.usb_policy.enforcer import Enforced, Enforcer
from shared.devices.device import Interface, UsbDevice
from shared.devices.verdict import Cause, Target, Verdict
from shared.fleet.devices import Authorized
from tests.fakes.usb_bus import KEYBOARD, STORAGE, FakeBus, usb_device

ALLOW, BLOCK, REJECT = (Verdict(target, Cause.RULE, 1) for target in Target)
ONLY_STORAGE = replace(ALLOW, interfaces=frozenset({STORAGE}))


def enforced_on(bus: FakeBus, device: UsbDevice, verdict: Verdict) -> Enforced:
    return Enforcer(bus).enforce(device, bus.instance(device.port), verdict)


@pytest.fixture
def bus() -> FakeBus:
    bus = FakeBus()
    bus.plug(usb_device("usb1"))
    return bus


def test_an_allowed_device_is_bound_and_read_back(bus: FakeBus) -> None:
    stick = usb_device("1-1")
    bus.plug(stick)

    enforced = enforced_on(bus, stick, ALLOW)

    assert (enforced.authorized, enforced.holds) == (Authorized.YES, True)
    assert bus.bound == {"usb1:1.0", "1-1:1.0"}


def test_a_device_that_came_up_authorised_is_taken_back(bus: FakeBus) -> None:
    bus.authorized_default = True
    stick = usb_device("1-1")
    bus.plug(stick)
    assert "1-1:1.0" in bus.bound

    enforced = enforced_on(bus, stick, BLOCK)

    assert (enforced.authorized, enforced.holds) == (Authorized.NO, True)
    assert "1-1:1.0" not in bus.bound


def test_a_rejected_device_is_off_the_bus(bus: FakeBus) -> None:
    stick = usb_device("1-1")
    bus.plug(stick)

    enforced = enforced_on(bus, stick, REJECT)

    assert enforced.holds
    assert "1-1" not in bus.ports()


@pytest.mark.parametrize("verdict", [ALLOW, BLOCK])
def test_what_the_kernel_did_not_do_is_not_reported_as_done(bus: FakeBus, verdict: Verdict) -> None:
    bus.authorized_default = verdict is BLOCK
    stick = usb_device("1-1")
    bus.plug(stick)
    bus.obeys = lambda _port: False

    enforced = enforced_on(bus, stick, verdict)

    assert not enforced.holds


def test_a_device_that_went_is_unknown_and_not_enforced(bus: FakeBus) -> None:
    enforced = Enforcer(bus).enforce(usb_device("1-4"), "1", BLOCK)

    assert (enforced.authorized, enforced.holds) == (Authorized.UNKNOWN, False)
    assert enforced.is_gone


def test_of_a_composite_device_no_driver_ever_meets_what_is_not_allowed(bus: FakeBus) -> None:
    bad = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(bad)
    ever_bound: set[str] = set()
    bus.obeys = lambda _port: not ever_bound.__ior__(bus.bound) or True

    enforced = enforced_on(bus, bad, ONLY_STORAGE)

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

    enforced_on(leaking, bad, ONLY_STORAGE)

    assert "1-1:1.1" in ever_bound


def test_a_tightened_rule_unbinds_the_interface_of_a_device_that_is_in_use(bus: FakeBus) -> None:
    bad = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(bad)
    enforced_on(bus, bad, ALLOW)

    enforced = enforced_on(bus, bad, ONLY_STORAGE)

    assert enforced.holds
    assert bus.bound - {"usb1:1.0"} == {"1-1:1.0"}


def test_a_loosened_rule_binds_what_was_held_back(bus: FakeBus) -> None:
    device = usb_device("1-1", STORAGE, KEYBOARD)
    bus.plug(device)
    enforced_on(bus, device, ONLY_STORAGE)

    enforced = enforced_on(bus, device, ALLOW)

    assert enforced.holds
    assert bus.bound >= {"1-1:1.0", "1-1:1.1"}


def test_a_root_hub_is_never_touched(bus: FakeBus) -> None:
    bus.obeys = lambda port: pytest.fail(f"wrote to {port}")

    enforced_on(bus, usb_device("usb1"), BLOCK)

    assert bus.authorized("usb1", "") is Authorized.YES


@pytest.mark.parametrize("verdict", [ALLOW, BLOCK, REJECT])
def test_what_was_decided_for_one_device_is_never_done_to_the_next_one_in_its_port(
    bus: FakeBus, verdict: Verdict
) -> None:
    stick, keyboard = usb_device("1-1"), usb_device("1-1", KEYBOARD, serial="evil")
    bus.plug(stick)
    instance = bus.instance("1-1")
    bus.unplug("1-1")
    bus.plug(keyboard)
    if verdict is not ALLOW:
        bus.authorize("1-1", True)
    before = bus.authorized("1-1", "")

    enforced = Enforcer(bus).enforce(stick, instance, verdict)

    assert bus.authorized("1-1", "") is before
    assert enforced.authorized is not Authorized.YES
    assert enforced.holds is (verdict is REJECT)


def test_storage_that_changes_to_its_faster_transport_is_not_taken_away(bus: FakeBus) -> None:
    stick = usb_device("1-1", STORAGE)
    bus.plug(stick)
    enforced_on(bus, stick, ONLY_STORAGE)
    uas = usb_device("1-1", Interface(0x08, 0x06, 0x62), fingerprint=stick.fingerprint)
    bus.plugged["1-1"].device = uas

    assert Enforcer(bus).read_back(uas, bus.instance("1-1"), ONLY_STORAGE).holds


def test_of_a_device_that_has_to_be_encrypted_only_the_disk_works(bus: FakeBus) -> None:
    camera = Interface(0x06, 0x01, 0x01)
    phone = usb_device("1-1", STORAGE, camera)
    bus.plug(phone)

    enforced = enforced_on(bus, phone, replace(ALLOW, only_encrypted=True))

    assert enforced.holds
    assert "1-1:1.1" not in bus.bound


def test_a_bus_that_a_guard_left_held_when_it_died_is_released(bus: FakeBus) -> None:
    bus.interface_default = False

    assert Enforcer(bus).release_buses() == ["usb1"]

    assert bus.interface_default is True
    assert Enforcer(bus).release_buses() == []

"""The conditions that ask for the past of a rule."""

from dataclasses import replace
from datetime import timedelta

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.history import history_after
from shared.devices.policy import DevicePolicy
from shared.devices.surroundings import RuleHistory, Surroundings
from shared.devices.verdict import Target
from tests.shared.devices.given import AROUND, KEYBOARD, NOW, ROOT_HUB, STICK, policy

SECOND = timedelta(seconds=1)


class Host:
    """Decides about devices in turn, as the guard does."""

    def __init__(self, rules: str) -> None:
        self.policy: DevicePolicy = policy(rules)
        self.history = RuleHistory()
        self._attached: dict[str, int] = {}

    def attach(self, device: UsbDevice, at: int) -> bool:
        self._attached[device.port] = at
        return self.decide(device, at)

    def decide(self, device: UsbDevice, at: int) -> bool:
        """Return whether it is allowed."""
        around: Surroundings = replace(
            AROUND, now=NOW + at * SECOND, uptime=at * SECOND, attached=self._attached.get(device.port, 0) * SECOND,
            history=self.history,
        )  # fmt: skip
        verdict = evaluate(self.policy, device, around)
        self.history = history_after(self.policy, device, around, verdict)
        return verdict.target is Target.ALLOW


def test_the_first_device_only() -> None:
    host = Host("allow if !rule-applied")

    assert host.attach(STICK, 10)
    assert not host.attach(KEYBOARD, 20)
    assert host.decide(STICK, 30), "its own attachment does not count"
    assert not host.decide(KEYBOARD, 40)


def test_a_device_that_comes_back_is_another_attachment() -> None:
    host = Host("allow if !rule-applied")

    assert host.attach(STICK, 10)
    assert not host.attach(STICK, 20)
    assert not host.decide(STICK, 30)


def test_one_device_in_ten_seconds() -> None:
    host = Host("allow if !rule-applied(10)")

    assert host.attach(STICK, 10)
    assert not host.attach(KEYBOARD, 20)
    assert host.decide(KEYBOARD, 21), "ten seconds have gone by since"


def test_the_verdict_says_when_the_past_is_long_enough_ago() -> None:
    host = Host("allow if !rule-applied(10)")
    host.attach(STICK, 10)
    around = replace(AROUND, uptime=14 * SECOND, attached=14 * SECOND, history=host.history)

    assert evaluate(host.policy, KEYBOARD, around).until == NOW + 6 * SECOND + timedelta(microseconds=1)


def test_a_rule_is_evaluated_where_its_attributes_apply_and_no_rule_before_it_decides() -> None:
    host = Host("block 046d:*\nallow 0781:* if rule-evaluated")

    assert not host.attach(KEYBOARD, 5)
    assert not host.attach(STICK, 10)
    assert not host.decide(STICK, 15)
    assert host.attach(replace(STICK, port="1-5"), 20)


def test_only_rules_that_ask_are_remembered_and_two_attachments_of_each() -> None:
    host = Host("block 046d:*\nallow if { true !rule-applied(0) }\nallow")
    for at in range(1, 50):
        host.attach(replace(STICK, port=f"1-{at}"), at)
    host.attach(ROOT_HUB, 60)

    assert [len(past) for past in host.history.applied.values()] == [2]
    assert not host.history.evaluated


def test_deciding_again_and_again_about_one_device_does_not_push_out_another() -> None:
    host = Host("allow if rule-evaluated")
    host.attach(KEYBOARD, 10)

    assert host.attach(STICK, 20)
    assert [host.decide(STICK, at) for at in (30, 40, 50)] == [True, True, True]

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.usb_policy.acquaintance import Acquaintances
from edge_agent.usb_policy.judge import DeviceJudge
from edge_agent.usb_policy.warden import Company
from shared.devices.device import Interface, UsbDevice
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.verdict import Cause, Target, Verdict
from tests.fakes.clock import FakeClock
from tests.fakes.usb_bus import KEYBOARD, STORAGE, usb_device

NOBODY = Company((), ())


@dataclass
class Bench:
    database: Database
    policy: DevicePolicy | None = None
    pinned: set[str] = field(default_factory=set)
    uptime: timedelta = timedelta(hours=1)
    throw: float = 0.9
    sure: bool = True
    expired: bool = False

    def rules(self, *rules: str) -> None:
        self.policy = DevicePolicy(tuple(DeviceRule(parse_rule(rule, 1)) for rule in rules))

    def judge(self) -> DeviceJudge:
        return DeviceJudge(
            lambda: self.policy,
            lambda device: device.port in self.pinned,
            lambda: (self.sure, self.expired),
            Acquaintances(self.database, lambda: self.uptime),
            clock=FakeClock(),
            uptime=lambda: self.uptime,
            zone=UTC,
            random=lambda: self.throw,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database(tmp_path / "guard.sqlite")) as database:
        yield Bench(database)


def decided(judge: DeviceJudge, device: UsbDevice, company: Company = NOBODY) -> Verdict:
    verdict = judge.judge(device, company)
    judge.carried_out(device, verdict)
    return verdict


def test_the_pinned_keyboard_works_without_any_policy(bench: Bench) -> None:
    bench.pinned.add("1-1")

    assert decided(bench.judge(), usb_device("1-1", KEYBOARD)).cause is Cause.PINNED_CONSOLE
    assert decided(bench.judge(), usb_device("1-2", KEYBOARD)).cause is Cause.NO_POLICY


def test_a_stick_that_came_back_with_a_keyboard_in_it_is_suspicious_also_after_a_restart(bench: Bench) -> None:
    bench.rules("allow 0781:5581")
    assert decided(bench.judge(), usb_device("1-1", STORAGE)).target is Target.ALLOW

    grown = decided(bench.judge(), usb_device("1-4", STORAGE, KEYBOARD))

    assert (grown.target, grown.cause) == (Target.BLOCK, Cause.SUSPICIOUS)
    again = decided(bench.judge(), usb_device("1-4", STORAGE, KEYBOARD))
    assert again.cause is Cause.SUSPICIOUS
    assert decided(bench.judge(), usb_device("1-1", STORAGE)).target is Target.ALLOW


def test_a_device_that_changes_its_serial_on_the_way_back_is_suspicious(bench: Bench) -> None:
    bench.rules("allow 0781:5581")
    judge, stick = bench.judge(), usb_device("1-1", STORAGE)
    decided(judge, stick)
    judge.gone(stick)
    bench.uptime += timedelta(seconds=1)

    other = replace(stick, serial="other")
    assert decided(judge, other).cause is Cause.SUSPICIOUS
    judge.gone(other)
    bench.uptime += timedelta(minutes=1)
    assert decided(judge, replace(stick, serial="a third")).target is Target.ALLOW


def test_the_second_of_two_that_say_the_same_serial_is_suspicious(bench: Bench) -> None:
    bench.rules("allow 0781:5581")
    judge, first, second = bench.judge(), usb_device("1-1"), usb_device("1-2")

    assert decided(judge, second, Company((first,), ())).cause is Cause.SUSPICIOUS
    assert decided(judge, first).target is Target.ALLOW


def test_a_device_cannot_wait_for_the_throw_that_it_likes(bench: Bench) -> None:
    bench.rules("allow 0781:5581 if random(0.5)")
    judge, stick = bench.judge(), usb_device("1-1")
    assert decided(judge, stick).target is Target.BLOCK

    bench.throw = 0.1

    assert decided(judge, stick).target is Target.BLOCK
    judge.gone(stick)
    assert decided(judge, stick).target is Target.ALLOW


def test_a_rule_for_one_device_only_knows_that_it_was_used(bench: Bench) -> None:
    bench.rules("allow 0781:5581 if !rule-applied")
    judge, first, second = bench.judge(), usb_device("1-1", serial="A"), usb_device("1-2", serial="B")

    assert decided(judge, first).target is Target.ALLOW
    bench.uptime += timedelta(seconds=1)
    assert decided(judge, second).target is Target.BLOCK
    assert decided(judge, first).target is Target.ALLOW


@pytest.mark.parametrize("doubt", ["clock", "policy"])
def test_what_is_allowed_for_a_time_lapses_where_time_or_policy_is_in_doubt(bench: Bench, doubt: str) -> None:
    ends = FakeClock().now() + timedelta(hours=1)
    bench.policy = DevicePolicy((DeviceRule(parse_rule("allow 0781:5581", 1), not_after=ends),))
    assert decided(bench.judge(), usb_device("1-1")).target is Target.ALLOW

    bench.sure, bench.expired = doubt != "clock", doubt == "policy"

    assert decided(bench.judge(), usb_device("1-1")).cause is Cause.LAPSED


def test_looking_again_at_the_same_device_does_not_use_a_rule_up(bench: Bench) -> None:
    bench.rules("allow 0781:5581 if !rule-evaluated")
    judge, stick = bench.judge(), usb_device("1-1")

    for _ in range(3):
        bench.uptime += timedelta(seconds=1)
        assert decided(judge, stick).target is Target.ALLOW
    assert decided(judge, usb_device("1-2", serial="B")).target is Target.BLOCK


def test_another_policy_forgets_the_past_of_rules_that_it_does_not_have(bench: Bench) -> None:
    bench.rules("allow 0781:5581 if !rule-applied")
    judge = bench.judge()
    decided(judge, usb_device("1-1"))
    bench.rules("block")
    decided(judge, usb_device("1-1"))
    bench.rules("allow 0781:5581 if !rule-applied")

    assert decided(judge, usb_device("1-2", serial="B")).target is Target.ALLOW


def test_a_suspicion_does_not_end_by_waiting(bench: Bench) -> None:
    bench.rules("allow 0781:5581")
    judge, stick = bench.judge(), usb_device("1-1", STORAGE)
    decided(judge, stick)
    judge.gone(stick)
    bench.uptime += timedelta(seconds=1)
    other = replace(stick, serial="other")
    assert decided(judge, other).cause is Cause.SUSPICIOUS

    bench.uptime += timedelta(hours=1)

    assert decided(judge, other).cause is Cause.SUSPICIOUS


def test_a_stranger_who_was_blocked_makes_no_honest_device_suspicious(bench: Bench) -> None:
    bench.rules("block with-interface one-of { 03:01:01 }", "allow 0781:5581")
    judge = bench.judge()
    clone = usb_device("1-1", STORAGE, KEYBOARD)
    assert decided(judge, clone).target is Target.BLOCK
    judge.gone(clone)
    bench.uptime += timedelta(minutes=1)

    assert decided(judge, usb_device("1-1", STORAGE)).target is Target.ALLOW
    assert decided(bench.judge(), usb_device("1-2", STORAGE)).target is Target.ALLOW


def test_a_device_with_as_many_interfaces_as_can_be_is_known_again(bench: Bench) -> None:
    bench.rules("allow 0781:5581")
    many = tuple(Interface(0xFF, n // 256, n % 256) for n in range(1024))

    assert decided(bench.judge(), usb_device("1-1", *many)).target is Target.ALLOW
    assert decided(bench.judge(), usb_device("1-1", *many)).target is Target.ALLOW
    assert decided(bench.judge(), usb_device("1-1", STORAGE)).cause is Cause.SUSPICIOUS


@pytest.mark.parametrize(
    "rules, target",
    [((), Target.BLOCK), (("allow 1234:5678",), Target.BLOCK), (("allow with-interface 03:01:01",), Target.ALLOW)],
)
def test_a_rehearsal_is_decided_by_the_policy_in_force_and_leaves_no_trace(
    bench: Bench, rules: tuple[str, ...], target: Target
) -> None:
    bench.rules(*rules)
    judge, keyboard = bench.judge(), usb_device("1-1", KEYBOARD)

    assert judge.rehearse(keyboard).target is target
    bench.rules("allow with-interface 03:01:01 if !rule-applied")
    assert judge.rehearse(keyboard).target is judge.rehearse(keyboard).target is Target.ALLOW
    # Had it been remembered, the rule would have been applied already.
    assert decided(judge, usb_device("1-2", KEYBOARD)).target is Target.ALLOW


def test_without_a_policy_a_rehearsal_is_blocked(bench: Bench) -> None:
    assert bench.judge().rehearse(usb_device("1-1", KEYBOARD)).cause is Cause.NO_POLICY

"""Where time or policy is not certain, nothing is allowed that would not be allowed if they were."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.policy import DevicePolicy
from shared.devices.simulate import Change
from shared.devices.surroundings import Surroundings
from tests.shared.devices.given import devices, policies, surroundings


@settings(max_examples=150)
@given(policies, devices, surroundings)
def test_an_unsure_clock_never_loosens(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> None:
    sure, unsure = (evaluate(policy, device, replace(around, clock_sure=certain)) for certain in (True, False))

    assert not Change(device, sure, unsure).loosens


@settings(max_examples=150)
@given(policies, devices, surroundings)
def test_an_expired_policy_never_loosens(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> None:
    valid, expired = (evaluate(policy, device, replace(around, policy_expired=past)) for past in (False, True))

    assert not Change(device, valid, expired).loosens


@settings(max_examples=150)
@given(policies, devices, surroundings)
def test_losing_a_policy_never_loosens(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> None:
    assert not Change(device, evaluate(policy, device, around), evaluate(None, device, around)).loosens


@settings(max_examples=150)
@given(policies, devices, surroundings, st.integers(1, 200 * 3600))
def test_nothing_changes_by_time_before_the_verdict_says_so(
    policy: DevicePolicy, device: UsbDevice, around: Surroundings, seconds: int
) -> None:
    verdict = evaluate(policy, device, around)
    later = around.now + timedelta(seconds=seconds)
    if verdict.until is not None and later >= verdict.until:
        later = around.now + (verdict.until - around.now) * 0.999

    assert verdict.until is None or verdict.until > around.now
    assert evaluate(policy, device, replace(around, now=later)) == verdict

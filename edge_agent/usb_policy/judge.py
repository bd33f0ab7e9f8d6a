"""Judges a device by the policy in force, with all that the rules may ask for."""

from collections.abc import Callable
from datetime import timedelta, tzinfo

from edge_agent.usb_policy.acquaintance import Acquaintances
from edge_agent.usb_policy.warden import Company
from shared.clock import Clock
from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.history import history_after
from shared.devices.policy import DevicePolicy
from shared.devices.surroundings import RuleHistory, Surroundings
from shared.devices.verdict import Cause, Target, Verdict


class DeviceJudge:
    """`policy` returns the one in force, `is_pinned` whether a device is a console's own.

    `certain` returns two things: whether the clock is sure, and whether the policy has expired.
    """

    def __init__(
        self,
        policy: Callable[[], DevicePolicy | None],
        is_pinned: Callable[[UsbDevice], bool],
        certain: Callable[[], tuple[bool, bool]],
        acquaintances: Acquaintances,
        *,
        clock: Clock,
        uptime: Callable[[], timedelta],
        zone: tzinfo,
        random: Callable[[], float],
    ) -> None:
        self._policy, self._is_pinned, self._certain, self._acquaintances = policy, is_pinned, certain, acquaintances
        self._clock, self._uptime, self._zone, self._random = clock, uptime, zone, random
        self._history, self._history_of = RuleHistory(), policy()
        self._drawn: dict[str, tuple[timedelta, list[float]]] = {}  # by port: since when, and its random numbers

    def judge(self, device: UsbDevice, company: Company) -> Verdict:
        """Return the verdict now. Raises DatabaseUnavailable, DatabaseDamaged."""
        if not device.is_root_hub and self._is_pinned(device):
            return Verdict(Target.ALLOW, Cause.PINNED_CONSOLE)
        policy = self._policy()
        if policy is not self._history_of:
            self._history, self._history_of = _still_asked(self._history, policy), policy
        attached, drawn = self._drawn.setdefault(device.port, (self._uptime(), []))
        around = self._around(device, company, attached, _again(drawn, self._random))
        verdict = evaluate(policy, device, around)
        self._history = history_after(policy, device, around, verdict)
        return verdict

    def rehearse(self, device: UsbDevice) -> Verdict:
        """Return what would be decided about a device that is not there, and remember nothing of it.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        return evaluate(self._policy(), device, self._around(device, Company((), ()), self._uptime(), self._random))

    def _around(
        self, device: UsbDevice, company: Company, attached: timedelta, random: Callable[[], float]
    ) -> Surroundings:
        sure, expired = self._certain()
        return Surroundings(
            now=self._clock.now(),
            clock_sure=sure,
            policy_expired=expired,
            uptime=self._uptime(),
            attached=attached,
            present=company.before,
            allowed=company.allowed,
            remembered=self._acquaintances.remembered(device, attached),
            history=self._history,
            random=random,
            zone=self._zone,
        )

    def carried_out(self, device: UsbDevice, verdict: Verdict) -> None:
        """Take note of a device that was judged and treated so."""
        if verdict.target is Target.ALLOW and verdict.cause is not Cause.SUSPICIOUS and not verdict.is_observed:
            self._acquaintances.remember(device)

    def gone(self, device: UsbDevice) -> None:
        self._drawn.pop(device.port, None)
        self._acquaintances.went(device)


def _still_asked(history: RuleHistory, policy: DevicePolicy | None) -> RuleHistory:
    """Return the past of the rules that `policy` still has, so that it does not grow with every policy."""
    texts = {each.rule.text() for each in policy.rules if each.rule.conditions.values} if policy is not None else set()
    return RuleHistory(
        {text: past for text, past in history.applied.items() if text in texts},
        {text: past for text, past in history.evaluated.items() if text in texts},
    )


def _again(drawn: list[float], random: Callable[[], float]) -> Callable[[], float]:
    """Return what draws the numbers of this attachment from the first one on, and new ones past the last."""
    at = iter(range(1_000_000))

    def draw() -> float:
        number = next(at)
        if number == len(drawn):
            drawn.append(random())
        return drawn[number]

    return draw

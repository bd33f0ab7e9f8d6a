"""Decides about a USB device.  docs/formats/device-policy.md section 7 has the order of the causes."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared import clock
from shared.devices.conditions import changes, in_force, would_allow
from shared.devices.device import HID_CLASS, Interface, UsbDevice
from shared.devices.nearest import nearest
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.printable import printable
from shared.devices.rule import Attribute, Rule, RuleTarget, SetOperator
from shared.devices.surroundings import Surroundings
from shared.devices.suspicion import Sign, Suspicion, suspicions
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import MAX_DETAIL_CHARS

KEYBOARD = Interface(HID_CLASS, 1, 1)
_STRICTER = (Target.ALLOW, Target.BLOCK, Target.REJECT)


def evaluate(policy: DevicePolicy | None, device: UsbDevice, around: Surroundings) -> Verdict:
    """Return what is to be done with `device`, and why. Nothing in `around` loosens what `policy` says."""
    if device.is_root_hub:
        return Verdict(Target.ALLOW, Cause.ROOT_HUB)
    if policy is None:
        return Verdict(Target.BLOCK, Cause.NO_POLICY, detail="no policy is in force")
    verdict = _judge(policy, device, around)
    if policy.rescue is not None and verdict.target is not Target.ALLOW:
        verdict = _rescued(verdict, policy.rescue, device, around)
    return replace(verdict, detail=printable(verdict.detail, MAX_DETAIL_CHARS))


def _judge(policy: DevicePolicy, device: UsbDevice, around: Surroundings) -> Verdict:
    if device.problems:
        unreadable = Verdict(Target.BLOCK, Cause.UNREADABLE, detail=device.problems[0])
        return _observed(unreadable, policy.observe_until, around)
    search = _Search(policy, device, around)
    verdict = search.verdict()
    found = suspicions(device, around.present, around.remembered)
    if search.decided is not None:
        found = tuple(each for each in found if not _approves(search.decided.rule, each))
    return _suspected(verdict, found, policy, around) if found else verdict


def _suspected(verdict: Verdict, found: tuple[Suspicion, ...], policy: DevicePolicy, around: Surroundings) -> Verdict:
    why = "suspicious: " + "; ".join(map(str, found))
    if policy.suspicious is Target.ALLOW:
        return replace(verdict, detail=f"{why}; {verdict.detail}")
    would_be = verdict.would_be or verdict.target
    target = max(would_be, policy.suspicious, key=_STRICTER.index)
    suspected = Verdict(target, Cause.SUSPICIOUS, verdict.rule, why, until=verdict.until)
    return _observed(suspected, policy.observe_until, around)


def _approves(rule: Rule, suspicion: Suspicion) -> bool:
    """Return whether whoever wrote `rule` has approved exactly these descriptors and, for a twin, exactly this port."""
    if rule.target is not RuleTarget.ALLOW or not _names(rule.hash):
        return False
    return suspicion.sign is not Sign.TWIN or _names(rule.via_port)


def _names(attribute: Attribute[str]) -> bool:
    return bool(attribute.values) and attribute.operator is not SetOperator.NONE_OF


def _rescued(verdict: Verdict, rescue: Rescue, device: UsbDevice, around: Surroundings) -> Verdict:
    """Allow a keyboard that is nothing else in the named port, for so long after the start of the machine."""
    if device.problems or device.port != rescue.port or around.uptime is None:
        return verdict
    is_keyboard = KEYBOARD in device.interfaces and all(each.class_code == HID_CLASS for each in device.interfaces)
    left = timedelta(minutes=rescue.minutes) - around.uptime
    if not is_keyboard or left <= timedelta(0):
        return verdict
    instead = f"the rescue port, for {rescue.minutes} min after the start; otherwise {verdict.target}: {verdict.detail}"
    return Verdict(Target.ALLOW, Cause.RESCUE, verdict.rule, instead, until=around.now + left)


def _observed(verdict: Verdict, until: datetime | None, around: Surroundings) -> Verdict:
    """Record instead of doing, where that is said for this time."""
    if verdict.target is Target.ALLOW or until is None or around.is_lapsed or until <= around.now:
        return verdict
    return replace(verdict, target=Target.ALLOW, would_be=verdict.target, until=min(until, verdict.until or until))


@dataclass
class _Search:
    """The search for the first rule in force, and what is known of those that were passed over."""

    policy: DevicePolicy
    device: UsbDevice
    around: Surroundings
    decided: DeviceRule | None = None
    passed: list[tuple[int, DeviceRule]] = field(default_factory=list)  # their attributes apply; not in force
    uncertain: list[DeviceRule] = field(default_factory=list)  # of these, allowing ones that may be in force

    def verdict(self) -> Verdict:
        for position in self.policy.index.applying(self.device):
            rule = self.policy.rules[position]
            truth = in_force(rule, self.device, self.around)
            if truth or (truth is None and rule.target is not Target.ALLOW):
                self.decided = rule
                return self._by(rule, position + 1)
            self.passed.append((position + 1, rule))
            if truth is None:
                self.uncertain.append(rule)
        return self._default()

    def _by(self, rule: DeviceRule, number: int) -> Verdict:
        detail = " ".join(rule.rule.label.values) or rule.rule.text()
        verdict = Verdict(rule.target, Cause.RULE, number, detail, until=self._until(rule))
        if rule.target is not Target.ALLOW:
            return _observed(verdict, rule.observe_until, self.around)
        limiting = [rule, *self.uncertain]
        is_read_only = any(each.access is Access.READ_ONLY for each in limiting)
        encrypted = [each for each in limiting if each.only_encrypted]
        limits = [frozenset(each.interfaces) for each in limiting if each.interfaces]
        return replace(
            verdict,
            access=Access.READ_ONLY if is_read_only else Access.READ_WRITE,
            only_encrypted=bool(encrypted),
            hardware_encrypted=bool(encrypted) and all(each.hardware_encrypted for each in encrypted),
            interfaces=frozenset.intersection(*limits) if limits else None,
        )

    def _default(self) -> Verdict:
        for number, rule in self.passed:
            if rule.target is Target.ALLOW and would_allow(rule, self.device, self.around):
                target = max(Target.BLOCK, self.policy.default, key=_STRICTER.index)
                verdict = Verdict(target, Cause.LAPSED, number, _time_of(rule, number, self.around))
                break
        else:
            number, detail = nearest(self.policy, self.device, [number for number, _ in self.passed])
            verdict = Verdict(self.policy.default, Cause.DEFAULT, number, detail)
        return _observed(replace(verdict, until=self._until()), self.policy.observe_until, self.around)

    def _until(self, *decided: DeviceRule) -> datetime | None:
        looked_at = (*(rule for _, rule in self.passed), *decided)
        return min((each for rule in looked_at for each in changes(rule, self.device, self.around)), default=None)


def _time_of(rule: DeviceRule, number: int, around: Surroundings) -> str:
    if around.is_lapsed:
        why = "the policy has expired" if around.policy_expired else "the clock is not sure"
        return f"rule {number} allows it for a time, and {why}"
    first, last = (instant and clock.text(instant) for instant in (rule.not_before, rule.not_after))
    return f"rule {number} allows it" + (f" from {first}" if first else "") + (f" until {last}" if last else "")

"""Which of the devices that a host last reported another policy would treat otherwise. Decides only.

A report does not carry everything that rules look at: no descriptors' hash, no connect type, each interface once. What
a rule says of these is known only where the guard has judged by the very same rule. A policy is therefore a list of
outcomes, each under a rule of which nobody knows here whether it applies, and a last one where none of them does. Two
policies with the same list treat the device the same, whatever is true; what else is not certain is *not evaluated*.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from shared.canonical import Json
from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.matching import prepared
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import Attribute, InterfaceType, Rule, RuleTarget, SetOperator
from shared.devices.simulate import loosens, treatment
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import DeviceState, GuardReport, OtherDevice, OtherState

_MOST_INTERFACES = 16  # a report has room for so many, so with as many there may be more
_NOT_BY_RULES = (Cause.ROOT_HUB, Cause.PINNED_CONSOLE)
_DONE = {Target.ALLOW: "allowed", Target.BLOCK: "blocked", Target.REJECT: "rejected"}
_OTHER = {Target.ALLOW: OtherState.ALLOWED, Target.BLOCK: OtherState.NOT_ALLOWED, None: OtherState.NOT_EVALUATED}


@dataclass(frozen=True)
class DeviceDifference:
    """`then` is None where it cannot be told; `why` is the deciding reason, or why it cannot."""

    where: str  # a port, or the kind of another bus
    id: str
    name: str
    serial: str
    now: str
    then: str | None
    why: str
    loosens: bool

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class _Outcome:
    """What is done where the rule `given` applies and none before it did; None: where none of them does."""

    given: str | None  # what it asks, whatever it is called and does
    verdict: Verdict
    text: str = ""  # of that rule

    @property
    def key(self) -> object:
        return self.given, treatment(self.verdict)


class JudgedPolicy:
    """A policy made ready to be held against many reported devices. None: the guard has no policy."""

    def __init__(self, policy: DevicePolicy | None) -> None:
        self._policy = policy
        self._rules = [] if policy is None else [_Ready(rule) for rule in policy.rules]

    def learnt(self, state: DeviceState) -> Iterator[tuple[str, bool]]:
        """Yield of which rules the guard has found that they apply, or not, by its verdict under this policy."""
        if state.cause is Cause.RULE and 0 < state.rule <= len(self._rules):
            passed, decided = self._rules[: state.rule - 1], [self._rules[state.rule - 1]]
        elif state.cause is Cause.DEFAULT:
            passed, decided = self._rules, []
        else:
            return
        yield from ((rule.key, True) for rule in decided)
        # One that is for a time, or on a condition, may apply and was passed over all the same.
        yield from ((rule.key, False) for rule in passed if rule.is_always)

    def outcomes(self, device: UsbDevice, around: Surroundings, learnt: Mapping[str, bool]) -> tuple[_Outcome, ...]:
        if self._policy is None:
            return (_Outcome(None, evaluate(None, device, around)),)
        found: list[_Outcome] = []
        certain: list[DeviceRule] = []
        numbers: list[int] = []
        for number, rule in enumerate(self._rules, 1):
            applies = rule.applies(device, learnt)
            if applies is False:
                continue
            if applies is None:
                verdict = self._verdict([*certain, rule.stripped], [*numbers, number], device, around)
                found.append(_Outcome(rule.asked, verdict, rule.text))
                continue
            certain.append(rule.stripped)
            numbers.append(number)
            if rule.is_always:
                break
        last = _Outcome(None, self._verdict(certain, numbers, device, around))
        while found and treatment(found[-1].verdict) == treatment(last.verdict):
            found.pop()
        return (*found, last)

    def _verdict(self, rules: list[DeviceRule], numbers: list[int], device: UsbDevice, around: Surroundings) -> Verdict:
        assert self._policy is not None  # noqa: S101  asked by `outcomes`
        verdict = evaluate(replace(self._policy, rules=tuple(rules), rescue=None), device, around)
        return replace(verdict, rule=numbers[verdict.rule - 1] if verdict.cause is Cause.RULE else 0)


class _Ready:
    """A rule, and what of it can be held against a report."""

    def __init__(self, rule: DeviceRule) -> None:
        self._rule = rule
        whole = rule.rule
        self._reported: tuple[Callable[[UsbDevice], bool], ...] = prepared(
            Rule(whole.target, id=whole.id, serial=whole.serial, name=whole.name, via_port=whole.via_port)
        )
        self.is_always = not (whole.conditions.values or rule.not_before or rule.not_after)
        self._is_reported = not (
            whole.hash.values or whole.parent_hash.values or whole.with_connect_type.values or whole.conditions.values
        )
        label = whole.label if whole.label.values else Attribute((whole.text(),))
        # The id stays, for `hardware_encrypted` is said of the device of an id.
        self.stripped = replace(rule, rule=Rule(whole.target, id=whole.id, label=label))

    @cached_property
    def text(self) -> str:
        return self._rule.rule.text()

    @cached_property
    def asked(self) -> str:
        return replace(self._rule.rule, target=RuleTarget.ALLOW, label=Attribute()).text()

    @cached_property
    def key(self) -> str:
        """What the rule asks of a device itself, by which it is known again in another policy."""
        bare = replace(self._rule.rule, target=RuleTarget.ALLOW, label=Attribute(), conditions=Attribute())
        return bare.text()

    def applies(self, device: UsbDevice, learnt: Mapping[str, bool]) -> bool | None:
        """Return whether the rule is for the device; None: a report does not tell."""
        known = learnt.get(self.key)
        if known is None:
            interfaces = _interfaces(self._rule.rule.with_interface, device)
            if interfaces is False or not all(each(device) for each in self._reported):
                return False
            known = None if interfaces is None or not self._is_reported else True
        return None if known and self._rule.rule.conditions.values else known


def _interfaces(asked: Attribute[InterfaceType], device: UsbDevice) -> bool | None:
    """Return whether an attribute holds for a device of which each interface is known once, and of 16 perhaps not all.

    For equality the number counts as well; as many as there are different ones is taken to be all, as it mostly is.
    """
    if not asked.values:
        return True
    if len(device.interfaces) >= _MOST_INTERFACES:
        return None
    if asked.operator is SetOperator.EQUALS_ORDERED and len(asked.values) > 1:
        return None
    if asked.operator in (SetOperator.EQUALS, SetOperator.EQUALS_ORDERED) and len(asked.values) > len(
        device.interfaces
    ):
        return None if all(_is_there(value, device) for value in asked.values) else False
    return all(each(device) for each in prepared(Rule(RuleTarget.ALLOW, with_interface=asked)))


def _is_there(value: InterfaceType, device: UsbDevice) -> bool:
    return any(
        each(device)
        for each in prepared(Rule(RuleTarget.ALLOW, with_interface=Attribute((value,), SetOperator.ONE_OF)))
    )


def differences(
    report: GuardReport, before: JudgedPolicy, after: JudgedPolicy, now: datetime
) -> Iterator[DeviceDifference | None]:
    """Yield for each USB device of a report how it would be treated otherwise, or None: as now.

    `before` is the policy under which the guard made the report.
    """
    around = Surroundings(now, clock_sure=report.clock_sure)
    for state in report.devices:
        yield None if state.cause in _NOT_BY_RULES else _difference(state, before, after, around)


def _difference(
    state: DeviceState, before: JudgedPolicy, after: JudgedPolicy, around: Surroundings
) -> DeviceDifference | None:
    device, learnt = reported(state), dict(before.learnt(state))
    was, then = (policy.outcomes(device, around, learnt) for policy in (before, after))
    if [each.key for each in was] == [each.key for each in then]:
        return None
    if state.cause is Cause.SUSPICIOUS:
        return _told(state, None, "it is suspicious now, and whether it still would be is not known here")
    if len(then) > 1:
        return _told(state, None, f"no report tells whether this rule is for it: {then[0].text}")
    verdict = _effective(then[0].verdict, state.cause)
    possible = [each for each in (_effective(one.verdict, state.cause) for one in was) if _may_be(each, state)]
    is_same = {treatment(each) == treatment(verdict) for each in possible}
    if is_same == {True}:
        return None
    if is_same != {False}:
        return _told(state, None, "no report tells which rule of the policy it has now is for it")
    return _told(state, verdict, _reason(verdict), is_looser=any(loosens(each, verdict) for each in possible))


def _may_be(verdict: Verdict, state: DeviceState) -> bool:
    """Return whether a report says nothing else than that `verdict` was the guard's."""
    is_by_it = state.cause is not Cause.RULE or verdict.rule == state.rule
    return is_by_it and _shown(verdict) == (state.target, state.would_be, state.access)


def _effective(verdict: Verdict, cause: Cause) -> Verdict:
    """Return what becomes of storage that was found not to be encrypted, or not to take read-only."""
    is_found_out = (cause is Cause.NOT_ENCRYPTED and verdict.only_encrypted and not verdict.hardware_encrypted) or (
        cause is Cause.NOT_READ_ONLY and verdict.access is Access.READ_ONLY
    )
    return Verdict(Target.BLOCK, cause, verdict.rule) if is_found_out else verdict


def reported(state: DeviceState) -> UsbDevice:
    """Return a device as far as a report tells of it; it has no descriptors' hash and each interface once."""
    vendor, _, product = state.id.partition(":")
    problems = (state.detail or "unreadable",) if state.cause is Cause.UNREADABLE else ()
    return UsbDevice(
        port=state.port, parent=state.parent, vendor=int(vendor, 16), product=int(product, 16), name=state.name,
        serial=state.serial, fingerprint="", parent_fingerprint="", interfaces=tuple(_parsed(state.interfaces)),
        connect_type=ConnectType.NONE, problems=problems,
    )  # fmt: skip


def _parsed(interfaces: str) -> Iterator[Interface]:
    for text in interfaces.split():
        class_code, subclass, protocol = (int(part, 16) for part in text.split(":"))
        yield Interface(class_code, subclass, protocol)


def _shown(verdict: Verdict) -> tuple[Target, Target, Access]:
    return verdict.target, verdict.would_be or verdict.target, verdict.access


def _told(state: DeviceState, verdict: Verdict | None, why: str, *, is_looser: bool = False) -> DeviceDifference:
    now = _words(state.target, state.would_be, state.access)
    then = None if verdict is None else _words(*_shown(verdict)) + _limits(verdict)
    return DeviceDifference(state.port, state.id, state.name, state.serial, now, then, why, is_looser)


def _words(target: Target, would_be: Target, access: Access) -> str:
    observed = f", only recorded that it would be {_DONE[would_be]}" if would_be is not target else ""
    return _DONE[target] + (", read-only" if access is Access.READ_ONLY else "") + observed


def _limits(verdict: Verdict) -> str:
    encrypted = ", only if it is encrypted" if verdict.only_encrypted else ""
    return encrypted + (", not with all its interfaces" if verdict.interfaces is not None else "")


def _reason(verdict: Verdict) -> str:
    return f"rule {verdict.rule}: {verdict.detail}" if verdict.rule else f"no rule is for it ({verdict.cause.value})"


def other_differences(report: GuardReport, after: DevicePolicy | None) -> Iterator[DeviceDifference]:
    """Yield what of other buses would be told otherwise; nothing is ever prevented there."""
    for other in report.others:
        then = _other_state(other, after)
        if then is not other.state:
            is_looser, was, now = then is OtherState.ALLOWED, other.state.words, then.words
            yield DeviceDifference(other.kind, "", other.name, "", was, now, "devices.others", is_looser)


def _other_state(other: OtherDevice, after: DevicePolicy | None) -> OtherState:
    if other.state is OtherState.WITH_USB_DEVICE:
        return other.state
    return _OTHER[None if after is None else after.others.of(other.kind)]

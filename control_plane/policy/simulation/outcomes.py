"""What a policy does with a device of which not everything is known. Decides only.

A report does not carry everything that rules look at: no connect type, each interface once, and the descriptors' hash
only where a record of its attachment has it. What a rule says of these is known only where the guard has judged by the
very same rule. A policy is therefore a list of outcomes, each under a rule of which nobody knows here whether it is for
the device, and a last one where none is. Two policies with the same list treat it the same, whatever is true.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.matching import Applies, prepared
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import Attribute, InterfaceType, Rule, RuleTarget, SetOperator
from shared.devices.simulate import treatment
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Cause, Verdict
from shared.fleet.devices import DeviceState

_MOST_INTERFACES = 16  # a report has room for so many, so with as many there may be more


@dataclass(frozen=True)
class Outcome:
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

    def outcomes(self, device: UsbDevice, around: Surroundings, learnt: Mapping[str, bool]) -> tuple[Outcome, ...]:
        if self._policy is None:
            return (Outcome(None, evaluate(None, device, around)),)
        found: list[Outcome] = []
        certain: list[DeviceRule] = []
        numbers: list[int] = []
        for number, rule in enumerate(self._rules, 1):
            applies = rule.applies(device, learnt)
            if applies is False:
                continue
            if applies is None:
                verdict = self._verdict([*certain, rule.stripped], [*numbers, number], device, around)
                found.append(Outcome(rule.asked, verdict, rule.text))
                continue
            certain.append(rule.stripped)
            numbers.append(number)
            if rule.is_always:
                break
        last = Outcome(None, self._verdict(certain, numbers, device, around))
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
        self._reported = prepared(
            Rule(whole.target, id=whole.id, serial=whole.serial, name=whole.name, via_port=whole.via_port)
        )
        self.is_always = not (whole.conditions.values or rule.not_before or rule.not_after)
        self._hash = prepared(Rule(whole.target, hash=whole.hash))
        self._parent_hash = prepared(Rule(whole.target, parent_hash=whole.parent_hash))
        self._is_told = not (whole.with_connect_type.values or whole.conditions.values)
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
            parts = (
                _interfaces(self._rule.rule.with_interface, device),
                all(each(device) for each in self._reported),
                _if_known(self._hash, device, device.fingerprint),
                _if_known(self._parent_hash, device, device.parent_fingerprint),
            )
            if False in parts:
                return False
            known = None if None in parts or not self._is_told else True
        return None if known and self._rule.rule.conditions.values else known


def _if_known(asked: Sequence[Applies], device: UsbDevice, own: str) -> bool | None:
    return None if asked and not own else all(each(device) for each in asked)


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

"""Says in words what a policy allows to be plugged in, and what of it may not be meant."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from shared import clock
from shared.devices.device import HID_CLASS, HUB_CLASS, STORAGE_CLASS, Interface
from shared.devices.others import OtherKind
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.printable import printable
from shared.devices.rule import Attribute, DeviceId, InterfaceType, Rule, SetOperator, Value
from shared.devices.verdict import Access, Target
from shared.fleet.devices import OtherState

_KEYBOARD = Interface(HID_CLASS, 1, 1)
_CLASSES = {
    0x01: "audio",
    0x02: "communications",
    HID_CLASS: "an input device",
    0x06: "a camera",
    0x07: "a printer",
    STORAGE_CLASS: "storage",
    HUB_CLASS: "a hub",
    0x0A: "communications data",
    0x0B: "a smart card reader",
    0x0E: "video",
    0xE0: "wireless",
    0xEF: "miscellaneous",
    0xFE: "application-specific",
    0xFF: "vendor-specific",
}
_INTERFACES = {_KEYBOARD: "a keyboard", Interface(HID_CLASS, 1, 2): "a pointer"}
_DONE = {Target.ALLOW: "allowed", Target.BLOCK: "blocked", Target.REJECT: "blocked and taken off the bus"}
_OTHERS = {
    OtherKind.BLOCK: "disks",
    OtherKind.INPUT: "keyboards, pointers and other input",
    OtherKind.NET: "network interfaces",
    OtherKind.OPTICAL: "optical drives and discs",
    OtherKind.PCI: "PCI devices",
    OtherKind.SD: "memory cards",
    OtherKind.THUNDERBOLT: "Thunderbolt devices",
}
_OTHER_STATES = {Target.ALLOW: OtherState.ALLOWED, Target.BLOCK: OtherState.NOT_ALLOWED}
_BUILT_IN = (OtherKind.BLOCK, OtherKind.INPUT, OtherKind.NET, OtherKind.PCI)  # every machine has some of each
_MAX_TEXT_CHARS, _HASH_CHARS = 64, 8
_LANGUAGES = {"en": "English", "zh": "Chinese"}


def describe_devices(policy: DevicePolicy) -> list[str]:
    """Return lines for a person who is about to sign this."""
    lines = ["what may be plugged in, the first line that holds"]
    lines += [f"  {number}. {device_rule_words(rule)}" for number, rule in enumerate(policy.rules, 1)]
    lines.append(f"  {len(policy.rules) + 1}. any other device: {_done(policy.default, policy.observe_until)}")
    if policy.suspicious is Target.ALLOW:
        lines.append("a device that seems to be another than before: recorded, and the lines above decide")
    else:
        lines.append(f"a device that seems to be another than before: {_DONE[policy.suspicious]}, whatever they say")
    if policy.rescue is not None:
        rescue = policy.rescue
        lines.append(f"rescue: a keyboard in port {rescue.port} works for {rescue.minutes} min after a start")
    if policy.others.named:
        lines.append("what may be there that does not hang on the USB; of other kinds nothing is evaluated")
        lines += [f"  {_OTHERS[kind]}: {_OTHER_STATES[target].words}" for kind, target in policy.others.named]
    lines.append(f"the technologist reads {_LANGUAGES[policy.language]}" + _contact(policy.contact))
    return lines


def doubts_of_devices(policy: DevicePolicy) -> Iterator[str]:
    """Yield what the rules allow and their author may not mean."""
    if policy.default is Target.ALLOW:
        yield "devices.default is allow: whatever no rule names works, also what was never seen before"
    elif not any(may_be(rule.rule, _is_class(HUB_CLASS)) for rule in policy.rules if rule.target is Target.ALLOW):
        yield "devices: no rule allows a hub, so nothing behind one works; many machines have one inside"
    yield from _doubts_of_rules(policy)


def doubts_of_part_devices(policy: DevicePolicy) -> Iterator[str]:
    """Yield what the rules of a part allow and their author may not mean, or what of it may be without effect."""
    for name in ("default", "suspicious"):
        if getattr(policy, name) is Target.ALLOW:
            yield f"devices.{name} is allow: that does nothing unless the organisation's policy says allow too"
    if policy.observe_until is not None:
        yield "devices.observe_until does nothing unless the organisation's policy has one; the earlier one counts"
    yield from _doubts_of_rules(policy)


def _doubts_of_rules(policy: DevicePolicy) -> Iterator[str]:
    for number, rule in enumerate(policy.rules, 1):
        hidden_by = next((n for n, earlier in enumerate(policy.rules[: number - 1], 1) if hides(earlier, rule)), None)
        if hidden_by is not None:
            yield f"devices, rule {number} is never reached: rule {hidden_by} matches whatever it does"
        elif rule.target is Target.ALLOW:
            yield from (f"devices, rule {number} {doubt}" for doubt in _doubts_of(rule))
    for kind in _BUILT_IN:
        if policy.others.of(kind) is Target.BLOCK:
            yield f"devices.others.{kind} is block: what is built into the machine is then not allowed either"


def _doubts_of(allowing: DeviceRule) -> Iterator[str]:
    rule = allowing.rule
    if not rule.via_port.values and may_be(rule, _can_type):
        yield "allows a keyboard in any port, so whatever says that it is this one may type; name its via-port"
    if not may_be(rule, _is_class(STORAGE_CLASS)):
        return
    if rule.serial.values and not rule.hash.values and not rule.id.values:
        yield "allows storage by its serial number alone, which anybody can copy; name its id and hash"
    if allowing.hardware_encrypted and not (rule.serial.values or rule.hash.values):
        yield "believes every device of this id that it encrypts in hardware; name its serial number or hash"
    if allowing.access is Access.READ_WRITE and not allowing.only_encrypted:
        yield (
            "allows storage to be written in clear, so images can be carried off; say only_encrypted: true, or "
            "access: read-only"
        )


def may_be(rule: Rule, is_meant: Callable[[InterfaceType], bool]) -> bool:
    """Return whether the rule applies to some device with an interface that is meant, as far as its text shows.

    A rule that names no interfaces leaves them open, unless it names the descriptors by their hash.
    """
    named = rule.with_interface
    if not named.values:
        return not rule.hash.values
    if named.operator is SetOperator.NONE_OF:
        return not any(is_meant(value) and value.subclass is None for value in named.values)
    return any(is_meant(value) for value in named.values)


def hides(earlier: DeviceRule, later: DeviceRule) -> bool:
    """Return whether `earlier` decides wherever `later` could, as far as their texts show."""
    if earlier.rule.conditions.values or earlier.not_before or earlier.not_after:
        return False
    first, second = earlier.rule, later.rule
    texts = (
        (first.serial, second.serial),
        (first.name, second.name),
        (first.hash, second.hash),
        (first.parent_hash, second.parent_hash),
        (first.via_port, second.via_port),
        (first.with_connect_type, second.with_connect_type),
    )
    return (
        all(_includes(one, other) for one, other in texts)
        and (_includes(first.id, second.id) or _includes_ids(first.id, second.id))
        and _includes(first.with_interface, second.with_interface)
    )


def _includes(first: Attribute[Value], second: Attribute[Value]) -> bool:
    return not first.values or first == second


def _includes_ids(first: Attribute[DeviceId], second: Attribute[DeviceId]) -> bool:
    if len(first.values) != 1 or len(second.values) != 1 or SetOperator.NONE_OF in (first.operator, second.operator):
        return False
    (wide,), (narrow,) = first.values, second.values
    return wide.vendor in (None, narrow.vendor) and wide.product in (None, narrow.product)


def _is_class(class_code: int) -> Callable[[InterfaceType], bool]:
    return lambda value: value.class_code == class_code


def _can_type(value: InterfaceType) -> bool:
    """Not only a boot keyboard: an input device of no subclass is what its reports say, and they may be keys."""
    return value.class_code == HID_CLASS and (value.subclass, value.protocol) != (1, 2)


def device_rule_words(rule: DeviceRule) -> str:
    parts = [f"{_what(rule.rule)}: {_done(rule.target, rule.observe_until)}"]
    if rule.access is Access.READ_ONLY:
        parts.append("read-only")
    if rule.only_encrypted:
        asserted = "as encrypting in hardware, which nobody can measure"
        parts.append(asserted if rule.hardware_encrypted else "only if it is encrypted")
    if rule.interfaces:
        parts.append(f"of its interfaces only {_joined(map(_own_interface, rule.interfaces), 'and')}")
    if rule.not_before is not None:
        parts.append(f"from {_time(rule.not_before)}")
    if rule.not_after is not None:
        parts.append(f"until {_time(rule.not_after)}")
    if rule.rule.conditions.values:
        parts.append(f"if {_set(rule.rule.conditions, str)}")
    return ", ".join(parts)


def _what(rule: Rule) -> str:
    parts: list[str] = []
    if rule.id.values:
        parts.append(f"with id {_set(rule.id, str)}")
    if rule.with_interface.values:
        parts.append(f"that is {_set(rule.with_interface, _interface)}")
    for name, attribute in (
        ("named", rule.name),
        ("with serial number", rule.serial),
        ("in port", rule.via_port),
        ("in a port that is", rule.with_connect_type),
    ):
        if attribute.values:
            parts.append(f"{name} {_set(attribute, _quoted)}")
    for name, hashes in (("whose descriptors", rule.hash), ("behind a hub whose descriptors", rule.parent_hash)):
        if hashes.values:
            parts.append(f"{name} have the hash {_set(hashes, _shortened)}")
    label = f" ({_quoted(' '.join(rule.label.values))})" if rule.label.values else ""
    return ", ".join([f"a device {parts[0]}", *parts[1:]]) + label if parts else f"every device{label}"


def _done(target: Target, observe_until: datetime | None) -> str:
    if observe_until is None or target is Target.ALLOW:
        return _DONE[target]
    return f"{_DONE[target]}, but until {_time(observe_until)} only recorded and let through"


def _set(attribute: Attribute[Value], shown: Callable[[Value], str]) -> str:
    values = [shown(value) for value in attribute.values]
    match attribute.operator:
        case SetOperator.ONE_OF:
            return _joined(values, "or")
        case SetOperator.NONE_OF:
            return f"not {_joined(values, 'or')}"
        case SetOperator.ALL_OF:
            return f"{_joined(values, 'and')}, perhaps with more"
        case SetOperator.MATCH_ALL:
            return f"nothing but {_joined(values, 'and')}"
        case SetOperator.EQUALS_ORDERED:
            return f"{_joined(values, 'and')} in this order"
        case SetOperator.EQUALS:
            return _joined(values, "and")


def _joined(values: Iterable[str], last: str) -> str:
    listed = list(dict.fromkeys(values))
    return f" {last} ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def _interface(value: InterfaceType) -> str:
    if value.subclass is not None and value.protocol is not None:
        return _own_interface(Interface(value.class_code, value.subclass, value.protocol))
    return f"{_CLASSES.get(value.class_code, 'something')} ({value})"


def _own_interface(value: Interface) -> str:
    return f"{_INTERFACES.get(value) or _CLASSES.get(value.class_code, 'something')} ({value})"


def _quoted(text: str) -> str:
    return f'"{printable(text, _MAX_TEXT_CHARS)}"'


def _shortened(text: str) -> str:
    return f"{printable(text, _HASH_CHARS)}…"


def _time(instant: datetime) -> str:
    return clock.text(instant).replace(".000000", "")


def _contact(contact: str) -> str:
    return f", and is told to call {contact}" if contact else ", and nobody to call"

"""Devices, policies and surroundings for the tests of rules, and strategies that draw them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule, parse_rules
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import (
    Attribute,
    Condition,
    DeviceId,
    InterfaceType,
    Rule,
    RuleTarget,
    SetOperator,
)
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Target

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
AROUND = Surroundings(NOW, uptime=timedelta(hours=1))


def interface(text: str) -> Interface:
    class_code, subclass, protocol = (int(part, 16) for part in text.split(":"))
    return Interface(class_code, subclass, protocol)


def interfaces(text: str) -> tuple[Interface, ...]:
    return tuple(map(interface, text.split()))


STICK = UsbDevice(
    port="1-1",
    parent="usb1",
    vendor=0x0781,
    product=0x5583,
    name="Ultra Fit",
    serial="4C53",
    fingerprint="aFuQ7BLj0Xrz1knYCPG+xvKofw+iufU0TiAEQzZJkMw=",
    parent_fingerprint="ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=",
    interfaces=interfaces("08:06:50"),
    connect_type=ConnectType.HOTPLUG,
)
KEYBOARD = replace(
    STICK, port="1-2", vendor=0x046D, product=0xC31C, name="Keyboard", serial="", fingerprint="kkk=",
    interfaces=interfaces("03:01:01 03:00:00"),
)  # fmt: skip
ROOT_HUB = replace(
    STICK, port="usb1", parent="", vendor=0x1D6B, product=2, name="xHCI Host Controller", serial="0000:00:14.0",
    fingerprint="ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=", parent_fingerprint="rV9b=",
    interfaces=interfaces("09:00:00"), connect_type=ConnectType.NONE,
)  # fmt: skip


def policy(rules: str, *, default: Target = Target.BLOCK, suspicious: Target = Target.BLOCK) -> DevicePolicy:
    return DevicePolicy(tuple(map(DeviceRule, parse_rules(rules))), default=default, suspicious=suspicious)


# ---- strategies: few different values, so that what is drawn often matches

_texts = st.sampled_from(["", "A", "B", "1-1", "1-2", "hotplug", 'q"\\', "\x01\x7f", "ü", "\udcff"])
_own_texts = st.sampled_from(["", "A", "B", 'q"\\', "\ufffd\ufffd", "ü"])
_bytes = st.sampled_from([0, 1, 3, 8, 0x50, 0xFF])
_vendors = st.sampled_from([0x1234, 0xABCD])
device_ids = st.builds(DeviceId, _vendors, _vendors | st.none()) | st.just(DeviceId(None, None))
interface_types = st.one_of(
    st.builds(InterfaceType, _bytes),
    st.builds(InterfaceType, _bytes, _bytes),
    st.builds(InterfaceType, _bytes, _bytes, _bytes),
)


def _conditions() -> st.SearchStrategy[Condition]:
    texts = (
        "true", "!true", "false", "!false", "random", "random(0.25)", "!random(1)", "localtime(11:00-13:00)",
        "!localtime(00:00-11:59)", "localtime(20:00-23:59)", "rule-applied", "!rule-applied(10)",
        "rule-evaluated(1:00)", "!rule-evaluated", 'allowed-matches(with-interface one-of { 03:*:* })',
        '!allowed-matches(name "A")', "allowed-matches(id *:*)",
    )  # fmt: skip
    return st.sampled_from([parse_rule(f"allow if {text}").conditions.values[0] for text in texts])


conditions = _conditions()
operators = st.sampled_from(list(SetOperator))
Drawn = TypeVar("Drawn", DeviceId, InterfaceType, Condition, str)


def attributes(values: st.SearchStrategy[Drawn], most: int = 3) -> st.SearchStrategy[Attribute[Drawn]]:
    """Draw an attribute that is there, in about a third of all cases, or one that is not."""
    present = st.builds(Attribute, st.lists(values, min_size=1, max_size=most).map(tuple), operators)
    absent: st.SearchStrategy[Attribute[Drawn]] = st.just(Attribute())
    return st.one_of(absent, absent, present)


def _without_match_all(attribute: Attribute[Condition]) -> Attribute[Condition]:
    return replace(attribute, operator=SetOperator.ALL_OF) if attribute.operator is SetOperator.MATCH_ALL else attribute


rules = st.builds(
    Rule,
    st.sampled_from([RuleTarget.ALLOW, RuleTarget.BLOCK, RuleTarget.REJECT]),
    id=attributes(device_ids),
    serial=attributes(_texts),
    name=attributes(_texts),
    hash=attributes(_texts),
    parent_hash=attributes(_texts),
    via_port=attributes(_texts),
    with_interface=attributes(interface_types),
    conditions=attributes(conditions).map(_without_match_all),
    with_connect_type=attributes(_texts),
    label=attributes(_texts),
)
devices = st.builds(
    UsbDevice,
    port=st.sampled_from(["1-1", "1-2"]),
    parent=st.just("usb1"),
    vendor=_vendors,
    product=_vendors,
    name=_own_texts,
    serial=_own_texts,
    fingerprint=_own_texts,
    parent_fingerprint=_own_texts,
    interfaces=st.lists(st.builds(Interface, _bytes, _bytes, _bytes), max_size=3).map(tuple),
    connect_type=st.sampled_from(list(ConnectType)),
)
_edges = st.none() | st.integers(-3, 3).map(lambda hours: NOW + timedelta(hours=hours))


@st.composite
def device_rules(draw: st.DrawFn) -> DeviceRule:
    rule = draw(rules)
    first, last = draw(_edges), draw(_edges)
    if first and last and first >= last:
        last = first + timedelta(hours=1)
    if rule.target is RuleTarget.ALLOW:
        kept = draw(st.sampled_from(["", "03:01:01", "03:00:00 03:01:01", "08:06:50"]))
        access, encrypted = draw(st.sampled_from(list(Access))), draw(st.booleans())
        in_hardware = encrypted and bool(rule.id.values) and draw(st.booleans())
        return DeviceRule(rule, first, last, access, encrypted, interfaces(kept), hardware_encrypted=in_hardware)
    return DeviceRule(rule, first, last, observe_until=draw(_edges))


other_kinds = st.dictionaries(st.sampled_from(OtherKind), st.sampled_from([Target.ALLOW, Target.BLOCK])).map(
    lambda said: OtherKinds(tuple(sorted(said.items())))
)
policies = st.builds(
    DevicePolicy,
    st.lists(device_rules(), max_size=6).map(tuple),
    st.sampled_from(list(Target)),
    _edges,
    st.sampled_from(list(Target)),
    others=other_kinds,
)
surroundings = st.builds(
    Surroundings,
    now=st.integers(-4 * 3600, 4 * 3600).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    clock_sure=st.booleans(),
    policy_expired=st.booleans(),
    uptime=st.just(timedelta(hours=1)),
    allowed=st.lists(devices, max_size=2).map(tuple),
    present=st.lists(devices, max_size=2).map(tuple),
    random=st.sampled_from([0.0, 0.4, 0.9]).map(lambda number: lambda: number),
)

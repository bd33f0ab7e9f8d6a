"""Reads what may be plugged in: `devices`, whose rules are USBGuard's as `usbguard generate-policy` prints them.

rules: |                      a block of lines, as in a rules file
rules: [...]                  or a list, each a rule or a mapping of the rule and what stands beside it
rules_file: usb-rules.conf    or a file of such lines in the policy's own folder
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import yaml

from control_plane.policy.file.problems import Problem
from control_plane.policy.file.values import Section, Value
from shared.devices.device import Interface
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import MAX_RULES, RuleMalformed, parse_rules
from shared.devices.policy import (
    MAX_CONTACT_CHARS,
    MAX_INTERFACES,
    MAX_RESCUE_MINUTES,
    PORT_PATTERN,
    DevicePolicy,
    DeviceRule,
    Rescue,
)
from shared.devices.rule import Rule
from shared.devices.verdict import Access, Target
from shared.errors import Malformed, Refused

ReadBeside: TypeAlias = Callable[[str], bytes]  # raises Refused: there is no such file, or it is none to read

_BESIDE_A_RULE = (
    "not_before",
    "not_after",
    "access",
    "only_encrypted",
    "hardware_encrypted",
    "interfaces",
    "observe_until",
)
_OPTIONAL = (
    "rules",
    "rules_file",
    "default",
    "observe_until",
    "suspicious",
    "rescue",
    "contact",
    "language",
    "others",
)
_RULE_PATTERN = r"[^\x00-\x08\x0a-\x1f\x7f]+"
_RULE_EXPECTED = "expected a rule on one line, such as allow id 046d:c31c with-interface 03:01:01"
_FILE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_FILE_EXPECTED = "expected the name of a file beside this one: letters, digits, dot, hyphen, no folder"


def read_devices(value: Value, read_beside: ReadBeside) -> DevicePolicy:
    section = value.section((), _OPTIONAL)
    default, suspicious, rescue, language = (section.get(n) for n in ("default", "suspicious", "rescue", "language"))
    observe, others = section.get("observe_until"), section.get("others")
    return DevicePolicy(
        rules=_rules(value, section, read_beside),
        default=Target.BLOCK if default is None else Target(default.choice(Target)),
        observe_until=None if observe is None else observe.instant(),
        suspicious=Target.BLOCK if suspicious is None else Target(suspicious.choice(Target)),
        rescue=None if rescue is None else _rescue(rescue),
        contact=section.text(
            "contact",
            rf"[^\x00-\x1f\x7f]{{1,{MAX_CONTACT_CHARS}}}",
            f"expected 1 to {MAX_CONTACT_CHARS} characters on one line, whom the technologist shall call",
        ),
        language="en" if language is None else language.choice(("en", "zh")),
        others=OtherKinds() if others is None else _others(others),
    )


def _rules(at: Value, section: Section, read_beside: ReadBeside) -> tuple[DeviceRule, ...]:
    rules, file = section.get("rules"), section.get("rules_file")
    if (rules is None) == (file is None):
        at.problem("expected one of the fields rules, rules_file; no rule is written as rules: []")
        return ()
    if file is not None:
        return tuple(_from_file(file, read_beside))
    assert rules is not None  # noqa: S101  one of the two is there
    if isinstance(rules.node, yaml.ScalarNode):
        return tuple(_from_block(rules))
    return tuple(rule for item in rules.items(MAX_RULES) for rule in _from_item(item))


def _from_block(value: Value) -> Iterator[DeviceRule]:
    expected = "expected a block of rules, one a line, that begins with |, or a list of rules"
    if isinstance(value.node, yaml.ScalarNode) and value.node.style != "|":
        value.problem(expected)
        return
    text = value.text(r"[^\x00-\x08\x0b-\x1f\x7f]*", expected)
    yield from _lines(value, text, "", value.line)


def _from_file(value: Value, read_beside: ReadBeside) -> Iterator[DeviceRule]:
    name = value.text(_FILE_PATTERN, _FILE_EXPECTED)
    if not name:
        return
    try:
        text = read_beside(name).decode("utf-8", "surrogateescape")
    except Refused as exc:
        value.problem(str(exc))
        return
    yield from _lines(value, text.replace("\r\n", "\n"), f"{name}, ", None)


def _lines(value: Value, text: str, source: str, begins_after: int | None) -> Iterator[DeviceRule]:
    """Read one rule a line. `begins_after` is the line of this file in front of the first; None: they are elsewhere."""
    number = 0
    for within, line in enumerate(text.split("\n"), 1):
        at = value.line if begins_after is None else begins_after + within
        for rule in _parsed(value, line, at, f"{source}line {within}{' of the block' * (begins_after is not None)}, "):
            number += 1
            if number > MAX_RULES:
                value.problems.append(Problem(at, value.field, f"expected at most {MAX_RULES} rules"))
                return
            try:
                yield DeviceRule(rule)
            except Malformed as exc:
                value.problems.append(Problem(at, value.field, f"{source}line {within}: {exc.why}"))


def _parsed(value: Value, text: str, line: int, place: str) -> tuple[Rule, ...]:
    """Return the rule of a line, or none where the line has none or it is a problem."""
    try:
        return parse_rules(text)
    except RuleMalformed as exc:
        found = exc.why.partition(", ")[2]  # without the line, which here is the first of one
        value.problems.append(Problem(line, value.field, place + found))
        return ()


def _from_item(item: Value) -> Iterator[DeviceRule]:
    if isinstance(item.node, yaml.ScalarNode):
        for rule in _rule(item):
            yield from _made(item, rule)
        return
    section = item.section(("rule",), _BESIDE_A_RULE)
    text = section.get("rule")
    access, encrypted, asserted = (section.get(n) for n in ("access", "only_encrypted", "hardware_encrypted"))
    not_before, not_after, observe = (section.get(n) for n in ("not_before", "not_after", "observe_until"))
    beside = {
        "not_before": None if not_before is None else not_before.instant(),
        "not_after": None if not_after is None else not_after.instant(),
        "access": Access.READ_WRITE if access is None else Access(access.choice(Access)),
        "only_encrypted": encrypted is not None and encrypted.flag(),
        "hardware_encrypted": asserted is not None and asserted.flag(),
        "interfaces": _interfaces(section),
        "observe_until": None if observe is None else observe.instant(),
    }
    for rule in () if text is None else _rule(text):
        yield from _made(item, rule, **beside)


def _made(item: Value, rule: Rule, **beside: object) -> Iterator[DeviceRule]:
    try:
        yield DeviceRule(rule, **beside)  # type: ignore[arg-type]
    except Malformed as exc:
        item.problem(exc.why)


def _rule(value: Value) -> tuple[Rule, ...]:
    text = value.text(_RULE_PATTERN, _RULE_EXPECTED)
    if not text:
        return ()
    before = len(value.problems)
    rules = _parsed(value, text, value.line, "")
    if not rules and len(value.problems) == before:
        value.problem(_RULE_EXPECTED)  # a comment, or blanks
    return rules


def _interfaces(section: Section) -> tuple[Interface, ...]:
    found = section.texts(
        "interfaces",
        r"[0-9a-f]{2}(:[0-9a-f]{2}){2}",
        "expected an interface such as 03:01:01, in quotes: class, subclass, protocol",
        MAX_INTERFACES,
    )
    return tuple(sorted(Interface(*(int(part, 16) for part in text.split(":"))) for text, _ in found))


def _rescue(value: Value) -> Rescue | None:
    section = value.section(("port", "minutes"))
    port = section.text("port", PORT_PATTERN, "expected a port as the kernel names it, such as 1-1.2")
    minutes = section.number("minutes", MAX_RESCUE_MINUTES)
    return Rescue(port, minutes) if port and minutes else None


def _others(value: Value) -> OtherKinds:
    section = value.section((), list(OtherKind))
    said = [(kind, section.get(kind)) for kind in OtherKind]
    targets = (Target.ALLOW, Target.BLOCK)
    return OtherKinds(tuple((kind, Target(at.choice(targets))) for kind, at in said if at is not None))

"""Reads USBGuard's rule language.  docs/formats/device-policy.md

One rule a line. What is accepted is what `usbguard-rule-parser` 1.1 accepts, but for the cases that the format page
lists, where it accepts what it then evaluates as something else or not at all.
"""

import re
from collections.abc import Callable
from datetime import timedelta

from shared.devices.arguments import day_time, duration, probability
from shared.devices.printable import printable
from shared.devices.rule import (
    Attribute,
    Condition,
    ConditionName,
    DayTime,
    DeviceId,
    InterfaceType,
    Rule,
    RuleTarget,
    SetOperator,
    Value,
)
from shared.errors import Malformed

MAX_RULE_CHARS, MAX_RULES, MAX_VALUES, MAX_CONDITIONS = 8192, 10_000, 256, 64
_SHOWN_CHARS = 32

_BLANKS = re.compile(r"[ \t]+")
_WORD = re.compile(r"[a-z-]+")
_ID = re.compile(r"([0-9A-Fa-f]{4}|\*):([0-9A-Fa-f]{4}|\*)")
_INTERFACE = re.compile(r"([0-9A-Fa-f]{2}):([0-9A-Fa-f]{2}|\*):([0-9A-Fa-f]{2}|\*)")
_STRING_START = re.compile(r'"(?:[^"\\\r\n]|\\["\\]|\\x[0-9A-Fa-f]{2})*')
_STRING = re.compile(r'"((?:[^"\\\r\n]|\\["\\]|\\x[0-9A-Fa-f]{2})*)"')
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\]))')
_CONDITION = re.compile(r"(!?)([A-Za-z-][A-Za-z0-9-]*)")
_ARGUMENT = re.compile(r"\(((?:[^)\\\r\n]|\\(?:x[0-9A-Fa-f]{2}|[0-9abfnrtv\\')]))*)\)")

_STRINGS = ("serial", "name", "hash", "parent-hash", "via-port", "with-connect-type", "label")
ATTRIBUTES = ("id", *_STRINGS[:5], "with-interface", "if", *_STRINGS[5:])


class RuleMalformed(Malformed):
    """`line` and `column` count from 1, columns in characters."""

    def __init__(self, line: int, column: int, found: str, allowed: str) -> None:
        shown = repr(printable(found, _SHOWN_CHARS)) if found else "the end"
        super().__init__("device rule", f"line {line}, column {column}: found {shown}, allowed is {allowed}")
        self.line, self.column, self.found, self.allowed = line, column, found[:_SHOWN_CHARS], allowed


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read a rules file. Empty lines and comments are no rules; numbers count from the first rule.

    Raises RuleMalformed: see `parse_rule`, or more than MAX_RULES rules.
    """
    rules: list[Rule] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            continue
        if len(rules) == MAX_RULES:
            raise RuleMalformed(number, 1, line, f"no rule more than {MAX_RULES}")
        rules.append(parse_rule(line, number))
    return tuple(rules)


def parse_rule(text: str, line: int = 1) -> Rule:
    """Read one rule, which may end in a comment. `line` is what an error names.

    Raises RuleMalformed: where in the line, what was found there and what is allowed there.
    """
    return _Reader(text, line).rule()


def parse_query(text: str, line: int = 1) -> Rule:
    """Read a rule without its target, as `allowed-matches` has it. The rule's target is ALLOW.

    Raises RuleMalformed.
    """
    return _Reader(text, line).query()


class _Reader:
    def __init__(self, text: str, line: int, column: int = 1) -> None:
        self._text, self._line, self._column, self._at = text, line, column, 0
        if len(text) > MAX_RULE_CHARS:
            self._at = MAX_RULE_CHARS
            raise self._error(f"the end of a rule of at most {MAX_RULE_CHARS} characters")
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as exc:
            self._at = exc.start
            raise self._error("text that UTF-8 can hold") from exc

    def rule(self) -> Rule:
        self._take(_BLANKS)
        word = self._take(_WORD)
        if word not in list(RuleTarget):
            self._at -= len(word)
            raise self._error(f"one of {', '.join(RuleTarget)}")
        return self._attributes(RuleTarget(word))

    def query(self) -> Rule:
        return self._attributes(RuleTarget.ALLOW, is_query=True)

    def _attributes(self, target: RuleTarget, *, is_query: bool = False) -> Rule:
        ids: Attribute[DeviceId] = Attribute()
        interfaces: Attribute[InterfaceType] = Attribute()
        conditions: Attribute[Condition] = Attribute()
        texts: dict[str, Attribute[str]] = {}
        is_first = True
        while self._goes_on(after_blanks=not (is_query and is_first)):
            start, word = self._at, self._take(_WORD)
            if is_first and not word and _ID.match(self._text, self._at):
                ids = Attribute((self._id(),))
            elif word == "id" and not ids.values:
                ids = self._values(self._id, MAX_VALUES)
            elif word == "with-interface" and not interfaces.values:
                interfaces = self._values(self._interface, MAX_VALUES)
            elif word == "if" and not conditions.values:
                conditions = self._conditions()
            elif word in _STRINGS and (word == "label" or word not in texts):
                texts[word] = _joined(texts.get(word), self._values(self._string, MAX_VALUES))
            else:
                self._at = start
                if word in ATTRIBUTES:
                    raise self._error("each attribute once")
                an_id = "an id such as 1d6b:0002, " if is_first else ""
                raise self._error(f"{an_id}one of {', '.join(ATTRIBUTES)}, or a comment")
            is_first = False
        serial, name, own_hash, parent_hash, via_port, connect_type, label = (
            texts.get(attribute, Attribute()) for attribute in _STRINGS
        )
        return Rule(
            target, ids, serial, name, own_hash, parent_hash, via_port, interfaces, conditions, connect_type, label
        )

    def _goes_on(self, *, after_blanks: bool) -> bool:
        """Return whether an attribute has to follow. Raises RuleMalformed: it is not set off by a blank."""
        blanks = self._take(_BLANKS)
        if self._at == len(self._text) or self._text[self._at] == "#":
            return False
        if after_blanks and not blanks:
            raise self._error("a blank, a comment or the end")
        return True

    def _values(self, read: Callable[[], Value], most: int) -> Attribute[Value]:
        if not self._take(_BLANKS):
            raise self._error("a blank and a value")
        start, word = self._at, self._take(_WORD)
        operator = SetOperator.EQUALS
        if word in list(SetOperator) and self._take(_BLANKS) and self._text.startswith("{", self._at):
            operator = SetOperator(word)
        else:
            self._at = start
        if not self._text.startswith("{", self._at):
            return Attribute((read(),), operator)
        self._at += 1
        self._take(_BLANKS)
        values = [read()]
        while not self._ends_set():
            if len(values) == most:
                raise self._error(f"the end of a set of at most {most}")
            values.append(read())
        return Attribute(tuple(values), operator)

    def _ends_set(self) -> bool:
        blanks = self._take(_BLANKS)
        if self._text.startswith("}", self._at):
            self._at += 1
            return True
        if not blanks:
            raise self._error("a blank or }")
        return False

    def _id(self) -> DeviceId:
        found = _ID.match(self._text, self._at)
        if found is None:
            raise self._error("vendor:product in 4 hexadecimal digits each, or 1d6b:*, or *:*")
        vendor, product = found.groups()
        if vendor == "*" != product:
            raise self._error("an asterisk for the vendor only together with one for the product")
        self._at = found.end()
        return DeviceId(_number(vendor), _number(product))

    def _interface(self) -> InterfaceType:
        found = _INTERFACE.match(self._text, self._at)
        if found is None:
            raise self._error("cc:ss:pp in 2 hexadecimal digits each, or cc:ss:*, or cc:*:*")
        class_code, subclass, protocol = found.groups()
        if subclass == "*" != protocol:
            raise self._error("an asterisk for the subclass only together with one for the protocol")
        self._at = found.end()
        return InterfaceType(int(class_code, 16), _number(subclass), _number(protocol))

    def _string(self) -> str:
        found = _STRING.match(self._text, self._at)
        if found is None:
            has_begun = bool(self._take(_STRING_START))
            raise self._error(
                'a closing ", or one of the escapes \\" \\\\ \\xHH' if has_begun else "text in quotation marks"
            )
        self._at = found.end()
        raw = found[1].encode("utf-8", "surrogateescape")
        return _ESCAPE.sub(_byte, raw).decode("utf-8", "surrogateescape")

    def _conditions(self) -> Attribute[Condition]:
        start = self._at
        conditions = self._values(self._condition, MAX_CONDITIONS)
        if conditions.operator is SetOperator.MATCH_ALL:
            self._at = start
            raise self._error("any set operator but match-all, which says nothing of conditions")
        return conditions

    def _condition(self) -> Condition:
        found = _CONDITION.match(self._text, self._at)
        if found is None or found[2] not in list(ConditionName):
            raise self._error(f"one of {', '.join(ConditionName)}, or ! before one of them")
        name, column = ConditionName(found[2]), self._column + found.end() + 1
        self._at = found.end()
        if not self._text.startswith("(", self._at):
            if name in (ConditionName.LOCALTIME, ConditionName.ALLOWED_MATCHES):
                raise self._error("( and what it takes")
            return Condition(name, bool(found[1]))
        argument = _ARGUMENT.match(self._text, self._at)
        if argument is None:
            raise self._error("an argument that ends in )")
        meaning = self._meaning(name, argument[1], column)
        self._at = argument.end()
        return Condition(name, bool(found[1]), argument[1], meaning)

    def _meaning(self, name: ConditionName, argument: str, column: int) -> "DayTime | Rule | timedelta | float":
        if name is ConditionName.ALLOWED_MATCHES and argument.strip(" \t"):
            return _Reader(argument, self._line, column).query()
        meaning: DayTime | timedelta | float | None = None
        if name is ConditionName.LOCALTIME:
            meaning, allowed = day_time(argument), "HH:MM[:SS] or HH:MM[:SS]-HH:MM[:SS], the later one last"
        elif name in (ConditionName.RULE_APPLIED, ConditionName.RULE_EVALUATED):
            meaning, allowed = duration(argument), "HH:MM:SS, HH:MM or seconds"
        elif name is ConditionName.RANDOM:
            meaning, allowed = probability(argument), "a probability from 0 to 1"
        elif name is ConditionName.ALLOWED_MATCHES:
            allowed = "a query: a rule without its target"
        else:
            allowed = f"no argument of {name}"
        if meaning is None:
            self._at += 1
            raise self._error(allowed)
        return meaning

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _error(self, allowed: str) -> RuleMalformed:
        found = self._text[self._at : self._at + _SHOWN_CHARS]
        return RuleMalformed(self._line, self._column + self._at, found, allowed)


def _joined(before: Attribute[str] | None, more: Attribute[str]) -> Attribute[str]:
    """A label may be there more than once: USBGuard takes the values together, with the operator given last."""
    if before is None:
        return more
    operator = before.operator if more.operator is SetOperator.EQUALS else more.operator
    return Attribute(before.values + more.values, operator)


def _number(digits: str) -> int | None:
    return None if digits == "*" else int(digits, 16)


def _byte(escape: re.Match[bytes]) -> bytes:
    return escape[2] or bytes.fromhex(escape[1].decode())

"""Walks YAML nodes as a policy's fields, and writes down every problem with the line it is on.

A method that wrote a problem down returns a stand-in, which nobody may use: whoever asked for the values looks at the
problems first. Refused instead of guessed at: a field twice or unknown, text that YAML would read as something else
(`ae_title: 0123`, `NO`), numbers that are not plain.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import yaml

from control_plane.policy.file.problems import Problem
from control_plane.policy.file.yaml_text import line_of
from shared import clock
from shared.errors import Malformed

_TEXT, _WHOLE_NUMBER, _FLAG, _NOTHING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "bool", "null"))
_READS_AS = {
    _WHOLE_NUMBER: "a number",
    "tag:yaml.org,2002:float": "a number",
    _FLAG: "true or false",
    "tag:yaml.org,2002:timestamp": "a date",
}
# YAML 1.1 would also take 010 (eight), 0x10, 1_0 and 1:30 (ninety).
_PLAIN = re.compile(r"[1-9][0-9]{0,8}")


class Value:
    """One value of the file, at a line, under a name such as `modalities[2].ae_title`."""

    def __init__(self, node: yaml.Node, field: str, problems: list[Problem]) -> None:
        self.node, self.field, self.problems = node, field, problems

    @property
    def line(self) -> int:
        return line_of(self.node)

    @property
    def is_empty(self) -> bool:
        """Return whether it is a list or a mapping of nothing."""
        return isinstance(self.node, yaml.CollectionNode) and not self.node.value

    def problem(self, why: str) -> None:
        self.problems.append(Problem(self.line, self.field, why))

    def text(self, pattern: str, expected: str) -> str:
        node = self.node
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NOTHING:
            self.problem(expected)
            return ""
        if node.tag != _TEXT:
            self.problem(f"YAML reads {node.value} as {_READS_AS.get(node.tag, 'no text')}; quote it")
            return ""
        if not re.fullmatch(pattern, node.value):
            self.problem(expected)
            return ""
        return str(node.value)

    def choice(self, allowed: Iterable[str]) -> str:
        """Return one of `allowed`, and the first of them as a stand-in."""
        names = list(allowed)
        return self.text("|".join(map(re.escape, names)), f"expected one of {', '.join(names)}") or names[0]

    def number(self, most: int, what: str) -> int:
        node = self.node
        plain = isinstance(node, yaml.ScalarNode) and node.tag == _WHOLE_NUMBER and _PLAIN.fullmatch(node.value)
        if not plain or int(node.value) > most:
            self.problem(f"expected a whole number{what} from 1 to {most}")
            return 0
        return int(node.value)

    def flag(self) -> bool:
        node = self.node
        if not isinstance(node, yaml.ScalarNode) or node.tag != _FLAG or node.value not in ("true", "false"):
            self.problem("expected true or false")
            return False
        return bool(node.value == "true")

    def instant(self) -> datetime:
        """Return a time in UTC, written with or without quotes."""
        node = self.node
        try:
            return clock.parse(node.value if isinstance(node, yaml.ScalarNode) else "")
        except Malformed:
            self.problem("expected a time in UTC such as 2026-12-31T18:00:00Z")
            return datetime.min.replace(tzinfo=UTC)

    def items(self, most: int) -> list["Value"]:
        if not isinstance(self.node, yaml.SequenceNode) or len(self.node.value) > most:
            self.problem(f"expected a list of at most {most}; none is written as []")
            return []
        return [Value(node, f"{self.field}[{n}]", self.problems) for n, node in enumerate(self.node.value, 1)]

    def texts(self, pattern: str, expected: str, most: int) -> list["tuple[str, Value]"]:
        """Return a list of texts, none of them twice, each with its place."""
        found: dict[str, Value] = {}
        for item in self.items(most):
            text = item.text(pattern, expected)
            if text and found.setdefault(text, item) is not item:
                item.problem(f"is listed on line {found[text].line} already; each is listed once")
        return list(found.items())

    def named(self, pattern: str, expected: str, most: int) -> list["tuple[str, Value]"]:
        """Return a mapping whose names are no fields: each name, in the order of the file, with what it names."""
        if not isinstance(self.node, yaml.MappingNode) or not 0 < len(self.node.value) <= most:
            self.problem(f"expected 1 to {most} entries, each with a name: {expected}")
            return []
        found: list[tuple[str, Value]] = []
        seen: dict[str, Value] = {}
        for key, value in self.node.value:
            at = Value(key, f"{self.field}[{_shown(key)}]", self.problems)
            name = at.text(pattern, f"expected {expected}")
            once(seen, name, at)
            if name and seen[name] is at:
                found.append((name, Value(value, f"{self.field}[{name}]", self.problems)))
        return found

    def section(
        self, required: Sequence[str], optional: Sequence[str] = (), elsewhere: Mapping[str, str] | None = None
    ) -> "Section":
        """`elsewhere` says of fields that others have, and this section does not, where they belong."""
        return Section(self, required, optional, elsewhere or {})


class Section:
    """The fields of one mapping that are there and allowed; every other one, and each that is missing, is a problem."""

    def __init__(
        self, at: Value, required: Sequence[str], optional: Sequence[str], elsewhere: Mapping[str, str]
    ) -> None:
        self.at = at
        self._fields: dict[str, Value] = {}
        named = (", ".join(fields) for fields in (required, optional) if fields)
        expected = f"expected the fields {'; and, if wanted, '.join(named)}"
        if not isinstance(at.node, yaml.MappingNode):
            at.problem(expected)
            return
        prefix = f"{at.field}." if at.field else ""
        for key, value in at.node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) and key.tag == _TEXT else ""
            where = Value(key, f"{prefix}{name or _shown(key)}", at.problems)
            if name not in (*required, *optional):
                where.field = f"{prefix}{_shown(key)}"
                where.problem(f"{elsewhere.get(name, 'there is no such field')}; {expected}")
            elif name in self._fields:
                where.problem(f"is written on line {self._fields[name].line} already; a field is written once")
            else:
                self._fields[name] = Value(value, f"{prefix}{name}", at.problems)
        for name in required:
            if name not in self._fields:
                Value(at.node, f"{prefix}{name}", at.problems).problem(f"is missing; {expected}")

    def get(self, name: str) -> Value | None:
        return self._fields.get(name)

    def present(self) -> dict[str, Value]:
        return dict(self._fields)

    def text(self, name: str, pattern: str, expected: str) -> str:
        value = self.get(name)
        return "" if value is None else value.text(pattern, expected)

    def number(self, name: str, most: int, what: str = "") -> int:
        value = self.get(name)
        return 0 if value is None else value.number(most, what)

    def items(self, name: str, most: int) -> list[Value]:
        value = self.get(name)
        return [] if value is None else value.items(most)

    def texts(self, name: str, pattern: str, expected: str, most: int) -> list[tuple[str, Value]]:
        value = self.get(name)
        return [] if value is None else value.texts(pattern, expected, most)


def once(seen: dict[str, Value], name: str, at: Value | None) -> None:
    """Write a problem down where `name` has been given before; `seen` keeps where."""
    if name and at is not None and seen.setdefault(name, at) is not at:
        at.problem(f"is listed on line {seen[name].line} already; each is listed once")


def _shown(key: yaml.Node) -> str:
    return repr(key.value[:64]) if isinstance(key, yaml.ScalarNode) else "a field that is not text"

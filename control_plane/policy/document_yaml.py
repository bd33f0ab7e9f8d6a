"""Reads the policy file that an administrator writes, strictly, and names every problem with its line.

    layer: organisation
    modalities:
      - ae_title: CT1
        description: CT, room 1.14
    grading: {default: restricted}
    timings: {state_every_s: 5, pull_every_s: 30}

Every field is required and there is no other. YAML's own surprises are refused instead of guessed at: a key twice,
anchors and aliases, tags, several documents, text that YAML would read as something else (`ae_title: 0123`, `NO`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from shared.errors import Malformed
from shared.policy.document import (
    MAX_BYTES,
    MAX_DESCRIPTION_CHARS,
    MAX_MODALITIES,
    MAX_PULL_EVERY_S,
    MAX_STATE_EVERY_S,
    ORGANISATION,
    Modality,
)
from shared.policy.routes import AE_TITLE_PATTERN
from shared.sealing.record import GRADE_PATTERN

# The deepest that the form above goes is 6; what nests without end never reaches the recursive half of the reader.
_DEEPEST = 8
_TEXT, _WHOLE_NUMBER, _NOTHING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "null"))
_READS_AS = {
    _WHOLE_NUMBER: "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:timestamp": "a date",
}
_DESCRIPTION_PATTERN = rf"[^\x00-\x1f\x7f]{{1,{MAX_DESCRIPTION_CHARS}}}"
_PLAIN = re.compile(r"[1-9][0-9]{0,8}")

_Fields: TypeAlias = dict[str, yaml.Node]


@dataclass(frozen=True)
class Problem:
    line: int
    field: str  # such as modalities[2].ae_title; empty where the file as a whole is meant
    why: str

    def text(self, file: str) -> str:
        return f"{file}:{self.line}: " + (f"{self.field}: {self.why}" if self.field else self.why)


class PolicyFileMalformed(Malformed):
    """Everything that is wrong with a policy file, one problem a line."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file, self.problems = file, tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__(f"policy file {file}", "\n" + "\n".join(problem.text(file) for problem in self.problems))


@dataclass(frozen=True)
class AuthoredPolicy:
    """What a person decides; version and keys are added when it is signed."""

    layer: str
    modalities: tuple[Modality, ...]
    default_grade: str
    state_every_s: int
    pull_every_s: int


def parse_policy_file(data: bytes, file: str) -> AuthoredPolicy:
    """Read a policy file; `file` names it in messages. Raises PolicyFileMalformed."""
    text = _text(data, file)
    try:
        problems = _surprises(text)
        root = None if problems else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = 1 if mark is None else mark.line + 1
        raise PolicyFileMalformed(file, [Problem(line, "", f"not YAML: {exc.problem or exc.context}")]) from exc
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise PolicyFileMalformed(file, [Problem(line, "", "holds a character that YAML does not allow")]) from exc
    if problems:
        raise PolicyFileMalformed(file, problems)
    if root is None:
        raise PolicyFileMalformed(file, [Problem(1, "", "is empty")])
    reader = _Reader()
    policy = reader.policy(root)
    if reader.problems:
        raise PolicyFileMalformed(file, reader.problems)
    return policy


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise PolicyFileMalformed(file, [Problem(1, "", f"larger than {MAX_BYTES // 1024} KiB")])
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise PolicyFileMalformed(file, [Problem(line, "", "not text in UTF-8")]) from exc


def _surprises(text: str) -> list[Problem]:
    """Return what YAML allows and a policy does not, seen in the stream of events before anything is built of it."""
    problems: list[Problem] = []
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            problems.append(Problem(line, "", "anchors (&) and aliases (*) are not allowed; write the value out"))
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            problems.append(Problem(line, "", "tags (!) are not allowed"))
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                problems.append(Problem(line, "", "a second document begins here; a file holds one policy"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                problems.append(Problem(line, "", f"nested deeper than {_DEEPEST}"))
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return problems


class _Reader:
    """Walks the nodes and writes problems down. A method that did returns a stand-in, which nobody may use."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def policy(self, root: yaml.Node) -> AuthoredPolicy:
        top = self._fields(root, "", ("layer", "modalities", "grading", "timings"))
        grading = self._section(top, "grading", ("default",))
        timings = self._section(top, "timings", ("state_every_s", "pull_every_s"))
        return AuthoredPolicy(
            layer=self._text(top, "layer", ORGANISATION, f"expected {ORGANISATION}, the one layer there is"),
            modalities=self._modalities(top),
            default_grade=self._text(
                grading, "grading.default", GRADE_PATTERN, "expected a grade such as restricted: a to z, 0 to 9, hyphen"
            ),
            state_every_s=self._seconds(timings, "timings.state_every_s", MAX_STATE_EVERY_S),
            pull_every_s=self._seconds(timings, "timings.pull_every_s", MAX_PULL_EVERY_S),
        )

    def _modalities(self, top: _Fields) -> tuple[Modality, ...]:
        node = top.get("modalities")
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or len(node.value) > MAX_MODALITIES:
            self._problem(node, "modalities", f"expected a list of at most {MAX_MODALITIES}; none is written as []")
            return ()
        lines: dict[str, int] = {}
        return tuple(self._modality(item, f"modalities[{n}]", lines) for n, item in enumerate(node.value, 1))

    def _modality(self, node: yaml.Node, field: str, lines: dict[str, int]) -> Modality:
        fields = self._fields(node, field, ("ae_title", "description"))
        ae_title = self._text(
            fields,
            f"{field}.ae_title",
            AE_TITLE_PATTERN,
            "expected 1 to 16 printable ASCII characters without backslash and without a space at either end",
        )
        description = self._text(
            fields,
            f"{field}.description",
            _DESCRIPTION_PATTERN,
            f"expected 1 to {MAX_DESCRIPTION_CHARS} characters on one line",
        )
        if ae_title:
            line = _line(fields["ae_title"])
            if lines.setdefault(ae_title, line) != line:
                self._problem(fields["ae_title"], f"{field}.ae_title", f"is listed on line {lines[ae_title]} already")
        return Modality(ae_title, description)

    def _section(self, top: _Fields, name: str, allowed: Sequence[str]) -> _Fields:
        return self._fields(top[name], name, allowed) if name in top else {}

    def _fields(self, node: yaml.Node, field: str, allowed: Sequence[str]) -> _Fields:
        """Return the fields that are there and allowed; every other one, and each that is missing, is a problem."""
        expected = f"expected the fields {', '.join(allowed)}"
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, field, expected)
            return {}
        prefix = f"{field}." if field else ""
        fields: _Fields = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) and key.tag == _TEXT else ""
            if name not in allowed:
                self._problem(key, f"{prefix}{_shown(key)}", f"there is no such field; {expected}")
            elif name in fields:
                self._problem(key, f"{prefix}{name}", f"is written on line {_line(fields[name])} already")
            else:
                fields[name] = value
        for name in allowed:
            if name not in fields:
                self._problem(node, f"{prefix}{name}", "is missing")
        return fields

    def _text(self, fields: _Fields, field: str, pattern: str, expected: str) -> str:
        node = fields.get(_last(field))
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NOTHING:
            self._problem(node, field, expected)
            return ""
        if node.tag != _TEXT:
            self._problem(node, field, f"YAML reads {node.value} as {_READS_AS.get(node.tag, 'no text')}; quote it")
            return ""
        if not re.fullmatch(pattern, node.value):
            self._problem(node, field, expected)
            return ""
        return str(node.value)

    def _seconds(self, fields: _Fields, field: str, most: int) -> int:
        node = fields.get(_last(field))
        if node is None:
            return 0
        # YAML 1.1 would also take 010 (eight), 0x10, 1_0 and 1:30 (ninety).
        plain = isinstance(node, yaml.ScalarNode) and node.tag == _WHOLE_NUMBER and _PLAIN.fullmatch(node.value)
        if not plain or int(node.value) > most:
            self._problem(node, field, f"expected a whole number of seconds from 1 to {most}")
            return 0
        return int(node.value)

    def _problem(self, node: yaml.Node, field: str, why: str) -> None:
        self.problems.append(Problem(_line(node), field, why))


def _line(place: yaml.Node | yaml.Event) -> int:
    return 1 if place.start_mark is None else place.start_mark.line + 1


def _last(field: str) -> str:
    return field.rpartition(".")[2]


def _shown(key: yaml.Node) -> str:
    return repr(key.value[:64]) if isinstance(key, yaml.ScalarNode) else "a field that is not text"

"""Turns text into YAML nodes, and refuses what YAML allows and a policy does not.

Its own surprises are refused instead of guessed at: anchors and aliases, tags, several documents, nesting without end.
"""

import yaml

from control_plane.policy.file.problems import PolicyFileMalformed, Problem
from shared.policy.document import MAX_BYTES

# The deepest that a policy goes is 6, and 8 in the exception for a host; what nests without end never reaches the
# recursive half of the reader.
_DEEPEST = 16


def compose(data: bytes, file: str) -> yaml.Node:
    """Return the root node of a file's one document; `file` names it in messages. Raises PolicyFileMalformed."""
    text = _text(data, file)
    try:
        problems = _surprises(text)
        root = None if problems else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = 1 if mark is None else mark.line + 1
        raise PolicyFileMalformed(file, [Problem(line, "", f"not YAML: {_why(exc)}")]) from exc
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise PolicyFileMalformed(file, [Problem(line, "", "holds a character that YAML does not allow")]) from exc
    if problems:
        raise PolicyFileMalformed(file, problems)
    if root is None:
        raise PolicyFileMalformed(file, [Problem(1, "", "is empty")])
    return root


def line_of(place: yaml.Node | yaml.Event) -> int:
    return 1 if place.start_mark is None else place.start_mark.line + 1


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise PolicyFileMalformed(file, [Problem(1, "", f"larger than {MAX_BYTES // 1024} KiB")])
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise PolicyFileMalformed(file, [Problem(line, "", "not text in UTF-8")]) from exc


def _why(exc: yaml.MarkedYAMLError) -> str:
    why = str(exc.problem or exc.context)
    if exc.context == "while scanning an alias":
        # What a pattern such as *BREAST* runs into.
        return f"{why}; a text that begins with * is written in quotes"
    return why


def _surprises(text: str) -> list[Problem]:
    """Return what YAML allows and a policy does not, seen in the stream of events before anything is built of it."""
    problems: list[Problem] = []
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = line_of(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            problems.append(Problem(line, "", "anchors (&) and aliases (*) are not allowed; write the value out, "
                                              "or in quotes if it is a text that begins so"))  # fmt: skip
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

"""Policy files, and one thing broken in each: where it is, and whether its kind alone shows that it is wrong."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from control_plane.policy.file.yaml_text import line_of
from tests.control_plane.policy.file.full import FULL

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Keeps times as text, as JSON has them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
DOCUMENT: dict[str, Any] = yaml.load(FULL, Loader=_Loader)  # noqa: S506 (a safe loader with one resolver less)
DOCUMENT["devices"] |= {
    "default": "block", "observe_until": "2026-12-31T18:00:00Z", "suspicious": "reject", "language": "zh",
    "rescue": {"port": "1-1.2", "minutes": 10}, "others": {"optical": "allow", "sd": "block"},
}  # fmt: skip
DOCUMENT["devices"]["rules"].append({
    "rule": "allow id 1234:5678", "access": "read-only", "hardware_encrypted": True, "only_encrypted": True,
    "interfaces": ["03:01:01"], "not_before": "2026-01-01T00:00:00Z",
})  # fmt: skip
DOCUMENT["devices"]["rules"].append({"rule": "block id 1234:*", "observe_until": "2026-12-31T18:00:00Z"})

_ODD: tuple[Any, ...] = (
    None, True, "", " ", 0, -1, 1.5, 10**12, "Ä", "x" * 20_000, "a\nb", "NO", "0123", [], {}, ["a", "a"], {"a": 1},
    "\x7f", "0.0.0.0/0", "10.0.0.1/8", "2026-13-01T00:00:00Z",
)  # fmt: skip


@dataclass(frozen=True)
class Broken:
    document: dict[str, Any]
    path: Path  # of what was changed, taken out or put in
    kind: str

    @property
    def text(self) -> str:
        return as_yaml(self.document)

    @property
    def field(self) -> str:
        """The name of the place, as the reader tells it."""
        parts = (f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return "".join(parts).removeprefix(".")

    @property
    def line(self) -> int:
        """Where it stands: its own line, that of its key where it is new, and of what it is missing from."""
        node = yaml.compose(self.text, Loader=yaml.CSafeLoader)
        assert node is not None
        for part in self.path[:-1] if self.kind in ("missing", "unknown") else self.path:
            node = _within(node, part)
        return _key_line(node, str(self.path[-1])) if self.kind == "unknown" else line_of(node)


def as_yaml(document: dict[str, Any]) -> str:
    # By libyaml: a property writes and reads thousands of such files.
    return str(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=1 << 20))


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the place of everything in a document but of the document itself."""
    if at:
        yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*at, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from paths(inner, (*at, place))


PATHS = list(paths(DOCUMENT))


def at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def with_value(path: Path, value: Any, whole: Any = DOCUMENT) -> Broken:
    document = deepcopy(whole)
    at(document, path[:-1])[path[-1]] = deepcopy(value)
    return Broken(document, path, "value")


def without(path: Path, whole: Any = DOCUMENT) -> Broken:
    document = deepcopy(whole)
    del at(document, path[:-1])[path[-1]]
    return Broken(document, path, "missing")


def with_unknown(path: Path, name: str = "colour", whole: Any = DOCUMENT) -> Broken:
    document = deepcopy(whole)
    at(document, path)[name] = 1
    return Broken(document, (*path, name), "unknown")


def _within(node: yaml.Node, part: str | int) -> yaml.Node:
    inner = node.value if isinstance(node, yaml.SequenceNode) else {key.value: value for key, value in node.value}
    found: yaml.Node = inner[part]
    return found


def _key_line(node: yaml.Node, name: str) -> int:
    return next(line_of(key) for key, _ in node.value if key.value == name)


def mappings(whole: Any) -> list[Path]:
    return [path for path in [(), *paths(whole)] if isinstance(at(whole, path), dict)]


def breakages(whole: Any) -> st.SearchStrategy[Broken]:
    """Return `whole` with one thing broken."""
    places, same = list(paths(whole)), st.just(whole)
    return st.one_of(
        st.builds(with_value, st.sampled_from(places), st.sampled_from(_ODD), same),
        st.builds(without, st.sampled_from(places), same),
        st.builds(with_unknown, st.sampled_from(mappings(whole)), st.just("colour"), same),
    )


MAPPINGS = mappings(DOCUMENT)
values = st.builds(with_value, st.sampled_from(PATHS), st.sampled_from(_ODD))
broken = breakages(DOCUMENT)

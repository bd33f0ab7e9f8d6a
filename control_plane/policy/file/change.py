"""One thing that another policy says otherwise, and how lists differ of which the first entry that holds decides."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Generic, TypeVar

from shared.canonical import Json

Rule = TypeVar("Rule")


@dataclass(frozen=True)
class Change:
    """`was` and `now` are in people's words, empty where it was or is not there. `danger`: why it may do harm."""

    field: str
    was: str
    now: str
    danger: str = ""

    def text(self) -> str:
        if not self.was:
            return f"+ {self.field}: {self.now}"
        return f"~ {self.field}: {self.was} -> {self.now}" if self.now else f"- {self.field}: {self.was}"

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Kind(Generic[Rule]):
    """What is to be known of one kind of rule. `key`: two rules that have the same one apply to the same things."""

    field: str
    words: Callable[[Rule], str]
    key: Callable[[Rule], object]
    danger_added: Callable[[Rule], str]
    danger_removed: Callable[[Rule], str]
    danger_changed: Callable[[Rule, Rule], str]
    danger_moved: str


def of_values(values: Iterable[tuple[str, str, str, str]]) -> Iterator[Change]:
    """Yield a change for each (field, was, now, danger) whose two values differ."""
    yield from (Change(*value) for value in values if value[1] != value[2])


def of_rules(kind: Kind[Rule], before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[Change]:
    """Yield what was added, taken out, changed and moved; numbers are those that the rules have or had."""
    removed, added = _changed(before, after)
    for number in sorted(added):
        rule = after[number]
        same = [old for old in removed if kind.key(before[old]) == kind.key(rule)]
        if not same:
            yield Change(f"{kind.field}[{number + 1}]", "", kind.words(rule), kind.danger_added(rule))
            continue
        old = before[same[0]]
        removed.remove(same[0])
        if old == rule:
            was, now = f"rule {same[0] + 1}", f"rule {number + 1}, {kind.words(rule)}"
            yield Change(f"{kind.field}[{number + 1}]", was, now, kind.danger_moved)
        else:
            changed = kind.danger_changed(old, rule)
            yield Change(f"{kind.field}[{number + 1}]", kind.words(old), kind.words(rule), changed)
    for number in removed:
        rule = before[number]
        yield Change(f"{kind.field}[was {number + 1}]", kind.words(rule), "", kind.danger_removed(rule))


def _changed(before: Sequence[Rule], after: Sequence[Rule]) -> tuple[list[int], list[int]]:
    """Return the places of rules that stand only in one of the two, or in another order."""
    removed: list[int] = []
    added: list[int] = []
    for tag, first, last, first_after, last_after in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            removed += range(first, last)
            added += range(first_after, last_after)
    return removed, added

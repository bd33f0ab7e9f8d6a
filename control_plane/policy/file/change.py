"""One thing that another policy says otherwise, and how lists differ of which the first entry that holds decides."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Generic, TypeVar

from shared.canonical import Json
from shared.devices.printable import printable

Rule = TypeVar("Rule")


@dataclass(frozen=True)
class Change:
    """`was` and `now` are in people's words, empty where it was or is not there. `danger`: why it may do harm."""

    field: str
    was: str
    now: str
    danger: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the change, and the danger where there is one: printable, whatever the two policies hold."""
        both = f"{self.was} -> {self.now}" if self.was and self.now else self.was or self.now
        yield _line(f"{self.mark} {self.field}: {both}")
        if self.danger:
            yield _line(f"    DANGER: {self.danger}")

    @property
    def mark(self) -> str:
        if not self.was:
            return "+"
        return "~" if self.now else "-"

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)


def change_lines(title: str, changes: Sequence[Change]) -> list[str]:
    """Return the changes under a title that says how many there are, and how many dangerous ones."""
    if not changes:
        return [f"{title}: nothing changes"]
    dangers = sum(bool(change.danger) for change in changes)
    return [
        f"{title}: {len(changes)} changes, {dangers} dangerous",
        *(line for change in changes for line in change.lines()),
    ]


def _line(text: str) -> str:
    return printable(text, len(text))  # nothing is cut off: it is what a person signs


@dataclass(frozen=True)
class Kind(Generic[Rule]):
    """What is to be known of one kind of rule. `key`: two rules that have the same one apply to the same things.

    The judgements of danger are asked by the place that a rule has, from 0: `changed` by the old and the new one.
    """

    field: str
    words: Callable[[Rule], str]
    key: Callable[[Rule], object]
    added: Callable[[int], str]
    removed: Callable[[int], str]
    changed: Callable[[int, int], str]
    moved: str


def of_values(values: Iterable[tuple[str, str, str, str]]) -> Iterator[Change]:
    """Yield a change for each (field, was, now, danger) whose two values differ."""
    yield from (Change(*value) for value in values if value[1] != value[2])


def of_rules(kind: Kind[Rule], before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[Change]:
    """Yield what was added, taken out, changed and moved; numbers are those that the rules have or had."""
    removed, added = _changed(before, after)
    same: dict[object, list[int]] = {}
    for old in reversed(removed):
        same.setdefault(kind.key(before[old]), []).append(old)
    last, paired = -1, set[int]()  # of old places: the last that stands in the new order so far, and those
    for place in added:
        rule, field = after[place], f"{kind.field}[{place + 1}]"
        candidates = same.get(kind.key(rule))
        if not candidates:
            yield Change(field, "", kind.words(rule), kind.added(place))
            continue
        old = candidates.pop()
        paired.add(old)
        # Between which rules that stayed it stands, and in which order with those that were changed as well.
        is_moved = old < last or old - bisect_left(removed, old) != place - bisect_left(added, place)
        last = max(last, old)
        if before[old] == rule:
            yield Change(field, f"rule {old + 1}", f"rule {place + 1}, {kind.words(rule)}", kind.moved)
        else:
            danger = kind.changed(old, place) or (kind.moved if is_moved else "")
            yield Change(field, kind.words(before[old]), kind.words(rule), danger)
    for old in removed:
        if old not in paired:
            yield Change(f"{kind.field}[was {old + 1}]", kind.words(before[old]), "", kind.removed(old))


def _changed(before: Sequence[Rule], after: Sequence[Rule]) -> tuple[list[int], list[int]]:
    """Return the places of rules that stand only in one of the two, or in another order."""
    removed: list[int] = []
    added: list[int] = []
    for tag, first, last, first_after, last_after in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            removed += range(first, last)
            added += range(first_after, last_after)
    return removed, added

"""A page of the program as lines: of a title, a body that may be longer than the window, and the keys that count."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.sanitize.terminal.cells import columns, fit, pad, wrap
from edge_agent.sanitize.terminal.words import SAYS
from shared.sanitization.details import chinese
from shared.words import Words

LEAST_COLUMNS, LEAST_LINES = 60, 12
_LABEL_COLUMNS = 14


@dataclass(frozen=True)
class Line:
    """`is_strong` is shown brighter or reversed where the terminal can, and says nothing that the text does not."""

    text: str
    is_strong: bool = False


@dataclass(frozen=True)
class Row:
    """Of a label and what stands beside it, wrapped in a column of its own; without a label, over the whole width."""

    label: str
    value: str
    is_strong: bool = False


@dataclass(frozen=True)
class Page:
    """`typed` is what a person has typed so far, shown under the body, always; None where nothing is typed."""

    title: str
    body: tuple[Row, ...]
    keys: str
    typed: str | None = None


BLANK = Row("", "")


class Speech:
    """What is said in one language: `say` of our own texts, `of` of anything that has both."""

    def __init__(self, language: str) -> None:
        self._is_chinese = language == "zh"

    def say(self, name: str, **values: object) -> str:
        text = self.of(SAYS[name])
        return text.format(**values) if values else text

    def of(self, words: Words) -> str:
        return words.zh if self._is_chinese else words.en

    def detail(self, said: str) -> str:
        """Return a sentence of a report's, which is signed in English."""
        return chinese(said) if self._is_chinese else said

    def row(self, name: str, value: str, *, strong: bool = False) -> Row:
        return Row(self.say(name), value, strong)

    def text(self, name: str, *, strong: bool = False, **values: object) -> Row:
        return Row("", self.say(name, **values), strong)


def is_too_small(width: int, height: int) -> bool:
    """Say whether a window shows nothing of a page: then no key means what the page says that it means."""
    return width < LEAST_COLUMNS or height < LEAST_LINES


def draw(page: Page, width: int, height: int, speech: Speech, first: int = 0) -> tuple[Line, ...]:
    """Return exactly `height` lines of at most `width` columns; the body from its line `first` on."""
    if is_too_small(width, height):
        return _filled([Line(line, is_strong=True) for line in wrap(speech.say("small"), max(1, width))], height)
    body = list(body_lines(page.body, width))
    room = room_for(page, height)
    first = max(0, min(first, len(body) - room))
    shown = body[first : first + room]
    more = [Line(fit(speech.say("more"), width))] if first + room < len(body) else [Line("")]
    typed = [] if page.typed is None else [Line(fit(f"> {page.typed}_", width), is_strong=True)]
    title = Line(pad(f" {speech.say('title')} - {page.title}", width), is_strong=True)
    keys = Line(pad(f" {page.keys}", width), is_strong=True)
    return (title, Line(""), *_filled(shown, room), *typed, *more, keys)


def room_for(page: Page, height: int) -> int:
    """Return how many lines of the body a window shows."""
    return height - 4 - (page.typed is not None)


def body_lines(rows: Iterable[Row], width: int) -> Iterator[Line]:
    for row in rows:
        yield from _row_lines(row, width)


def _row_lines(row: Row, width: int) -> Iterator[Line]:
    if not row.label:
        lines = list(wrap(row.value, width - 2)) or [""]
        yield from (Line(f" {line}" if line else "", row.is_strong) for line in lines)
        return
    indent = min(max(_LABEL_COLUMNS, columns(row.label) + 1), width // 2)
    for number, line in enumerate(list(wrap(row.value, width - indent - 3)) or [""]):
        yield Line(f" {pad(row.label if number == 0 else '', indent)} {line}", row.is_strong)


def _filled(lines: Sequence[Line], height: int) -> tuple[Line, ...]:
    return (*lines[:height], *[Line("")] * (height - len(lines)))

"""Text measured as a terminal shows it: a Chinese character takes two columns, a combining mark none."""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from shared.devices.printable import printable

_CUT = "…"


def columns(text: str) -> int:
    return sum(map(_columns, text))


def fit(text: str, width: int) -> str:
    """Return `text` as one safe line of at most `width` columns, with a mark where it was cut."""
    text = printable(text, 4 * width)
    if columns(text) <= width:
        return text
    return "" if width < 1 else _head(text, width - 1) + _CUT


def pad(text: str, width: int) -> str:
    """Return `text` as one safe line of exactly `width` columns."""
    text = fit(text, width)
    return text + " " * (width - columns(text))


def wrap(text: str, width: int) -> Iterator[str]:
    """Yield `text` in safe lines of at most `width` columns, parted at spaces, and between Chinese characters."""
    line, width = "", max(width, 2)
    for word in _words(printable(text, 4000)):
        left = word
        if line and columns(line + left.rstrip(" ")) > width:
            yield line.rstrip(" ")
            line = ""
        while columns(left.rstrip(" ")) > width:
            head = _head(left, width)
            yield head
            left = left[len(head) :]
        line += left
    if line.strip():
        yield line.rstrip(" ")


def _words(text: str) -> Iterator[str]:
    """Yield what stays together, with the spaces behind it."""
    word = ""
    for char in text:
        if word and _may_part(word[-1], char):
            yield word
            word = ""
        word += char
    if word:
        yield word


def _may_part(before: str, after: str) -> bool:
    if after == " " or (_columns(after) == 2 and unicodedata.category(after) in ("Po", "Pe", "Pf")):
        return False  # what ends a sentence begins no line
    return before == " " or 2 in (_columns(before), _columns(after))


def _head(text: str, width: int) -> str:
    head, used = "", 0
    for char in text:
        used += _columns(char)
        if used > width:
            break
        head += char
    return head


@lru_cache(1024)
def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1

"""A text for people in both languages of what we print."""

from typing import NamedTuple


class Words(NamedTuple):
    en: str
    zh: str

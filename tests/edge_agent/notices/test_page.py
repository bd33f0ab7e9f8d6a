"""The technologist's page quotes what the guard says, in both languages."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.notices.sentences import sentence
from shared.devices.verdict import Access, Cause, Target
from tests.edge_agent.notices.told import TOLD

PAGE = (Path(__file__).parents[3] / "docs/guides/technologist.md").read_text()
ENGLISH, CHINESE = PAGE.partition("\n## 中文\n")[::2]


def quoted(text: str) -> list[str]:
    """Return what the page's tables say that the guard says, in the parts between what is left out."""
    first_cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| *")]
    return [part.strip() for cell in first_cells for part in re.split("…+", cell.strip("*"))]


def all_sentences(language: str) -> list[str]:
    blocked = [sentence(replace(TOLD, cause=cause), language) for cause in Cause]
    read_only = replace(TOLD, cause=Cause.RULE, done=Target.ALLOW, meant=Target.ALLOW, access=Access.READ_ONLY)
    observed = replace(TOLD, done=Target.ALLOW)
    return [*blocked, sentence(read_only, language), sentence(observed, language)]


@pytest.mark.parametrize("language, text", [("en", ENGLISH), ("zh", CHINESE)])
def test_the_page_quotes_what_is_said(language: str, text: str) -> None:
    said = all_sentences(language)

    assert len(quoted(text)) == 13
    assert [part for part in quoted(text) if not any(part in each for each in said)] == []


def test_every_reason_for_being_blocked_is_on_the_page_once_in_each_language() -> None:
    causes = set(Cause) - {Cause.ROOT_HUB, Cause.PINNED_CONSOLE}
    for language, text in (("en", ENGLISH), ("zh", CHINESE)):
        for cause in causes:
            said = sentence(replace(TOLD, cause=cause), language)
            assert sum(part in said for part in quoted(text)) == 1, (language, cause)

"""What the documents point to is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def links(document: Path) -> Iterator[str]:
    outside_code = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    return (target for target in _LINK.findall(outside_code) if not re.match(r"[a-z]+:", target))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    missing = [
        target
        for target in links(document)
        if target.partition("#")[0] and not (document.parent / target.partition("#")[0]).exists()
    ]

    assert not missing


def test_every_make_command_that_is_named_exists() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        command
        for document in DOCUMENTS
        for command in re.findall(r"`make ([a-z]+)[ `]|^make ([a-z]+)", document.read_text(), re.MULTILINE)
    }

    assert {one or other for one, other in named} <= known
    assert named


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))

    assert numbers == list(range(1, len(numbers) + 1))

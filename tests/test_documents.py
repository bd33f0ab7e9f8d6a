"""What the documents point to is there."""

import re
import tomllib
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


def commands(readme: str) -> list[str]:
    """Return what is typed or named as code, in order but for what a sentence of another language puts elsewhere."""
    text = (ROOT / readme).read_text()
    typed = [line.partition("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
             for line in block.splitlines()]  # fmt: skip
    named = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return sorted(typed + named)


def test_the_chinese_readme_gives_the_same_commands_and_leads_to_the_same_pages() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"

    assert commands(chinese.name) == commands(english.name)
    assert {link.partition("#")[0] for link in links(chinese)} - {english.name} == (
        {link.partition("#")[0] for link in links(english)} - {chinese.name}
    )
    headings = [len(re.findall(r"^#+ ", path.read_text(), re.MULTILINE)) for path in (english, chinese)]
    assert headings[0] == headings[1]


def test_a_command_that_one_readme_lacks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.zh-CN.md").read_text()
    (tmp_path / "README.zh-CN.md").write_text(text.replace("leadglass-provision preflight ", "leadglass-provision "))
    before = commands("README.zh-CN.md")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)

    assert commands("README.zh-CN.md") != before


def test_every_program_that_is_installed_is_in_the_readme() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert {script for script in scripts if f"| `{script}` |" not in (ROOT / "README.md").read_text()} == set()


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))

    assert numbers == list(range(1, len(numbers) + 1))

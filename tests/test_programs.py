"""What is said of our programs: they exist as the documents call them, and each says its version."""

import argparse
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from control_plane.__main__ import command_line as server
from edge_agent.__main__ import command_line as agent
from edge_agent.guard_main import command_line as guard
from edge_agent.wipe_main import command_line as wipe
from provisioning.__main__ import command_line as provision
from provisioning.verify.__main__ import command_line as verify

ROOT = Path(__file__).parents[1]
PROGRAMS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "leadglass-server": server,
    "leadglass-agent": agent,
    "leadglass-guard": guard,
    "leadglass-wipe": wipe,
    "leadglass-provision": provision,
    "leadglass-verify": verify,
}
DOCUMENTS = [*ROOT.glob("docs/guides/*.md"), *ROOT.glob("docs/formats/*.md"), *ROOT.glob("*.md")]
_COMMAND = re.compile(r"(leadglass-(?:server|agent|guard|provision|verify|wipe))((?: +[^\s`|&;>(),]+)+)")
# A guide says `person second-factor add` where the program is plain from what stands around it.
_SHORT = re.compile(r"`([a-z][a-z-]+ [a-z][a-z-]+(?: [^`]+)?)`")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_says_the_version_of_the_package(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[name]().parse_args(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"{name} {version}\n")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_is_one(document: Path) -> None:
    assert list(unknown(document.read_text(), short=document.name == "administrator.md")) == []


def test_a_command_that_there_is_not_is_found() -> None:
    made_up = (
        "`leadglass-server person frobnicate` and `leadglass-agent spool list --colour red`; `person recovery-codes`"
    )
    assert list(unknown(made_up, short=True)) == [
        "leadglass-server person: no 'frobnicate'",
        "leadglass-agent spool list: no '--colour'",
        "leadglass-server person: no 'recovery-codes'",
    ]


def unknown(text: str, *, short: bool) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith(("leadglass-", "$ leadglass-")) or "`leadglass-" in line:
            for name, words in _COMMAND.findall(line):
                yield from fault(name, words.split())
        if short:
            for words in _SHORT.findall(line):
                if words.split()[0] in actions(parser_of("leadglass-server")) and words not in _MESSAGES:
                    yield from fault("leadglass-server", words.split())


_MESSAGES = {  # what a program says, and no command
    "policy role root expired",
    "policy root …, which was seen on this machine before …, is not among the roots shown now",
}


def fault(name: str, words: list[str]) -> Iterator[str]:
    parser, said = parser_of(name), name
    while words and not words[0].startswith("-") and (known := actions(parser)):
        if words[0] not in known:
            yield f"{said}: no {words[0]!r}"
            return
        parser, said, words = known[words[0]], f"{said} {words[0]}", words[1:]
    for word in words:
        option = re.match(r"--[a-z][a-z-]*", word)
        if option and option[0] not in parser._option_string_actions:
            yield f"{said}: no {option[0]!r}"


@cache
def parser_of(name: str) -> argparse.ArgumentParser:
    return PROGRAMS[name]()


def actions(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next(found, {})

"""What can be typed after a program's name, read from its argparse parser."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Takes(Enum):
    NOTHING = "nothing"
    WORD = "a word that nobody can guess"
    CHOICE = "one of a few words"
    FILE = "a file"


@dataclass(frozen=True)
class Option:
    names: tuple[str, ...]
    about: str
    takes: Takes
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """`way` are the words that lead to it, none for the program itself; `choices` are for its own arguments."""

    way: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    commands: tuple["Command", ...]
    choices: tuple[str, ...]
    takes_files: bool

    @property
    def name(self) -> str:
        return self.way[-1]

    def walk(self) -> Iterator["Command"]:
        """Yield this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def tree(parser: argparse.ArgumentParser, way: tuple[str, ...] = (), about: str = "") -> Command:
    options: list[Option] = []
    commands: list[Command] = []
    choices: list[str] = []
    takes_files = False
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        takes = _takes(action)
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            commands = [tree(below, (*way, name), helps.get(name, "")) for name, below in action.choices.items()]
        elif action.option_strings:
            options.append(Option(tuple(action.option_strings), _about(action), takes, _choices(action)))
        else:
            choices += _choices(action)
            takes_files = takes_files or takes is Takes.FILE
    return Command(way, about, tuple(options), tuple(commands), tuple(choices), takes_files)


def _takes(action: argparse.Action) -> Takes:
    if action.nargs == 0:
        return Takes.NOTHING
    if action.choices is not None:
        return Takes.CHOICE
    return Takes.FILE if action.type is Path or action.metavar in {"FILE", "DIR"} else Takes.WORD


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))


def _about(action: argparse.Action) -> str:
    return (action.help or "") % vars(action)

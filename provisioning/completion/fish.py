"""Completion for fish."""

from collections.abc import Iterator

from provisioning.completion.tree import Command, Takes

_MOST_CHARS = 80


def fish(program: str, top: Command) -> str:
    return "".join(f"complete -c {program} {line}\n" for line in ["-f", *_lines(top)])


def _lines(top: Command) -> Iterator[str]:
    for command in top.walk():
        condition = _condition(command)
        for below in command.commands:
            yield f"-n {condition} -a {below.name} -d {_about(below.about)}"
        if command.choices:
            yield f"-n {condition} -a {_quoted(' '.join(command.choices))}"
        if command.takes_files:
            yield f"-n {condition} -F"
        for option in command.options:
            names = " ".join(_name(name) for name in option.names)
            value = {
                Takes.NOTHING: "", Takes.WORD: " -x", Takes.FILE: " -r -F",
                Takes.CHOICE: f" -x -a {_quoted(' '.join(option.choices))}",
            }[option.takes]  # fmt: skip
            yield f"-n {condition} {names}{value} -d {_about(option.about)}"


def _name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _condition(command: Command) -> str:
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.way]
    if command.commands:
        seen.append("not __fish_seen_subcommand_from " + " ".join(one.name for one in command.commands))
    return _quoted("; and ".join(seen) or "true")


def _about(text: str) -> str:
    return _quoted(text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS].rpartition(" ")[0] + " ...")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

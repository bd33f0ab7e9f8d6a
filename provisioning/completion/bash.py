"""Completion for bash, which zsh reads too (bashcompinit)."""

from collections.abc import Iterable, Iterator, Mapping

from provisioning.completion.tree import Command, Takes

_FILES = "local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$word\")); compopt -o filenames 2>/dev/null; return"
FOR_ZSH = "autoload -Uz compinit bashcompinit; (( $+functions[compdef] )) || compinit; bashcompinit\n"
_SCRIPT = """\
{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} at="" words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
            {ways}) at="$at ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$at $before" in
{values}
    esac
    case "$at" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F {function} {program}
"""


def bash(program: str, top: Command) -> str:
    commands = list(top.walk())
    ways = "|".join(f'"{_way(one)}"' for one in commands if one.way)
    return _SCRIPT.format(
        function="_" + program.replace("-", "_"),
        program=program,
        ways=ways or '""',
        values="\n".join(_values(commands)),
        words="\n".join(_words(commands)),
    )


def _values(commands: Iterable[Command]) -> Iterator[str]:
    """Yield what may follow an option that takes something, all with the same answer together."""
    answers: dict[str, list[str]] = {}
    for command in commands:
        for option in command.options:
            if option.takes is not Takes.NOTHING:
                patterns = answers.setdefault(_answer(option.takes, option.choices), [])
                patterns += [f'"{_way(command)} {name}"' for name in option.names]
    yield from _cases(answers)


def _answer(takes: Takes, choices: tuple[str, ...]) -> str:
    if takes is Takes.FILE:
        return _FILES
    if takes is Takes.CHOICE:
        return f'COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word")); return'
    return "COMPREPLY=(); return"


def _words(commands: Iterable[Command]) -> Iterator[str]:
    for command in commands:
        words = [*(below.name for below in command.commands), *command.choices]
        options = [name for option in command.options for name in option.names if name.startswith("--")]
        also = f" ; [[ $word == -* ]] || {{ {_FILES}; }}" if command.takes_files else ""
        yield f'        "{_way(command)}") words="{" ".join([*words, *options])}"{also} ;;'


def _cases(answers: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for answer, patterns in answers.items():
        yield f"        {'|'.join(patterns)}) {answer} ;;"


def _way(command: Command) -> str:
    return "".join(f" {word}" for word in command.way)

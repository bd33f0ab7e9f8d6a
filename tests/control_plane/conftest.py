"""What every test in this process would otherwise do anew."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from werkzeug.routing import Rule

from control_plane import __main__ as program


@pytest.fixture(scope="session", autouse=True)
def addresses_are_compiled_once() -> Iterator[None]:
    """Have werkzeug compile what writes an address once, and not for each of the control planes that tests start.

    That is half of what opening the doors takes. It is bound to its rule afterwards, and made of nothing but these.
    """
    compile_builder, compiled = Rule._compile_builder, dict[tuple[object, ...], Callable[..., Any]]()

    def once(rule: Rule, append_unknown: bool = True) -> Callable[..., Any]:
        if rule.defaults:
            return compile_builder(rule, append_unknown)
        made_of = (rule.rule, tuple(rule._trace), append_unknown)
        if made_of not in compiled:
            compiled[made_of] = compile_builder(rule, append_unknown)
        return compiled[made_of]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rule, "_compile_builder", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def options_are_put_together_once() -> Iterator[None]:
    """Keep what reads the options of a command: putting a thousand of them together takes longer than most commands."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(program, "command_line", cache(program.command_line))
        yield

"""Shows the demo: a live line for what is going on, and a line that stays for everything that is known.

On a terminal that is a spinner with a count; elsewhere, and with `--plain`, it is one readable line after another.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from provisioning.demo.expectations import State, Verdict

_MARKS = {State.HELD: "✓", State.FAILED: "✗", State.NOT_REACHED: "-"}
_COLOURS = {State.HELD: "green", State.FAILED: "bold red", State.NOT_REACHED: "yellow"}


class Doing(Protocol):
    """What is going on now."""

    def at(self, progress: str) -> None:
        """Show how far it is, such as `12 of 21`."""


class Display(Protocol):
    def chapter(self, number: int, title: str) -> None: ...

    def say(self, text: str) -> None:
        """Show a fact that no expectation is about."""

    def judged(self, verdict: Verdict) -> None: ...

    def listing(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...

    @contextmanager
    def doing(self, what: str) -> Iterator[Doing]: ...

    def summary(self, chapters: Sequence[tuple[str, Sequence[Verdict]]], closing: str) -> None:
        """Show a line for each chapter, and everything in it that did not hold."""


class TerminalDisplay:
    def __init__(self, console: Console) -> None:
        self._console = console

    def chapter(self, number: int, title: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{number}. {escape(title)}", align="left", style="cyan")

    def say(self, text: str) -> None:
        # A link or a command must stay whole to be copied, however narrow the terminal is.
        self._console.print(f"  [dim]{escape(text)}", soft_wrap=True)

    def judged(self, verdict: Verdict) -> None:
        colour, mark = _COLOURS[verdict.state], _MARKS[verdict.state]
        self._console.print(f"[{colour}]{mark}[/] {escape(verdict.expectation.says)}")
        if verdict.evidence:
            self._console.print(f"  [dim]{escape(verdict.evidence)}")

    def listing(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self._console.print(table)

    @contextmanager
    def doing(self, what: str) -> Iterator[Doing]:
        with self._console.status(escape(what), spinner="dots") as status:
            yield _Spinner(status, what)

    def summary(self, chapters: Sequence[tuple[str, Sequence[Verdict]]], closing: str) -> None:
        self._console.print()
        table = Table(title="What was shown", title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in ("", "", "held"):
            table.add_column(column, overflow="fold")
        for number, (title, verdicts) in enumerate(chapters, start=1):
            state = _worst(verdicts)
            table.add_row(f"[{_COLOURS[state]}]{_MARKS[state]}", f"{number}. {escape(title)}", _held(verdicts))
        self._console.print(table)
        for verdict in _not_held(chapters):
            self.judged(verdict)
        self._console.print()
        self._console.print(escape(closing))


class _Spinner:
    def __init__(self, status: Status, what: str) -> None:
        self._status, self._what = status, what

    def at(self, progress: str) -> None:
        self._status.update(f"{escape(self._what)}: {escape(progress)}")


class PlainDisplay:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def chapter(self, number: int, title: str) -> None:
        self._line(f"\n{number}. {title}")

    def say(self, text: str) -> None:
        self._line(f"     {text}")

    def judged(self, verdict: Verdict) -> None:
        self._line(f"  {_word(verdict.state)} {verdict.expectation.says}")
        if verdict.evidence:
            self._line(f"         {verdict.evidence}")

    def listing(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = [list(columns), *(list(row) for row in rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
        self._line(f"     {title}")
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._line(f"       {'  '.join(cells).rstrip()}")

    @contextmanager
    def doing(self, what: str) -> Iterator[Doing]:
        self._line(f"     {what} ...")
        yield _Silent()

    def summary(self, chapters: Sequence[tuple[str, Sequence[Verdict]]], closing: str) -> None:
        self._line("\nWhat was shown")
        for number, (title, verdicts) in enumerate(chapters, start=1):
            self._line(f"  {_word(_worst(verdicts))} {number}. {title}: {_held(verdicts)}")
        for verdict in _not_held(chapters):
            self.judged(verdict)
        self._line(f"\n{closing}")

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class _Silent:
    def at(self, progress: str) -> None:
        """Counts that change would each be a line here; the line that stays has the last one."""


def _worst(verdicts: Sequence[Verdict]) -> State:
    return next((s for s in (State.FAILED, State.NOT_REACHED) if any(v.state is s for v in verdicts)), State.HELD)


def _held(verdicts: Sequence[Verdict]) -> str:
    return f"{sum(verdict.state is State.HELD for verdict in verdicts)} of {len(verdicts)}"


def _not_held(chapters: Sequence[tuple[str, Sequence[Verdict]]]) -> list[Verdict]:
    return [verdict for _, verdicts in chapters for verdict in verdicts if verdict.state is not State.HELD]


def _word(state: State) -> str:
    return {State.HELD: "[ ok ]", State.FAILED: "[FAIL]", State.NOT_REACHED: "[ -- ]"}[state]


def display_on(out: TextIO, *, plain: bool) -> Display:
    """Return the display that suits `out`."""
    if plain or not out.isatty():
        return PlainDisplay(out)
    return TerminalDisplay(Console(file=out, highlight=False, soft_wrap=False))

"""A terminal as curses knows it: a serial line, a console, a window."""

import curses
import locale
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from edge_agent.sanitize.terminal import flow
from edge_agent.sanitize.terminal.page import Line
from shared.errors import Unavailable

_ESCAPE_MS = 300  # how far apart the parts of one key may come over a slow line
_NAMES = {
    curses.KEY_UP: flow.UP, curses.KEY_DOWN: flow.DOWN, curses.KEY_PPAGE: flow.PAGE_UP,
    curses.KEY_NPAGE: flow.PAGE_DOWN, curses.KEY_RESIZE: flow.RESIZED, curses.KEY_ENTER: flow.ENTER,
    curses.KEY_BACKSPACE: flow.BACKSPACE, "\r": flow.ENTER, "\n": flow.ENTER, "\x7f": flow.BACKSPACE,
    "\b": flow.BACKSPACE,
}  # fmt: skip


class NoTerminal(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"there is no terminal that screens can be drawn on: {why}; set TERM, such as TERM=vt100, or use the "
            "commands that `leadglass-wipe --help` lists"
        )
        self.why = why


class CursesTerminal:
    def __init__(self, window: "curses.window") -> None:
        self._window = window
        self._encoding = locale.getpreferredencoding(do_setlocale=False)

    def size(self) -> tuple[int, int]:
        lines, columns = self._window.getmaxyx()
        return columns, lines

    def show(self, lines: Sequence[Line]) -> None:
        self._window.erase()
        for number, line in enumerate(lines):
            text = line.text.encode(self._encoding, "replace").decode(self._encoding)
            # The last place of a window cannot be written without scrolling it; curses says so once it is written.
            with suppress(curses.error):
                self._window.addstr(number, 0, text, curses.A_REVERSE if line.is_strong else curses.A_NORMAL)
        self._window.refresh()

    def key(self, timeout_s: float | None) -> str:
        self._window.timeout(-1 if timeout_s is None else int(timeout_s * 1000))
        try:
            key = self._window.get_wch()
        except curses.error:
            return flow.NOTHING if _is_there() else flow.GONE
        except KeyboardInterrupt:
            return flow.INTERRUPT
        if key == curses.KEY_RESIZE:
            # It comes before what was typed at the window as it was, which perhaps showed nothing.
            curses.flushinp()
        return _NAMES.get(key, key if isinstance(key, str) else flow.NOTHING)


@contextmanager
def opened() -> Iterator[CursesTerminal]:
    """Take the terminal for as long as this lasts, and give it back as it was. Raises NoTerminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NoTerminal("input or output is no terminal")
    locale.setlocale(locale.LC_ALL, "")
    os.environ.setdefault("ESCDELAY", str(_ESCAPE_MS))
    try:
        window = curses.initscr()
    except curses.error as exc:
        raise NoTerminal(str(exc)) from exc
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        with suppress(curses.error):
            curses.curs_set(0)
        yield CursesTerminal(window)
    finally:
        window.keypad(False)
        with suppress(curses.error):
            curses.nocbreak()
            curses.echo()
            curses.endwin()


def _is_there() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False

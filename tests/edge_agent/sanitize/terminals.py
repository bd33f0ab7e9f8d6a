"""A program in a pseudo terminal, and what an independent terminal emulator makes of what it writes."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyte

ENTER, ESCAPE = "\r", "\x1b"
_QUIET_S = 0.2


class NotShown(AssertionError):
    pass


class InTerminal:
    """`lines` is the screen as a person sees it. The program is killed at the end, if it is there still."""

    def __init__(self, command: Sequence[str], columns: int = 80, lines: int = 24, **environment: str) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            _resize(0, columns, lines)
            # Without the size of whoever runs the tests, which readline puts where only execve leaves it out.
            kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            # Whatever goes wrong here must not go on as a second test run.
            try:
                env = {**kept, "TERM": "linux", "LANG": "C.UTF-8", **environment}
                os.execvpe(command[0], list(command), env)  # noqa: S606 (no shell is wanted)
            finally:
                os._exit(127)

    def __enter__(self) -> "InTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    @property
    def lines(self) -> list[str]:
        # The second half of a wide character is an empty cell, which pyte's own `display` stumbles over.
        rows, columns = range(self._screen.lines), range(self._screen.columns)
        return ["".join(self._screen.buffer[row][column].data for column in columns).rstrip() for row in rows]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Have the window be of another size, as the program is told by a signal."""
        self._screen.resize(lines, columns)
        _resize(self._terminal, columns, lines)

    def hang_up(self, timeout_s: float = 60) -> int:
        """Take the terminal away under the program, as a lost line does; return its exit code once it has ended."""
        os.close(self._terminal)
        self._terminal = os.open(os.devnull, os.O_RDWR)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_QUIET_S)
        raise NotShown("it goes on without a terminal")

    def until(self, shown: str | Callable[[str], bool], timeout_s: float = 60) -> str:
        """Return the screen once it has `shown`. Raises NotShown with what it has instead."""
        deadline = time.monotonic() + timeout_s
        is_there = shown if callable(shown) else lambda text: shown in text
        while not is_there(self.text):
            if not self._read(deadline):
                raise NotShown(f"{shown!r} is not shown, but:\n{self.text}")
        while self._read(time.monotonic() + _QUIET_S):
            pass  # the rest of the same screen
        return self.text

    def ended(self, timeout_s: float = 60) -> int:
        """Return the exit code, after all that is written until then was read."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self, deadline: float) -> bool:
        readable, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # its other end is closed: the program ended
            return False
        self._stream.feed(data)
        return bool(data)


def _resize(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

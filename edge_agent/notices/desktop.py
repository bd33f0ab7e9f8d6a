"""Shows a notice on the desktop, where there is one, through notify-send (libnotify)."""

import subprocess
from collections.abc import Callable, Sequence
from shutil import which
from xml.sax.saxutils import escape  # writes text only; nothing is parsed

_MOST_S = 10


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_MOST_S, check=False).returncode


class Desktop:
    def __init__(self, find: Callable[[str], str | None] = which, run: Callable[[Sequence[str]], int] = _run) -> None:
        self._program, self._run = find("notify-send"), run

    @property
    def is_there(self) -> bool:
        return self._program is not None

    def show(self, title: str, text: str) -> bool:
        """Return whether it was shown. Desktops read markup in the body, so it is escaped."""
        if self._program is None:
            return False
        command = (self._program, "--app-name=leadglass", "--urgency=critical", "--", title, escape(text))
        try:
            return self._run(command) == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

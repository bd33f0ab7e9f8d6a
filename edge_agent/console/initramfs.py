"""Has the initramfs made anew, so that it holds the console's rule."""

import subprocess
from collections.abc import Callable, Sequence
from shutil import which

from shared.errors import Unavailable

_COMMAND = ("update-initramfs", "-u", "-k", "all")
_MOST_S = 1800


class InitramfsNotMade(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"everything is written, but the initramfs could not be made anew: {why}; until `{' '.join(_COMMAND)}` has "
            "worked, the console waits for the root file system"
        )
        self.why = why


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_MOST_S, check=False).returncode


def rebuild(find: Callable[[str], str | None] = which, run: Callable[[Sequence[str]], int] = _run) -> bool:
    """Make the initramfs of every kernel anew; return False where no program for it is installed.

    Raises InitramfsNotMade.
    """
    if find(_COMMAND[0]) is None:
        return False
    try:
        status = run(_COMMAND)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise InitramfsNotMade(type(exc).__name__) from exc
    if status:
        raise InitramfsNotMade(f"it ended with status {status}")
    return True

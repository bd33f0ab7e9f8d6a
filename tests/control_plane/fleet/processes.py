"""Looking at processes from outside."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic

_WAIT_S = 30.0
_LOOK_S = 0.02
_PAUSE = Event()  # never set: waiting on it is how these tests look again a little later


def eventually(holds: Callable[[], bool], within_s: float = _WAIT_S) -> bool:
    until = monotonic() + within_s
    while not holds():
        if monotonic() > until:
            return False
        _PAUSE.wait(_LOOK_S)
    return True


def processes_of(folder: Path) -> list[int]:
    """Return what runs with `folder` as its working directory; a zombie has none."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found

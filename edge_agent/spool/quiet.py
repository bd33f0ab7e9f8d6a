"""Steps back behind everything else on the machine."""

import contextlib
import os

import psutil

_LOWEST = 19


def step_back() -> None:
    """Give this process processor and disk only while nobody else wants them, as far as the system knows how to."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST)
    with contextlib.suppress(OSError, psutil.Error):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)

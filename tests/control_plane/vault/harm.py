"""Bodies that the kernel does not give, as from a disk that fails."""

import os
from pathlib import Path


def not_given_to_a_reader(path: Path) -> None:
    """Have every read of `path` answered with EIO: nothing is mapped at address 0."""
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/mem")


def not_given_to_an_opener(path: Path) -> None:
    """Have every opening of `path` answered with EIO: of a terminal whose other end is closed."""
    ours, theirs = os.openpty()
    os.close(ours)
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/self/fd/{theirs}")

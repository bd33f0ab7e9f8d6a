"""Exports a spool and is killed once so many images are written.

python -m tests.edge_agent.moving.killed IMAGES DATA STICK
"""

import os
import signal
import sys
from fnmatch import fnmatch

from edge_agent.__main__ import main


def kill_at(images: int) -> None:
    sync, written = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        sync(descriptor)
        written += fnmatch(os.readlink(f"/proc/self/fd/{descriptor}"), "*/part-*/0*")  # noqa: PTH115
        if written == images:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync  # type: ignore[assignment]


if __name__ == "__main__":
    kill_at(int(sys.argv[1]))
    sys.exit(main(["spool", "export", "--data", sys.argv[2], sys.argv[3]]))

"""Exports or imports a spool and is killed in the middle.

python -m tests.edge_agent.moving.killed {export|import} IMAGES DATA STICK

An export is killed once so many images are written; an import once it has registered so many, with the next durable.
"""

import os
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatch

from edge_agent.__main__ import main
from edge_agent.moving.spools import HostSpool
from edge_agent.spool.catalogue import Spooled


def kill_export_at(images: int) -> None:
    sync, written = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        sync(descriptor)
        written += fnmatch(os.readlink(f"/proc/self/fd/{descriptor}"), "*/part-*/0*")  # noqa: PTH115
        if written == images:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync  # type: ignore[assignment]


def kill_import_at(images: int) -> None:
    register, registered = HostSpool._register, 0

    def counted(spool: HostSpool, spooled: Spooled) -> None:
        nonlocal registered
        if registered == images:
            os.kill(os.getpid(), signal.SIGKILL)
        register(spool, spooled)
        registered += 1

    HostSpool._register = counted  # type: ignore[assignment, method-assign]


KILL_AT: dict[str, Callable[[int], None]] = {"export": kill_export_at, "import": kill_import_at}


if __name__ == "__main__":
    KILL_AT[sys.argv[1]](int(sys.argv[2]))
    sys.exit(main(["spool", sys.argv[1], "--data", sys.argv[3], sys.argv[4]]))

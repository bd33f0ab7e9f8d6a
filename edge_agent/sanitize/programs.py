"""Programs of the host that ask a drive or tell it something, each waited for no longer than is said.

A program that a dying drive holds in the kernel cannot be killed there: it is left behind at its deadline. What it
prints is kept up to a fixed size, and what it exits with proves nothing by itself.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Ran:
    """`why` says why there is no `code`; it is empty where the program ended by itself."""

    code: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    why: str = ""


class Run(Protocol):
    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        """Run a program, found by its name, and return what came of it. Never raises for what it does."""


def run(command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
    program = shutil.which(command[0], path=PATHS)
    if program is None:
        return Ran(None, why=f"{command[0]} is not installed")
    with ExitStack() as opened:
        stdout, stderr = _of_fixed_size(opened), _of_fixed_size(opened)
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={"PATH": PATHS, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as exc:
            return Ran(None, why=f"{command[0]} cannot be started: {exc.strerror}")
        if not _has_ended(process, timeout_s):
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            if not _has_ended(process, 1.0):
                return Ran(None, why=f"{command[0]} did not end within {timeout_s:g} s, and cannot be ended")
            process.wait()
            return Ran(None, why=f"{command[0]} did not end within {timeout_s:g} s")
        return Ran(process.wait(), _printed(stdout), _printed(stderr))


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def _of_fixed_size(opened: ExitStack) -> int:
    descriptor = os.memfd_create("printed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    opened.callback(os.close, descriptor)
    os.ftruncate(descriptor, MAX_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _printed(descriptor: int) -> bytes:
    # The place where its next byte would go; both have one file.
    return os.pread(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR), 0)

"""A child process that is asked one thing and prints its answer, for a loop that must wait for nobody.

    stdin   a file in memory with all that it is given
    stdout  a file in memory of a fixed size: what is printed takes no reader, and more than that cannot be written
    fileno  readable once the process has ended (pidfd_open(2), Linux 5.3)

A child that a dying device holds in the kernel cannot be killed there. It is given up at its deadline and left
behind; `is_gone` says when it went.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answered:
    """`why` is empty where the child ended well and `output` is all that it printed."""

    output: bytes
    why: str = ""


class ShortLived:
    """`now_s` is of any clock that only goes forward. The child is killed with all that it started."""

    def __init__(
        self, command: Sequence[str], *, given: bytes = b"", most_bytes: int, timeout_s: float, now_s: float
    ) -> None:
        """Start it. Raises OSError."""
        self.timeout_s, self.deadline_s = timeout_s, now_s + timeout_s
        stdin, self._output = os.memfd_create("given"), _of_fixed_size(most_bytes)
        try:
            os.write(stdin, given)
            os.lseek(stdin, 0, os.SEEK_SET)
            # An environment of its own, and our own packages first, wherever whoever starts it was started.
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                cwd=_PACKAGES,
                env={},
                start_new_session=True,
            )
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(stdin)
        self._is_open = True

    def fileno(self) -> int:
        return self._pidfd

    @property
    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def step(self, now_s: float) -> Answered | None:
        """Return what came of it, once; None: it goes on, ask again by `deadline_s`. Never waits."""
        if self.is_gone:
            code = self._process.returncode
            why = "" if code == 0 else f"it ended with code {code}"
            # The place where the child's next byte would go; both have one file.
            output = os.pread(self._output, os.lseek(self._output, 0, os.SEEK_CUR), 0)
        elif now_s >= self.deadline_s:
            why, output = f"it did not answer within {self.timeout_s:g} s", b""
        else:
            return None
        self.end()
        return Answered(b"" if why else output, why)

    def end(self) -> None:
        """Kill it, and let go of what it was watched by; what the kernel holds goes later.

        One that became another account may be out of our reach, and is let go of all the same.
        """
        if not self.is_gone:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._is_open:
            self._is_open = False
            os.close(self._output)
            os.close(self._pidfd)


def of_ours(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules in the Python that runs this one, isolated alike."""
    isolated = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *isolated, "-m", module, *arguments]


def _of_fixed_size(size_bytes: int) -> int:
    descriptor = os.memfd_create("answer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor

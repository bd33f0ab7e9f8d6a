"""A short-lived process beside an event loop: nothing here waits, and whatever it does is bounded and judged.

What it is given reaches it as a file in memory on its standard input, so nothing has to be fed; its answer is read from
a pipe as it comes.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shared.errors import Unavailable

_READ_BYTES = 64 * 1024
_PACKAGES = Path(__file__).resolve().parents[1]


class ChildFailed(Unavailable):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the {name} child {why}")
        self.name, self.why = name, why


def module_command(module: str, *arguments: str) -> list[str]:
    """Return how one of our own modules is run as a child."""
    return [sys.executable, "-m", module, *arguments]


class Child:
    """One process. Its owner waits for `fileno` to be readable or `deadline_s` to pass, and then calls `step`."""

    def __init__(self, name: str, command: Sequence[str], given: bytes, *, deadline_s: float, most_bytes: int) -> None:
        """Raises ChildFailed: there is no memory or no process for it."""
        self.name, self.deadline_s, self._most_bytes = name, deadline_s, most_bytes
        self._answer = bytearray()
        try:
            self._process, self._pipe = _started(command, given)
        except OSError as exc:
            raise ChildFailed(name, f"cannot be started: {exc.strerror}") from exc

    def fileno(self) -> int:
        return self._pipe

    def step(self, now_s: float) -> bytes | None:
        """Read what is there; return the answer once the child has ended well, None while it runs.

        Raises ChildFailed: it was late, said too much, or did not exit with 0. `end` has to be called in any case.
        """
        while True:
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                break
            self._answer += data
            if len(self._answer) > self._most_bytes:
                raise ChildFailed(self.name, f"said more than {self._most_bytes} bytes")
            if not data:
                return self._ended(now_s)
        if now_s >= self.deadline_s:
            raise ChildFailed(self.name, "did not end in time")
        return None

    def end(self) -> None:
        """Kill whatever of it still runs, and reap it."""
        # Whoever it may have started is in its session; the group is there until it is reaped.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._pipe)

    def _ended(self, now_s: float) -> bytes | None:
        # Its end of the pipe is closed, which a process that is about to exit does a moment earlier.
        status = self._process.poll()
        if status is None:
            if now_s >= self.deadline_s:
                raise ChildFailed(self.name, "closed its output and did not end")
            return None
        if status != 0:
            raise ChildFailed(self.name, f"ended with status {status}")
        return bytes(self._answer)


def _started(command: Sequence[str], given: bytes) -> tuple["subprocess.Popen[bytes]", int]:
    """Raises OSError."""
    memory, (pipe, written) = os.memfd_create("given", os.MFD_CLOEXEC), os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(written, True)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(given)
        os.lseek(memory, 0, os.SEEK_SET)
        # An environment of its own, and our own packages first, wherever the guard was started.
        process = subprocess.Popen(
            command,
            stdin=memory,
            stdout=written,
            stderr=subprocess.DEVNULL,
            cwd=_PACKAGES,
            env={},
            start_new_session=True,
        )
    except OSError:
        os.close(pipe)
        raise
    finally:
        os.close(written)
        os.close(memory)
    return process, pipe

"""Processes that begin where their imports are done: those take a second, and many tests start one or several.

One server forks them all, with a single thread and nothing of the tests' open, and each is as real as any other. A
folder's conftest.py says what the server imports; what is forked can import more by itself.
"""

import multiprocessing
from multiprocessing.process import BaseProcess

FORKING = multiprocessing.get_context("forkserver")


class Forked:
    """One of them, asked and ended as subprocess.Popen is."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        process.start()
        assert process.pid is not None
        self.pid = process.pid

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"it has not ended within {timeout} s"
        return code

"""Run all tests, in three lanes side by side, since most tests wait for other processes.

One lane begins with the virtual-machine lab, which waits most; each has about a third of the whole. What the first two
have to say comes after the last one is done. The control plane's tests are several runs: one of them alone would come
to more descriptors than the select() of the DICOM peers in tests can watch. The exit code is pytest's own, the worst
of all.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Thread
from typing import IO

WITH_PEERS = ("tests/control_plane/routes", "tests/control_plane/coverage")
LANES = (
    (("tests/lab",), ("tests/contracts", *WITH_PEERS)),
    (("tests/control_plane", *(f"--ignore={path}" for path in WITH_PEERS)),),
)
IN_LANES = ("tests/lab", "tests/contracts", "tests/control_plane")


def main(options: Sequence[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-q", *options]
    with ExitStack() as said:
        lanes = [_Lane(pytest, runs, said.enter_context(tempfile.TemporaryFile("w+"))) for runs in LANES]
        code = subprocess.run([*pytest, *(f"--ignore={path}" for path in IN_LANES)], check=False).returncode
        return max(code, *(lane.finish() for lane in lanes))


class _Lane:
    def __init__(self, pytest: Sequence[str], runs: Sequence[Sequence[str]], said: IO[str]) -> None:
        self._runs, self._said, self._codes = runs, said, [0]
        self._thread = Thread(target=self._run, args=(pytest,))
        self._thread.start()

    def finish(self) -> int:
        """Wait for it, print what it had to say, and return the worst of its exit codes."""
        self._thread.join()
        self._said.seek(0)
        print(f"\n{', '.join(run[0] for run in self._runs)}\n{self._said.read()}", end="", flush=True)
        return max(self._codes)

    def _run(self, pytest: Sequence[str]) -> None:
        for run in self._runs:
            # Two runs at once would write one cache of what failed last.
            command = [*pytest, "-p", "no:cacheprovider", *run]
            self._codes.append(
                subprocess.run(command, check=False, stdout=self._said, stderr=subprocess.STDOUT).returncode
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

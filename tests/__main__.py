"""Run all tests, in two lanes side by side, since most tests wait for other processes.

The first lane begins with the virtual-machine lab, which waits most, and has about half of the whole. What it has to
say comes after the other is done. It is several runs: one of them alone would come to more descriptors than the
select() of the DICOM peers in tests can watch. The exit code is pytest's own, the worst of all.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from threading import Thread
from typing import IO

FIRST = ("tests/lab", "tests/control_plane", "tests/contracts")
WITH_PEERS = ("tests/control_plane/routes", "tests/control_plane/coverage")
RUNS = (
    ("tests/lab",),
    ("tests/contracts", *WITH_PEERS),
    ("tests/control_plane", *(f"--ignore={path}" for path in WITH_PEERS)),
)


def main(options: Sequence[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-q", *options]
    codes: list[int] = []
    with tempfile.TemporaryFile("w+") as said:
        lane = Thread(target=_first_lane, args=(pytest, said, codes))
        lane.start()
        others = subprocess.run([*pytest, *(f"--ignore={path}" for path in FIRST)], check=False).returncode
        lane.join()
        said.seek(0)
        print(f"\n{', '.join(FIRST)}\n{said.read()}", end="", flush=True)
    return max(others, *codes)


def _first_lane(pytest: Sequence[str], said: IO[str], codes: list[int]) -> None:
    for run in RUNS:
        # Two runs at once would write one cache of what failed last.
        command = [*pytest, "-p", "no:cacheprovider", *run]
        codes.append(subprocess.run(command, check=False, stdout=said, stderr=subprocess.STDOUT).returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

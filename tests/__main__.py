"""Run all tests, as several runs of pytest of which four are under way, since most tests wait for other processes.

Each leaves to the others what is theirs, so that a new folder is in the run of what is around it. The control plane's
tests are several: one run of them all would come to more descriptors than the select() of the DICOM peers in tests can
watch. What a run has to say comes when it is done, and at the end what became of each. The exit code is pytest's own,
the worst of all.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

# The longest first: what is begun last should not be what the others wait for.
RUNS = (
    "tests/lab", "tests/scenarios", "tests/faults", "tests/edge_agent", "tests/control_plane", "tests/provisioning",
    "tests/control_plane/cli", "tests/contracts", "tests", "tests/control_plane/routes", "tests/control_plane/coverage",
)  # fmt: skip
_AT_ONCE = 4


def left_to_others(run: str) -> Iterator[str]:
    """Yield what lies in `run` and is a run of its own."""
    yield from (other for other in RUNS if other.startswith(f"{run}/"))


def main(options: Sequence[str]) -> int:
    # Two runs at once would write one cache of what failed last.
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    ended: list[tuple[str, str, int]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for each in as_completed([pool.submit(_done, pytest, run) for run in RUNS]):
            run, said, code = each.result()
            print(f"\n{run}\n{said}", end="", flush=True)
            ended.append((run, said.rstrip().rpartition("\n")[2], code))
    print("\n", *(f"{run:30} {last}\n" for run, last, _ in ended), sep="", end="")
    return max(code for *_, code in ended)


def _done(pytest: Sequence[str], run: str) -> tuple[str, str, int]:
    command = [*pytest, run, *(f"--ignore={other}" for other in left_to_others(run))]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return run, done.stdout, done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run all tests, as several runs of pytest of which four are under way, since most tests wait for other processes.

Each leaves to the others what is theirs, so that a new folder is in the run of what is around it. The control plane's
tests are several: one run of them all would come to more descriptors than the select() of the DICOM peers in tests can
watch. The lab's are several too: a guest has one processor's work to do, and all of them would be the last to end.

What runs whole programs, or takes something away from them, does so on a disk as a hospital has it. The others have
their files in memory: an agent that starts writes a segment of 32 MiB and waits until it is synced, and a thousand
tests start one. So have the databases' tests, some hundred databases that are synced: a server that is killed there
leaves just what it would leave on a disk.

What a run has to say comes when it is done, and at the end what became of each. The exit code is pytest's own, the
worst of all.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

# The longest first: what is begun last should not be what the others wait for. Those of the brokers wait more than they
# calculate, so they go beside those that do nothing else.
RUNS = (
    "tests/lab", "tests/lab/wiping", "tests/control_plane", "tests/lab/installed", "tests/edge_agent",
    "tests/scenarios", "tests/contracts/database", "tests/contracts", "tests/provisioning", "tests/faults",
    "tests/control_plane/cli", "tests", "tests/control_plane/routes", "tests/control_plane/coverage",
)  # fmt: skip
ON_DISK = {
    "tests/lab", "tests/lab/wiping", "tests/lab/installed", "tests/scenarios", "tests/contracts", "tests/faults",
}  # fmt: skip
_AT_ONCE = 4
_MEMORY_KIB = 8 << 20
# In a mount namespace of the run's own, with which it goes. Not /dev/shm: umockdev takes what lies in /dev for devices.
_IN_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=711 tmpfs "$TMPDIR"; exec "$@"', "sh")


def left_to_others(run: str) -> Iterator[str]:
    """Yield what lies in `run` and is a run of its own."""
    yield from (other for other in RUNS if other.startswith(f"{run}/"))


def main(options: Sequence[str]) -> int:
    # Two runs at once would write one cache of what failed last.
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    ended: list[tuple[str, str, int]] = []
    with _place_in_memory() as memory, ThreadPoolExecutor(_AT_ONCE) as pool:
        begun = [pool.submit(_done, pytest, run, None if run in ON_DISK else memory) for run in RUNS]
        for each in as_completed(begun):
            run, said, code = each.result()
            print(f"\n{run}\n{said}", end="", flush=True)
            ended.append((run, said.rstrip().rpartition("\n")[2], code))
    print("\n", *(f"{run:30} {last}\n" for run, last, _ in ended), sep="", end="")
    return max(code for *_, code in ended)


@contextmanager
def _place_in_memory() -> Iterator[Path | None]:
    """Yield where runs may have a file system in memory; None where there is none to spare, or we may mount none."""
    available = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if os.geteuid() != 0 or available is None or int(available[1]) < _MEMORY_KIB:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lg-") as folder:
        # Every account may pass, as through /tmp: some tests are about what another one may read.
        Path(folder).chmod(0o711)
        yield Path(folder)


def _done(pytest: Sequence[str], run: str, memory: Path | None) -> tuple[str, str, int]:
    command, environment = [*pytest, run, *(f"--ignore={other}" for other in left_to_others(run))], dict(os.environ)
    if memory is not None:
        # Short, for the sockets that lie in it.
        command = [*_IN_MEMORY, *command, f"--basetemp={memory / 'tests'}"]
        environment["TMPDIR"] = str(memory)
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    return run, done.stdout, done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run all tests, as several runs of pytest of which four are under way, since most tests wait for other processes.

Each leaves to the others what is theirs, so that a new folder is in the run of what is around it. The control plane's
tests are several: one run of them all would come to more descriptors than the select() of the DICOM peers in tests can
watch. The lab's are several too: a guest has one processor's work to do, and all of them would be the last to end.

What runs whole programs, or takes something away from them, does so on a disk as a hospital has it. The others have
their files in memory: an agent that starts writes a segment of 32 MiB and waits until it is synced, and a thousand
tests start one. So have the databases' tests, some hundred databases that are synced: a server that is killed there
leaves just what it would leave on a disk.

What a run has to say comes when it is done, and at the end what became of each. The exit code is pytest's own, the
worst of all. A few tests that failed while others had the processors are tried again when nothing else runs, each
once. Those that pass then are *unsteady*: named at the end, with what was wrong the first time above, and to be mended
though the run is not failed for them. None of NEVER_UNSTEADY, where images are taken through faults: what is lost once
in thirty runs is lost.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
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
NEVER_UNSTEADY = {"tests/faults"}
_MOST_UNSTEADY = 3  # more than that is no accident
_AT_ONCE = 4
_MEMORY_KIB = 8 << 20
# In a mount namespace of the run's own, with which it goes. Not /dev/shm: umockdev takes what lies in /dev for devices.
_IN_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=711 tmpfs "$TMPDIR"; exec "$@"', "sh")


def left_to_others(run: str) -> Iterator[str]:
    """Yield what lies in `run` and is a run of its own."""
    yield from (other for other in RUNS if other.startswith(f"{run}/"))


@dataclass(frozen=True)
class Ended:
    """What became of a run: what pytest printed, its exit code, and the ids of the tests that failed."""

    run: str
    said: str
    code: int
    failed: tuple[str, ...] = ()

    @property
    def last_line(self) -> str:
        return self.said.rstrip().rpartition("\n")[2]

    def all_passed(self, tests: Sequence[str]) -> bool:
        """Return whether just these ran, and every one of them passed: none was skipped, and none not found."""
        return self.code == 0 and self.last_line.startswith(f"{len(tests)} passed in ")


def main(options: Sequence[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-q", *options]
    with _place_in_memory() as memory:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            begun = [pool.submit(_done, pytest, run, None if run in ON_DISK else memory) for run in RUNS]
            ended = [_told(each.result()) for each in as_completed(begun)]
        tried = [
            (each, _told(_done(pytest, each.run, None if each.run in ON_DISK else memory, each.failed)))
            for each in (() if options else to_try_again(ended))
        ]
    unsteady = {each.run for each, again in tried if again.all_passed(each.failed)}
    print("\n", *(f"{each.run:30} {each.last_line}\n" for each in ended), sep="", end="")
    for each, again in tried:
        became = "UNSTEADY: passed when tried again" if each.run in unsteady else "not passed when tried again"
        print(f"{each.run:30} {became}: {again.last_line}")
    return max(0 if each.run in unsteady else each.code for each in ended)


def to_try_again(ended: Sequence[Ended]) -> Sequence[Ended]:
    """Return the runs whose failed tests are to be tried once more; none where something is wrong for certain."""
    bad = [each for each in ended if each.code]
    certain = any(
        each.code != 1 or not each.failed or " error" in each.last_line or each.run in NEVER_UNSTEADY for each in bad
    )
    return () if certain or sum(len(each.failed) for each in bad) > _MOST_UNSTEADY else bad


def _told(ended: Ended) -> Ended:
    print(f"\n{ended.run}\n{ended.said}", end="", flush=True)
    return ended


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


def _done(pytest: Sequence[str], run: str, memory: Path | None, tests: Sequence[str] = ()) -> Ended:
    """Run the tests of `run`, or of these only `tests`."""
    with tempfile.TemporaryDirectory(prefix="lg-ran-") as cache:
        # A cache of its own: two runs at once would write one of what failed last.
        chosen = tests or (run, *(f"--ignore={other}" for other in left_to_others(run)))
        command, environment = [*pytest, "-o", f"cache_dir={cache}", *chosen], dict(os.environ)
        if memory is not None:
            # Short, for the sockets that lie in it.
            command = [*_IN_MEMORY, *command, f"--basetemp={memory / 'tests'}"]
            environment["TMPDIR"] = str(memory)
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        noted = Path(cache) / "v/cache/lastfailed"
        failed = json.loads(noted.read_text()) if noted.exists() else {}
        return Ended(run, done.stdout, done.returncode, tuple(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

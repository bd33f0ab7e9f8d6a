"""Overwriting a drive: ours beside dd with direct I/O, shred and nwipe, on loop devices over a disk and over memory.

dd writes zeros, which cost it nothing to make; the others make a stream. Ours is the engine in a process of its own,
timed from opening the drive to closing it: Python's own start, a quarter of a second, is not in it. nwipe is timed from
the line that says that it begins to the one that says that it has ended: it looks at the machine first, and waits last.

    python -m benchmarks.wiping NODE {write|samples|whole}     one turn of ours
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measure import Contender, Measured, PeerMissing, Result, cpu, take_turns
from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import write_pass
from shared.clock import SystemClock
from shared.policy.wipe import ReadBack
from shared.sanitization.stream import Content

MIB = 1 << 20
SIZE_MIB = 1024
_ROOT = Path(__file__).resolve().parents[1]
_PEERS = {"dd": "coreutils", "shred": "coreutils", "losetup": "mount", "nwipe": "nwipe"}


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Result]:  # noqa: ARG001  a drive has one size
    for program, package in _PEERS.items():
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian package {package})")
    for name, place in (("memory", Path("/dev/shm")), ("disk", folder or Path("/var/tmp"))):  # noqa: S108
        with _drive_in(place, direct=name == "disk") as node:
            yield from _measured(name, node, rounds)


def _measured(name: str, node: Path, rounds: int) -> Iterator[Result]:
    _dd_write(node)  # the file's blocks are there before anybody is timed
    title = f"{SIZE_MIB} MiB, a loop device over {name}"
    write, verify = "write only", "write, and read all of it back"
    contenders = (
        Contender("dd", f"{write}, zeros, oflag=direct conv=fsync", partial(_dd, node, read=False)),
        Contender("leadglass", f"{write}, random", partial(_ours, node, "write")),
        Contender("shred", f"{write}, -n1", partial(_program, ["shred", "-n1", str(node)])),
        Contender("nwipe", f"{write}, --method=random --verify=off --noblank", partial(_nwipe, node, "off")),
        Contender("dd twice", f"{verify}, to /dev/null, iflag=direct", partial(_dd, node, read=True)),
        Contender("leadglass whole", f"{verify}, held against the stream", partial(_ours, node, "whole")),
        Contender("leadglass samples", "write, and read a tenth back", partial(_ours, node, "samples")),
        Contender("nwipe verified", f"{verify}, --verify=last", partial(_nwipe, node, "last")),
    )
    lines = take_turns(contenders, rounds)
    yield Result(f"{title}, written", cpu(), SIZE_MIB, MIB, "dd", lines[:4])
    yield Result(f"{title}, written and read back", cpu(), SIZE_MIB, MIB, "dd twice", lines[4:])


@contextmanager
def _drive_in(place: Path, *, direct: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=place) as work:
        file = Path(work) / "drive"
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, SIZE_MIB * MIB)
        command = ["losetup", "--find", "--show", f"--direct-io={'on' if direct else 'off'}", str(file)]
        node = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        try:
            yield Path(node)
        finally:
            subprocess.run(["losetup", "--detach", node], check=True)


# ---- a turn of each


def _program(command: Sequence[str]) -> Measured:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Measured(took, usage.ru_utime + usage.ru_stime, None)


def _dd(node: Path, *, read: bool) -> Measured:
    written = _dd_write(node)
    if not read:
        return written
    back = _program(["dd", f"if={node}", "of=/dev/null", "bs=1M", "iflag=direct"])
    return Measured(written.seconds + back.seconds, written.cpu_seconds + back.cpu_seconds, None)


def _dd_write(node: Path) -> Measured:
    return _program(["dd", "if=/dev/zero", f"of={node}", "bs=1M", f"count={SIZE_MIB}", "oflag=direct", "conv=fsync"])


def _nwipe(node: Path, verify: str) -> Measured:
    options = ["--method=random", f"--verify={verify}", "--noblank", "--autonuke", "--nogui", "--nowait"]
    process = subprocess.Popen(["stdbuf", "-oL", "nwipe", *options, str(node)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said: dict[str, float] = {}
    for line in process.stdout:
        for words in ("Invoking method", "Finished final round", "Nwipe successfully completed"):
            if words in line:
                said.setdefault(words, time.monotonic())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert "Nwipe successfully completed" in said
    took = said["Finished final round"] - said["Invoking method"]
    return Measured(took, usage.ru_utime + usage.ru_stime, None)


def _ours(node: Path, what: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.wiping", str(node), what]
    found = json.loads(subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout)
    return Measured(found["seconds"], found["cpu_seconds"], found["max_rss_kib"])


# ---- the process that is ours


class _Unwatched:
    is_stopped = False

    def at(self, done: int, total: int) -> None:
        pass


def _wipe(node: Path, what: str) -> None:
    clock, content, watch = SystemClock(), Content.random(secrets.token_bytes(32)), _Unwatched()
    began, cpu_began = time.monotonic(), time.process_time()
    with open_drive(node, None) as drive:
        state = PassState.begin(content, "", drive.size_bytes, clock.now())
        assert write_pass(drive, state, watch, clock, lambda _: None).completed
        if what != "write":
            found = read_back(drive, content, ReadBack(what), secrets.token_bytes(32), watch, clock)
            assert found.bytes_equal == found.bytes_to_read
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    most = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "max_rss_kib": int(most[0])}))


if __name__ == "__main__":
    _wipe(Path(sys.argv[1]), sys.argv[2])

"""Children that answer, fail, say too much, or never come back."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.short_lived import Answered, ShortLived, of_ours
from provisioning.demo.processes import wait_until

_TIMEOUT_S = 20.0
_ROOT = Path(__file__).parents[2]
_BECOMES_NOBODY = """
import os, signal
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
os.kill(os.getpid(), signal.SIGSTOP)
"""
_ASKS_IT = """
import os, select, sys
from edge_agent.short_lived import ShortLived
child = ShortLived([sys.executable, "-I", "-c", sys.argv[1]], most_bytes=10, timeout_s=20, now_s=0)
pid = child._process.pid
watched = os.pidfd_open(pid)
os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
answered = child.step(20)
has_gone = select.select([watched], [], [], float(sys.argv[2]))[0]
print(answered.why if answered else "it goes on", 0 if has_gone else pid, sep="\\n")
"""


@contextmanager
def child(program: str, *, given: bytes = b"", most_bytes: int = 1000) -> Iterator[ShortLived]:
    command = [sys.executable, "-I", "-c", program]
    started = ShortLived(command, given=given, most_bytes=most_bytes, timeout_s=_TIMEOUT_S, now_s=0)
    try:
        yield started
    finally:
        started.end()
        started._process.wait(60)


def answered(started: ShortLived) -> Answered | None:
    """Return what came of it once it has ended, as a loop learns of it."""
    assert select.select([started], [], [], _TIMEOUT_S)[0]
    return started.step(0)


def is_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_given_is_read_and_what_is_printed_is_the_answer() -> None:
    with child("import sys; print(sys.stdin.read().upper(), end='')", given=b"policy") as started:
        assert answered(started) == Answered(b"POLICY")


def test_more_is_given_and_printed_than_a_pipe_would_hold() -> None:
    given = os.urandom(300_000)

    with child(
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", given=given, most_bytes=400_000
    ) as started:
        assert answered(started) == Answered(given)


def test_a_child_that_fails_has_no_answer() -> None:
    with child("print('half'); raise SystemExit(3)") as started:
        assert answered(started) == Answered(b"", "it ended with code 3")


def test_a_child_cannot_print_more_than_it_may() -> None:
    with child("import os\nwhile os.write(1, b'x' * 100): pass", most_bytes=1050) as started:
        said = answered(started)

    assert said is not None
    assert said.output == b""
    assert said.why == "it ended with code 1"


def test_it_goes_on_until_its_deadline_and_is_given_up_then_with_whatever_it_started() -> None:
    program = "import subprocess, os\nsubprocess.Popen(['sleep', '600'])\nos.write(1, b'started')\nos.read(0, 0)\n"
    with child(program + "import time; time.sleep(600)") as started:
        assert started.step(_TIMEOUT_S - 0.01) is None
        assert started.step(_TIMEOUT_S) == Answered(b"", "it did not answer within 20 s")

        started._process.wait(60)
        # What it started is no child of ours: the system clears it away, when it comes to it.
        assert wait_until(lambda: not is_group(started._process.pid), 60) is not None


def test_a_child_that_is_stopped_keeps_nobody_waiting() -> None:
    with child("import time; time.sleep(600)") as started:
        os.kill(started._process.pid, signal.SIGSTOP)

        assert started.step(_TIMEOUT_S + 1) == Answered(b"", "it did not answer within 20 s")


def capabilities() -> list[str]:
    """Return what the guard's unit leaves it, as setpriv(1) names them."""
    unit = (_ROOT / "systemd" / "leadglass-guard.service").read_text()
    (line,) = re.findall("^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    return [name.removeprefix("CAP_").lower() for name in line.split()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("may_kill", [True, False], ids=["as the unit has it", "without CAP_KILL"])
def test_a_child_that_became_somebody_else_is_given_up_and_killed_if_that_is_allowed(may_kill: bool) -> None:
    kept = [f"+{name}" for name in capabilities() if may_kill or name != "kill"]
    command = ["setpriv", f"--bounding-set=-all,{','.join(kept)}", "--inh-caps=-all", sys.executable]
    command += ["-c", _ASKS_IT, _BECOMES_NOBODY, "20" if may_kill else "0.1"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=180)

    why, left = done.stdout.splitlines() if done.returncode == 0 else (done.stderr, "0")
    if left != "0":
        os.kill(int(left), signal.SIGKILL)
    assert why == "it did not answer within 20 s"
    assert (left == "0") is may_kill


def test_a_program_that_is_not_there_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(FileNotFoundError):
        ShortLived(["/nowhere/program"], most_bytes=10, timeout_s=1, now_s=0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_our_modules_run_in_the_python_that_runs_this() -> None:
    assert of_ours("edge_agent.media.child", "8:0")[-3:] == ["-m", "edge_agent.media.child", "8:0"]

"""Children that answer, fail, say too much, or never come back."""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.short_lived import Answered, ShortLived, of_ours

_TIMEOUT_S = 20.0


@contextmanager
def child(program: str, *, given: bytes = b"", most_bytes: int = 1000) -> Iterator[ShortLived]:
    command = [sys.executable, "-I", "-c", program]
    started = ShortLived(command, given=given, most_bytes=most_bytes, timeout_s=_TIMEOUT_S, now_s=0)
    try:
        yield started
    finally:
        started.end()
        started._process.wait(10)


def answered(started: ShortLived) -> Answered | None:
    """Return what came of it once it has ended, as a loop learns of it."""
    assert select.select([started], [], [], _TIMEOUT_S)[0]
    return started.step(0)


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
        began = time.monotonic()
        assert started.step(_TIMEOUT_S) == Answered(b"", "it did not answer within 20 s")

        assert time.monotonic() - began < 1
        started._process.wait(10)
        with pytest.raises(ProcessLookupError):
            os.killpg(started._process.pid, 0)


def test_a_child_that_is_stopped_keeps_nobody_waiting() -> None:
    with child("import time; time.sleep(600)") as started:
        os.kill(started._process.pid, signal.SIGSTOP)

        assert started.step(_TIMEOUT_S + 1) == Answered(b"", "it did not answer within 20 s")


def test_a_program_that_is_not_there_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(FileNotFoundError):
        ShortLived(["/nowhere/program"], most_bytes=10, timeout_s=1, now_s=0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_our_modules_run_in_the_python_that_runs_this() -> None:
    assert of_ours("edge_agent.media.child", "8:0")[-3:] == ["-m", "edge_agent.media.child", "8:0"]

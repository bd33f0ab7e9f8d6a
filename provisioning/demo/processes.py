"""Starts the real programs, waits until they are ready, and leaves none behind.

Every child leads a process group of its own, so Ctrl-C in the terminal reaches the demo only and the demo stops its
children in order: first asked, then made to, with whatever they started themselves.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from shared.errors import Unavailable

_STOP_S = 15.0
_LOOK_EVERY_S = 0.05
_TAIL_LINES = 12

MODULES = {
    "leadglass-server": "control_plane",
    "leadglass-agent": "edge_agent",
    "leadglass-guard": "edge_agent.guard_main",
    "leadglass-verify": "provisioning.verify",
}


class ProgramFailed(Unavailable):
    """A program ended, or did not do in time what it was started for. Quotes the end of its log."""

    def __init__(self, program: str, what: str, log_tail: str) -> None:
        super().__init__(f"{program} {what}" + (f"; the end of its log:\n{log_tail}" if log_tail else ""))
        self.program, self.what = program, what


class Child:
    """One program that keeps running. Its log lines go to a file of its own."""

    def __init__(
        self, program: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`: instead of our own."""
        self.program, self._log = program, log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*_ends_with_us(), *command(program, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what it tells a person, such as a sign-in link
                stderr=out,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, ready_file: Path, timeout_s: float = 30.0) -> Mapping[str, Any]:
        """Return what the program wrote to its ready file. Raises ProgramFailed as soon as it ends, or in time."""
        deadline = monotonic() + timeout_s
        while monotonic() < deadline:
            try:
                ready: Mapping[str, Any] = json.loads(ready_file.read_text())
                return ready
            except (FileNotFoundError, ValueError):
                pass
            if self._ended_within(_LOOK_EVERY_S):
                raise ProgramFailed(self.program, f"ended with exit code {self._process.returncode}", self.log_tail())
        raise ProgramFailed(self.program, f"was not ready within {timeout_s:.0f} s", self.log_tail())

    def stop(self) -> int:
        """End the program in order and return its exit code, which is negative where a signal ended it."""
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self._kill_group()
        return self._process.wait()

    def log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill_group(self) -> None:
        # The group outlives its leader for as long as something the leader started is running.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _ends_with_us() -> list[str]:
    """Return what makes the kernel end a program when we are killed, where util-linux has it."""
    return ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []


class Children:
    """All running programs; leaving the block stops them, the last started first."""

    def __init__(self, logs: Path) -> None:
        self._logs, self._running = logs, list[Child]()

    def start(self, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        child = Child(program, arguments, self._logs / f"{program}.log", environment)
        self._running.append(child)
        return child

    def stop(self, child: Child) -> int:
        self._running.remove(child)
        return child.stop()

    def stop_all(self) -> list[tuple[str, int]]:
        """Stop all, the last started first; return each program with its exit code."""
        codes = []
        with _undisturbed():
            while self._running:
                child = self._running.pop()
                codes.append((child.program, child.stop()))
        return codes

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop_all()


class Interrupted(BaseException):
    """Somebody asked the demo to end. Not an Exception, so that no step takes it for a failure of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def interrupt_on_signals() -> None:
    """Turn the signals that end a program into Interrupted, so that every `with` block closes."""

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


class _undisturbed:  # noqa: N801 (reads as a block)
    """While children are being stopped, one more Ctrl-C must not leave the rest of them running."""

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Ran:
    """A program that ran to its end."""

    def __init__(self, program: str, done: "subprocess.CompletedProcess[str]") -> None:
        self.program, self.exit_code, self.out, self.err = program, done.returncode, done.stdout, done.stderr

    def json(self) -> Any:
        """Return what it printed. Raises ProgramFailed: it failed, or printed something else."""
        try:
            return json.loads(self.succeeded().out)
        except ValueError as exc:
            raise ProgramFailed(self.program, "did not print JSON", self.out) from exc

    def succeeded(self) -> "Ran":
        """Raises ProgramFailed."""
        if self.exit_code:
            raise ProgramFailed(self.program, f"ended with exit code {self.exit_code}", self.message)
        return self

    @property
    def message(self) -> str:
        """What it told the person who ran it: the last line that is not a log line."""
        lines = [line for line in self.err.splitlines() if line.strip() and not line.startswith("{")]
        said = lines[-1] if lines else self.out.strip()
        name, _, rest = said.partition(": ")
        return rest if name.startswith(self.program) else said


def run(program: str, *arguments: str, text_in: str | None = None, timeout_s: float = 60.0) -> Ran:
    """Run a program to its end. Raises ProgramFailed when it takes too long."""
    try:
        done = subprocess.run(
            command(program, arguments),
            input=text_in or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as exc:
        raise ProgramFailed(program, f"did not end within {timeout_s:.0f} s", "") from exc
    return Ran(program, done)


def command(program: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of one of our programs, in this interpreter's own environment."""
    return [sys.executable, "-m", MODULES[program], *arguments]


def wait_until(holds: Callable[[], bool], timeout_s: float, *, look_every_s: float = _LOOK_EVERY_S) -> float | None:
    """Return after how many seconds `holds` did, None when it did not within `timeout_s`."""
    began, pause = monotonic(), threading.Event()
    while not holds():
        if monotonic() - began > timeout_s:
            return None
        pause.wait(look_every_s)
    return monotonic() - began


def left_behind(folder: Path) -> list[int]:
    """Return the processes, but for ourselves and those that started us, that work in `folder` or were given it."""
    ours, found = _lineage(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) in ours:
            continue
        try:
            given = os.fsencode(folder) in (entry / "cmdline").read_bytes()
            within = (entry / "cwd").readlink().is_relative_to(folder)
        except (OSError, ValueError):
            # It has ended meanwhile, or is somebody else's.
            continue
        if given or within:
            found.append(int(entry.name))
    return found


def _lineage() -> set[int]:
    ours, pid = set[int](), os.getpid()
    while pid > 0:
        ours.add(pid)
        # The fields follow the command's name, which stands in brackets and may hold anything.
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return ours

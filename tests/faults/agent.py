"""The agent as a real process: started, killed, started again in the same folder, and watched while it runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Protocol

import psutil

from edge_agent.config import AgentFolder
from edge_agent.health.local import LocalStatus, read_status
from tests.faults import standin
from tests.forked import FORKING, Forked

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_STOP_S = 90.0
_LOOK_EVERY_S = 0.05  # a look at the status computes for a fifth of that

AGENT = ("edge_agent",)
ON_A_SMALL_DISK = ("tests.faults.standin", "whole")


class Process(Protocol):
    pid: int

    def kill(self) -> None: ...

    def terminate(self) -> None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class AgentProcess:
    """One run of the agent. Its folder outlives it; its log lies beside the folder and gathers every run."""

    def __init__(self, folder: AgentFolder, process: Process, ready: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self._process, self._ready = process, ready
        self._never = Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    def port(self) -> int:
        """Return the DICOM port once the agent listens."""
        self.wait_until(lambda: self._listens_on() is not None, _START_S)
        port = self._listens_on()
        assert port is not None
        return port

    def kill(self) -> None:
        self._process.kill()

    def killed(self) -> None:
        """Kill, and return when it is gone."""
        self.kill()
        self._process.wait(_STOP_S)

    def terminate(self) -> int:
        self._process.terminate()
        return self._process.wait(_STOP_S)

    def ended(self) -> int:
        """Return the exit code once it has ended by itself."""
        return self._process.wait(_STOP_S)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def status(self) -> LocalStatus:
        return read_status(self.folder)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Return when `condition` holds; the agent has to go on running meanwhile."""
        for _ in range(int(timeout_s / _LOOK_EVERY_S)):
            if condition():
                return
            self._pause()
        raise AssertionError(f"it did not happen in time; the log ends: {self.log.read_text()[-2000:]}")

    def wait_until_idle(self, timeout_s: float = 120.0) -> None:
        """Return when the centre has receipted every object and holds every record."""

        def is_idle() -> bool:
            status = self.status()
            return (status.coming_in, status.waiting, status.audit_waiting) == (0, 0, 0)

        try:
            self.wait_until(is_idle, timeout_s)
        except AssertionError as exc:
            raise AssertionError(f"{self.status()} {exc}") from exc

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def threads(self) -> int:
        return int(psutil.Process(self.pid).num_threads())

    def logged(self, event: str) -> int:
        """Return how often any run so far has logged `event`."""
        return self.log.read_bytes().count(f'"event": "{event}"'.encode())

    def _listens_on(self) -> int | None:
        try:
            said = json.loads(self._ready.read_bytes())
        except FileNotFoundError:
            return None
        return said["dicom_port"] if said["pid"] == self.pid else None

    def _pause(self) -> None:
        # Not by waiting for the process, which looks for its end a hundred times as often.
        self._never.wait(_LOOK_EVERY_S)
        if not self.is_running():
            raise AssertionError(f"the agent ended: {self.log.read_text()[-2000:]}")


@contextmanager
def running(
    folder: AgentFolder,
    *,
    module: Sequence[str] = ON_A_SMALL_DISK,
    environment: Mapping[str, str] | None = None,
    beside: Path | None = None,
) -> Iterator[AgentProcess]:
    """Run the agent; whatever happens it is gone at the end.

    `module` is what python runs, the agent or a stand-in with the same command line. `beside` is where ready file and
    log lie, by default beside the agent's folder.
    """
    place = beside or folder.path.parent
    ready, log = place / "ready.json", place / "agent.log"
    ready.unlink(missing_ok=True)
    options = ["run", "--data", str(folder.path), "--dicom-port", "0", "--ready-file", str(ready)]
    process = _started(module, options, environment or {}, log)
    try:
        yield AgentProcess(folder, process, ready, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _started(module: Sequence[str], options: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    # A library that is to be loaded before all else is loaded by no process that is there already.
    if module[0] == standin.__name__ and "LD_PRELOAD" not in environment:
        return Forked(FORKING.Process(target=standin.begin, args=([*module[1:], *options], environment, log)))
    with log.open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", *module, *options], cwd=ROOT, stderr=stderr, env={**os.environ, **environment}
        )

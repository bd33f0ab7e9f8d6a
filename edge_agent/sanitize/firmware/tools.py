"""The programs that speak to a drive: each by its absolute path, without a shell, with a limit of time and of output.

An exit status says what the program thought. What the drive did is in what the drive answered, so callers read that.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.short_lived import of_fixed_size
from shared.errors import Unavailable

MOST_BYTES = 256 << 10
ANSWER_S = 30.0
_FOLDERS = (Path("/usr/sbin"), Path("/usr/bin"), Path("/sbin"), Path("/bin"))
# The Debian package that has each program, for whoever is told that it is missing.
PACKAGES = {
    "blkdiscard": "util-linux",
    "hdparm": "hdparm",
    "mmc": "mmc-utils",
    "nvme": "nvme-cli",
    "sg_opcodes": "sg3-utils",
    "sg_requests": "sg3-utils",
    "sg_sanitize": "sg3-utils",
}
_VERSION_ARGUMENT = {
    "blkdiscard": "--version",
    "hdparm": "-V",
    "nvme": "version",
    "sg_sanitize": "--version",
}


class ToolMissing(Unavailable):
    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed (package {PACKAGES[program]})")
        self.program = program


class NoAnswer(Unavailable):
    def __init__(self, program: str, limit_s: float) -> None:
        super().__init__(f"{program} had no answer of the drive within {limit_s:.0f} s")
        self.program = program


@dataclass(frozen=True)
class Answer:
    """`code` is the exit status: below zero, the signal that ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """What it said, in one line, for a person; the end of it where that is long."""
        text = (self.err + b" " + self.out).decode("ascii", "replace")
        return " ".join("".join(char if " " <= char <= "~" else " " for char in text).split())[-160:]


class Tools(Protocol):
    def run(self, program: str, *arguments: str, limit_s: float = ANSWER_S) -> Answer:
        """Raises ToolMissing, NoAnswer."""

    def version(self, program: str) -> str:
        """Return program and version in a line, as a report names it. Raises ToolMissing, NoAnswer."""


class SystemTools:
    """The host's own. `environment` is all that a program finds in its environment."""

    def __init__(self, folders: tuple[Path, ...] = _FOLDERS, environment: Mapping[str, str] | None = None) -> None:
        self._folders = folders
        self._environment = {"LC_ALL": "C", **(environment or {})}
        self._left: list[subprocess.Popen[bytes]] = []  # what a dead drive holds in the kernel

    def run(self, program: str, *arguments: str, limit_s: float = ANSWER_S) -> Answer:
        path = self._path(program)
        out, err = of_fixed_size(MOST_BYTES), of_fixed_size(MOST_BYTES)
        try:
            process = subprocess.Popen(
                [str(path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._environment,
                start_new_session=True,  # an interrupt from the keyboard is for us, and we end it ourselves
            )
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self._end(process)
                raise NoAnswer(program, limit_s) from None
            return Answer(code, _written(out), _written(err))
        finally:
            os.close(out)
            os.close(err)

    def version(self, program: str) -> str:
        if program not in _VERSION_ARGUMENT:
            self._path(program)
            return program
        said = self.run(program, _VERSION_ARGUMENT[program])
        first = next(iter((said.out.strip() or said.err.strip()).decode("ascii", "replace").splitlines()), "")
        return f"{program}: {first}"[:100]

    def _path(self, program: str) -> Path:
        """Raises ToolMissing."""
        for folder in self._folders:
            if os.access(folder / program, os.X_OK):
                return folder / program
        raise ToolMissing(program)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        self._left = [each for each in (*self._left, process) if each.poll() is None]


def _written(descriptor: int) -> bytes:
    """Return what the child wrote: both have one file, and with it one place for the next byte."""
    return os.pread(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR), 0)

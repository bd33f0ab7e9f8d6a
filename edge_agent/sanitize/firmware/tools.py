"""The programs that speak to a drive. Their exit status says what they thought; callers read what drives answer."""

from dataclasses import dataclass

from edge_agent.sanitize.programs import Run, run
from shared.errors import Unavailable

ANSWER_S = 30.0
# The Debian package that has each program, for whoever is told that it is missing.
_PACKAGES = {
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


class NoAnswer(Unavailable):
    """The program did not end by itself, or is not there."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"{why} (package {_PACKAGES[program]})")
        self.program, self.why = program, why


@dataclass(frozen=True)
class Answer:
    """`code` is the exit status: below zero, the signal that ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """What it complained of, or else what it said, in one line; the end of it where that is long."""
        text = (self.err.strip() or self.out).decode("ascii", "replace")
        return " ".join("".join(char if " " <= char <= "~" else " " for char in text).split())[-160:]


class Tools:
    """Those of the host, through `run`."""

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def run(self, program: str, *arguments: str, limit_s: float = ANSWER_S) -> Answer:
        """Raises NoAnswer."""
        ran = self._run([program, *arguments], limit_s)
        if ran.code is None:
            raise NoAnswer(program, ran.why)
        return Answer(ran.code, ran.stdout, ran.stderr)

    def version(self, program: str) -> str:
        """Return program and version in a line, as a report names it. Raises NoAnswer."""
        if program not in _VERSION_ARGUMENT:
            return program
        said = self.run(program, _VERSION_ARGUMENT[program])
        first = next(iter((said.out.strip() or said.err.strip()).decode("ascii", "replace").splitlines()), "")
        return (first if first.startswith(program) else f"{program} {first}")[:100]

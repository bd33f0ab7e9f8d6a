"""Runs the installed programs to their end, each under the account that its files belong to."""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.devices.printable import printable
from shared.errors import Refused, Unavailable

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_CHARS = 600


class NoSuchAccount(Refused):
    def __init__(self, account: str) -> None:
        super().__init__(f"there is no account {account} on this machine, which `leadglass-provision install` makes")
        self.account = account


class NotRoot(Refused):
    def __init__(self, account: str) -> None:
        super().__init__(f"only root may run programs as {account}: run this with sudo")
        self.account = account


class ProgramMissing(Unavailable):
    def __init__(self, program: Path) -> None:
        super().__init__(f"there is no {program}: install Leadglass first")
        self.program = program


@dataclass(frozen=True)
class Ended:
    """What a program said that ran to its end; `message` is its last line for people."""

    exit_code: int
    out: str
    message: str


class Programs:
    """`lock` is held by every program as long as it runs; `account` is who the agent's files belong to."""

    def __init__(self, account: str, lock: int, folder: Path = Path(sys.executable).parent) -> None:
        self._account, self._lock, self._folder = account, lock, folder

    def agent(self, *arguments: str, text_in: str = "") -> Ended:
        """Run `leadglass-agent` as the agent's account. Raises NoSuchAccount, NotRoot, ProgramMissing."""
        return self._run([*self._as_account(), str(self._program("leadglass-agent")), *arguments], text_in)

    def guard(self, *arguments: str) -> Ended:
        """Run `leadglass-guard` as root. Raises ProgramMissing."""
        return self._run([str(self._program("leadglass-guard")), *arguments], "")

    def own_folder(self, folder: Path) -> None:
        """Have a folder that is the account's alone. Raises NoSuchAccount, OSError."""
        found = self._found()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != found.pw_uid:
            os.chown(folder, found.pw_uid, found.pw_gid)

    def _run(self, command: Sequence[str], text_in: str) -> Ended:
        # In a session of its own: Ctrl-C ends the visit, and never a program that is about to store what it was given.
        done = subprocess.run(
            command,
            input=text_in,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
            pass_fds=(self._lock,),
            start_new_session=True,
        )
        return Ended(done.returncode, done.stdout, _message(done.stderr) or _message(done.stdout))

    def _as_account(self) -> list[str]:
        found = self._found()
        if os.geteuid() == found.pw_uid:
            return []
        if os.geteuid() != 0:
            raise NotRoot(self._account)
        return ["setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--init-groups", "--"]

    def _found(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self._account)
        except KeyError as exc:
            raise NoSuchAccount(self._account) from exc

    def _program(self, name: str) -> Path:
        program = self._folder / name
        if not program.exists():
            raise ProgramMissing(program)
        return program


def _message(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
    return printable(lines[-1].partition(": ")[2] or lines[-1], _MOST_CHARS) if lines else ""

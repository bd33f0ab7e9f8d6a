"""Has the host's own programs take up what changed: systemd, udev, grub, initramfs-tools, sysusers."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from provisioning.install.plan import (
    MAKE_TEMPORARY,
    RELOAD_SYSTEMD,
    RELOAD_UDEV,
    RESTART,
    UPDATE_GRUB,
    UPDATE_INITRAMFS,
)
from shared.errors import Unavailable

_SECONDS = 600.0
_LAST_LINES = 6
_ON_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramFailed(Unavailable):
    def __init__(self, command: Sequence[str], said: str) -> None:
        super().__init__(f"{' '.join(command)} did not succeed: {said.strip() or 'it said nothing'}")
        self.command, self.said = command, said


class System(Protocol):
    """The programs of a host. Raises ProgramFailed."""

    def make_accounts(self, file: Path) -> None: ...

    def remove_account(self, name: str) -> None: ...

    def act(self, action: str) -> None:
        """Do one of the actions of plan.py."""

    def start(self, unit: str) -> None: ...

    def stop(self, unit: str) -> None: ...

    def is_active(self, unit: str) -> bool: ...


class RunningSystem:
    """This machine. What does not run systemd has nothing reloaded: it takes the files up when it starts."""

    def __init__(self, runs_systemd: Callable[[], bool] = Path("/run/systemd/system").is_dir) -> None:
        self._runs_systemd = runs_systemd

    def make_accounts(self, file: Path) -> None:
        _run("systemd-sysusers", str(file))

    def remove_account(self, name: str) -> None:
        _run("userdel", name)

    def act(self, action: str) -> None:
        verb, _, unit = action.partition(" ")
        if verb == UPDATE_GRUB:
            _run("update-grub")
        elif verb == UPDATE_INITRAMFS:
            _run("update-initramfs", "-u", "-k", "all")
        elif verb == MAKE_TEMPORARY:
            _run("systemd-tmpfiles", "--create", "--prefix=/run/leadglass-guard")
        elif self._runs_systemd():
            _run(
                *{
                    RELOAD_SYSTEMD: ("systemctl", "daemon-reload"),
                    RELOAD_UDEV: ("udevadm", "control", "--reload"),
                    RESTART: ("systemctl", "try-restart", unit),
                }[verb]
            )

    def start(self, unit: str) -> None:
        if self._runs_systemd():
            _run("systemctl", "start", unit)

    def stop(self, unit: str) -> None:
        if self._runs_systemd():
            _run("systemctl", "stop", unit)

    def is_active(self, unit: str) -> bool:
        # What is not running systemd starts nothing, so there is nothing to wait for.
        return not self._runs_systemd() or _done("systemctl", "is-active", "--quiet", unit).returncode == 0


class SystemBelow:
    """A system below a folder, of which nothing runs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def make_accounts(self, file: Path) -> None:
        _run("systemd-sysusers", f"--root={self._root}", str(file))

    def remove_account(self, name: str) -> None:
        _run("userdel", "--prefix", str(self._root), name)

    def act(self, action: str) -> None:
        pass

    def start(self, unit: str) -> None:
        pass

    def stop(self, unit: str) -> None:
        pass

    def is_active(self, unit: str) -> bool:  # noqa: ARG002 (of what does not run nothing has to be started)
        return True


def has_program(name: str) -> bool:
    return shutil.which(name, path=_ON_PATH) is not None


def _run(*command: str) -> None:
    done = _done(*command)
    if done.returncode != 0:
        raise ProgramFailed(command, "\n".join((done.stderr or done.stdout).splitlines()[-_LAST_LINES:]))


def _done(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": _ON_PATH, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ProgramFailed(command, str(exc)) from exc

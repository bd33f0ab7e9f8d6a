"""What the guard takes from the machine that it runs on: time, accounts, signals, and that it is the only one."""

import fcntl
import os
import pwd
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from edge_agent.turns import Turns
from shared.errors import Refused


class AlreadyGuarded(Refused):
    def __init__(self, state: Path) -> None:
        super().__init__(f"another guard runs on {state}")
        self.state = state


class NoSuchAccount(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no account {name}, whose agent could ask at the socket")
        self.name = name


def uptime() -> timedelta:
    """Return the time since the kernel's start, sleep included."""
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def local_zone(file: Path = Path("/etc/localtime")) -> tzinfo:
    """Return the zone of this machine, UTC where none is set."""
    try:
        with file.open("rb") as opened:
            return ZoneInfo.from_file(opened)
    except (OSError, ValueError):
        return UTC


def askers(agent_user: str | None) -> tuple[frozenset[int], int]:
    """Return which users may ask at the socket, and the group it is given to. Raises NoSuchAccount."""
    if agent_user is None:
        return frozenset({0, os.geteuid()}), os.getegid()
    try:
        account = pwd.getpwnam(agent_user)
    except KeyError as exc:
        raise NoSuchAccount(agent_user) from exc
    return frozenset({0, os.geteuid(), account.pw_uid}), account.pw_gid


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Lock the folder itself, which also works where nothing can be written. Raises AlreadyGuarded, OSError."""
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyGuarded(state) from exc
        yield
    finally:
        os.close(folder)


@contextmanager
def stopping(turns: Turns) -> Iterator[None]:
    """Have SIGTERM and SIGINT end the turns, also one that sleeps."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    turns.watch(woken, lambda: os.read(woken, 4096))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: turns.stop())
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        turns.forget(woken)
        os.close(woken)
        os.close(wakes)

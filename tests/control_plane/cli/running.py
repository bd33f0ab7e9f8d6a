"""`leadglass-server` as people run it: in this process where it only answers, else in one of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.__main__ import main
from control_plane.app import ControlPlane
from control_plane.settings import Settings
from shared.clock import SystemClock
from tests.control_plane.begun import begun
from tests.fakes.terminal import done

PORTS = ("--host-port", "0", "--enrol-port", "0", "--people-port", "0", "--no-broker")


def command(*arguments: str | Path, typing: bool = False) -> "subprocess.Popen[str]":
    """Begin a command. `typing`: somebody answers what it asks."""
    program = [sys.executable, "-m", "control_plane", *map(str, arguments)]
    keyboard = subprocess.PIPE if typing else None
    return subprocess.Popen(program, stdin=keyboard, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_apart(*arguments: str | Path) -> tuple[int, str, str]:
    process = command(*arguments)
    out, errors = process.communicate(timeout=180)
    assert "Traceback" not in errors
    return process.returncode, out, errors


def run(*arguments: str | Path, typed: str = "") -> tuple[int, str, str]:
    ended = done(main, arguments, typed)
    return ended.returncode, ended.stdout, ended.stderr


@dataclass(frozen=True)
class Centre:
    """A control plane that answers."""

    data: Path
    handover: Path
    url: str

    @property
    def who(self) -> tuple[str | Path, ...]:
        return "--as", self.handover / "credential-first-administrator.json", "--url", self.url


@dataclass(frozen=True)
class Running(Centre):
    """One in a process of its own."""

    process: "subprocess.Popen[str]"
    ready: Path
    told: list[str]


@contextmanager
def opened(folder: Path) -> Iterator[Centre]:
    """One in this process, for whoever asks it things and never kills it."""
    folders, made = begun(folder, "first-administrator")
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), SystemClock())
    centre.start()
    try:
        yield Centre(folders.data, made.credential.parent, str(centre.addresses()["people_url"]))
    finally:
        centre.stop()


def started(folder: Path) -> Running:
    """Return one that the caller has to end."""
    data, handover, ready = folder / "data", folder / "handover", folder / "ready.json"
    folder.mkdir(exist_ok=True)
    ready.write_text("where the doors were last time")
    process = command("run", "--data", data, "--handover", handover, *PORTS, "--ready-file", ready)
    assert process.stdout is not None
    told = [process.stdout.readline()]
    while not told[-1].startswith("hosts:"):
        assert process.poll() is None, process.communicate()[1]
        told.append(process.stdout.readline())
    while not ready.exists():  # it comes, whole, right after that line
        assert process.poll() is None, process.communicate()[1]
    return Running(data, handover, json.loads(ready.read_text())["people_url"], process, ready, told)


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    centre = started(folder)
    process = centre.process
    assert process.stdout is not None
    yield centre
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=180), process.stdout.read()) == (0, "")
    process.communicate()

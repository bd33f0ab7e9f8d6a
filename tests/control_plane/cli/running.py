"""`leadglass-server` in processes of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PORTS = ("--host-port", "0", "--enrol-port", "0", "--people-port", "0", "--no-broker")


def command(*arguments: str | Path, typing: bool = False) -> "subprocess.Popen[str]":
    """Begin a command. `typing`: somebody answers what it asks."""
    program = [sys.executable, "-m", "control_plane", *map(str, arguments)]
    keyboard = subprocess.PIPE if typing else None
    return subprocess.Popen(program, stdin=keyboard, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    process = command(*arguments)
    out, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, out, errors


@dataclass(frozen=True)
class Running:
    """A control plane in a process of its own."""

    process: "subprocess.Popen[str]"
    data: Path
    handover: Path
    ready: Path
    told: list[str]

    @property
    def who(self) -> tuple[str | Path, ...]:
        url = json.loads(self.ready.read_text())["people_url"]
        return "--as", self.handover / "credential-first-administrator.json", "--url", url


@contextmanager
def running(folder: Path) -> Iterator[Running]:
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
    yield Running(process, data, handover, ready, told)
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=60), process.stdout.read()) == (0, "")
    process.communicate()

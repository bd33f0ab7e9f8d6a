"""A visit with the real programs and a real control plane, cut off in every place where that could hurt."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_config
from edge_agent.usb_policy.trust import load_trust
from provisioning.demo.processes import wait_until
from provisioning.visit.record import State, VisitRecord
from tests.fakes.ports import free_port
from tests.provisioning.preflight.tree import machine_tree
from tests.scenarios.test_moving_a_spool import Hospital

_ASSET = "CT 2, room 1.14"
_ME = pwd.getpwuid(os.geteuid()).pw_name
# A handshake takes less of the host, and two requests for certificates more.
_HANDSHAKE_BYTES = 1500


class HeldAnswers:
    """Stands between a host and the enrolment door: lets everything pass but, once told to, the answer to a code."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("https://").partition(":")
        self._door = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.holding, self.released = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._door)
                sent = [0]
                threading.Thread(target=self._pass_on, args=(near, far, sent, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(far, near, sent, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, sent: list[int], is_answer: bool) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65_536):
                if not is_answer:
                    sent[0] += len(data)
                elif sent[0] > _HANDSHAKE_BYTES:
                    self.holding.set()
                    self.released.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class Engineer:
    """Somebody at the machine, which is a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        machine_tree(root).attach("1-3", name="Keyboard K120")
        self.file = root / "var/lib/leadglass-provision/visit.json"
        self.identity = AgentFolder(root / "var/lib/leadglass")

    def types(self, *arguments: str, code: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self._line(arguments), input=f"{code}\n" if code else "", capture_output=True, text=True,
                              check=False, timeout=60)  # fmt: skip

    @contextmanager
    def begins(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        with subprocess.Popen(self._line(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as visit:
            try:
                yield visit
            finally:
                visit.kill()

    def record(self) -> VisitRecord:
        return VisitRecord.parse(self.file.read_bytes())

    def _line(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "provisioning", "visit", "--root", str(self.root), "--account", _ME, *arguments]


@pytest.fixture
def engineer(tmp_path: Path) -> Engineer:
    return Engineer(tmp_path / "machine")


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path / "hospital")
    made.folder.mkdir()
    with made.centre():
        yield made


def code(hospital: Hospital) -> str:
    return str(hospital.person("code", "--asset", _ASSET)["code"])


def site(hospital: Hospital, url: str, file: Path) -> str:
    hosts = next(iter(hospital.person("status")["doors"]))
    return str(hosts)


def test_whatever_is_killed_the_visit_goes_on_where_it_was_and_spends_one_code(
    hospital: Hospital, engineer: Engineer, tmp_path: Path
) -> None:
    pass

"""A visit with the real programs and a real control plane, cut off in every place where that could hurt."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from control_plane.app import ControlPlane
from control_plane.first_start import first_start
from control_plane.settings import Folders, Settings
from edge_agent.config import AgentFolder, load_config
from edge_agent.usb_policy.trust import load_trust
from provisioning.demo.processes import Children, run, wait_until
from provisioning.visit.record import State, VisitRecord
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from tests.control_plane.vault.tmpfs import small_filesystem
from tests.fakes.ports import free_port
from tests.provisioning.preflight.tree import machine_tree

__all__ = ["small_filesystem"]

_ASSET = "CT 2, room 1.14"
_ME = pwd.getpwuid(os.geteuid()).pw_name
_POLICY = """\
layer: organisation
modalities: [{ae_title: LEADGLASS-TEST, description: self-test, addresses: [127.0.0.1]}]
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""
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
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends the waiting for the next connection
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._door)
                except OSError:
                    near.close()
                    continue
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
                              check=False, timeout=120)  # fmt: skip

    @contextmanager
    def begins(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        with subprocess.Popen(self._line(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as visit:
            try:
                yield visit
            finally:
                visit.kill()

    @contextmanager
    def agent_runs(self) -> Iterator[None]:
        """Stand in for systemd, which does not run in a folder."""
        ready = self.root / "ready.json"
        with Children(self.root) as children:
            settings = self.root / "etc/leadglass/agent.toml"
            agent = children.start("leadglass-agent", "run", "--config", str(settings), "--data",
                                   str(self.identity.path), "--ready-file", str(ready))  # fmt: skip
            agent.wait_ready(ready, 120)
            yield

    def record(self) -> VisitRecord:
        return VisitRecord.parse(self.file.read_bytes())

    def state(self, step: str) -> State | None:
        return self.record().state(step) if self.file.exists() else None

    def _line(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "provisioning", "visit", "--root", str(self.root), "--account", _ME, *arguments]


class Centre:
    """A control plane in this process, and an administrator at its keyboard."""

    def __init__(self, folder: Path) -> None:
        self._policy = folder / "policy.yaml"
        self._credential, folders = folder / "handover" / "credential-ada.json", Folders(folder / "data")
        first_start(folders, folder / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1",
                    clock=SystemClock())  # fmt: skip
        settings = Settings(folders, host_port=0, enrol_port=0, people_port=0, mqtt_port=0, with_broker=False)
        self._plane = ControlPlane(settings, SystemClock())
        self._plane.start()
        self._addresses = {name: str(address) for name, address in self._plane.addresses().items()}
        self.enrol_url = self._addresses["enrol_url"]
        self.hosts_port = int(self._addresses["hosts_url"].rpartition(":")[2])

    def stop(self) -> None:
        self._plane.stop()

    def person(self, *command: str) -> Any:
        who = ("--as", str(self._credential), "--url", self._addresses["people_url"])
        return run("leadglass-server", *command, *who, "--json").json()

    def publish(self) -> None:
        self._policy.write_text(_POLICY)
        self.person("policy", "publish", str(self._policy))

    def code(self) -> str:
        return str(self.person("code", "--asset", _ASSET)["code"])


@pytest.fixture
def engineer(tmp_path: Path) -> Engineer:
    return Engineer(tmp_path / "machine")


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def held(centre: Centre) -> Iterator[HeldAnswers]:
    made = HeldAnswers(centre.enrol_url)
    yield made
    made.close()


@pytest.fixture
def site_file(centre: Centre, held: HeldAnswers, tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(
        f'version = 1\ncentre = "{held.url}"\nasset = "{_ASSET}"\nguard = true\nkeys = "file"\n'
        f"dicom_port = {free_port()}\nhosts_port = {centre.hosts_port}\nday_gib = 1\n"
    )
    return file


def test_whatever_is_killed_the_visit_goes_on_where_it_was_and_spends_one_code(
    centre: Centre, held: HeldAnswers, engineer: Engineer, site_file: Path
) -> None:
    code = centre.code()

    # Between two steps: preflight is done, and nobody has typed the code yet.
    with engineer.begins("--site-file", str(site_file)) as visit:
        assert wait_until(lambda: engineer.state("enrol") is State.BEGUN, 60) is not None
        visit.kill()
    assert engineer.state("preflight") is State.DONE

    # The worst moment: the centre has taken the code, and its answer is on the way.
    with engineer.begins() as visit:
        typed(visit, code)
        assert held.holding.wait(60)
        assert code.replace("-", "") not in command_lines().replace("-", "")
        visit.kill()
    assert not engineer.identity.identity.exists()
    with engineer.begins() as visit:
        assert said_next(visit).startswith("waiting for what another visit")
        held.released.set()
        said, _ = visit.communicate(timeout=120)

    (host,) = centre.person("status")["hosts"]
    assert str(load_config(engineer.identity).host_id) == host["host"]
    assert f"enrolled already as {host['host']}" in said
    assert "Keyboard K120" in engineer.record().findings("pin-console")[0].reason
    assert [(step.step, step.tries, step.state) for step in engineer.record().steps] == [
        ("preflight", 1, State.DONE), ("install", 1, State.DONE), ("enrol", 3, State.DONE),
        ("pin-console", 1, State.DONE), ("self-test", 1, State.BROKEN),
    ]  # fmt: skip
    assert code.encode() not in b"".join(file.read_bytes() for file in engineer.root.rglob("*") if file.is_file())

    # Nobody has compared the policy's root, so the console's step alone is not proved; once somebody has, it is.
    assert visit.returncode == 1
    assert "pinned, and nobody has compared it yet" in said
    root = load_trust(engineer.root / "var/lib/leadglass-guard").fingerprint
    other = engineer.types("--only", "pin-console", "--policy-root", "0" * 64)
    assert (other.returncode, "what enrolled this host is not your centre" in other.stdout) == (1, True)
    assert engineer.types("--only", "pin-console", "--policy-root", root).returncode == 0

    centre.publish()
    with engineer.agent_runs():
        done = engineer.types("--no-guard", "--engineer", "Grace", "--received-by", "Ada")
    assert "done: preflight, install, enrol, self-test, hand-over" in done.stdout, done.stdout
    report = next((engineer.file.parent / "hand-over").glob("*.json")).read_text()
    assert all(f'"step":"{step}"' in report for step in ("preflight", "install", "enrol", "pin-console", "self-test"))
    again = engineer.types()
    assert (again.returncode, again.stdout.count("\n")) == (done.returncode, 1)


def test_each_trouble_with_the_code_has_an_answer_that_spends_none(
    centre: Centre, held: HeldAnswers, engineer: Engineer, site_file: Path
) -> None:
    code, away = centre.code(), f"https://127.0.0.1:{free_port()}"
    held.released.set()

    unreachable = engineer.types("--site-file", str(site_file), "--url", away)
    assert (unreachable.returncode, engineer.state("enrol")) == (1, None)
    assert "do: check cable, address and firewall" in unreachable.stdout

    mistyped = engineer.types("--url", held.url, code=f"{code[:-1]}{'0' if code[-1] != '0' else '1'}")
    assert "compare it with the original; nothing was sent" in mistyped.stdout
    wrong = engineer.types(code=EnrolmentCode(bytes(16), EnrolmentCode.parse(code).ca_sha256).text())
    assert "ask for another code" in wrong.stdout
    asset = engineer.types("--new", "--site-file", str(site_file), "--asset", "CT 3", code=code)
    assert "say --asset as it stands with the code" in asset.stdout
    assert engineer.state("enrol") is State.BROKEN

    # Not one of them spent the code.
    done = engineer.types("--new", "--site-file", str(site_file), "--only", "enrol", code=code)
    assert engineer.state("enrol") is State.DONE, done.stdout


def test_on_a_full_disk_the_code_is_not_asked_for_and_the_visit_goes_on_when_there_is_room(
    centre: Centre, held: HeldAnswers, small_filesystem: Path, site_file: Path
) -> None:
    held.released.set()
    engineer, code = Engineer(small_filesystem / "machine"), centre.code()
    options = ("--site-file", str(site_file), "--no-guard")
    ballast = small_filesystem / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_filesystem).free - 200_000))

    # Preflight finds it first; a person may still come as far as this by repeating a step.
    assert "free-space" in engineer.types(*options, code=code).stdout
    enrol = engineer.types("--only", "enrol", code=code)
    assert "so the code was not asked for" in enrol.stdout
    with ballast.open("ab") as file, suppress(OSError):
        file.write(bytes(1 << 20))
    full = engineer.types("--only", "enrol", code=code)
    assert (full.returncode, "goes on where it was" in full.stderr) == (3, True)

    ballast.unlink()
    roomy = engineer.types("--only", "enrol", code=code)
    assert engineer.state("enrol") is State.DONE, roomy.stdout


def typed(visit: "subprocess.Popen[str]", line: str) -> None:
    assert visit.stdin is not None
    visit.stdin.write(f"{line}\n")
    visit.stdin.flush()


def said_next(visit: "subprocess.Popen[str]") -> str:
    assert visit.stdout is not None
    return visit.stdout.readline()


def command_lines() -> str:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(process.read_bytes().decode(errors="replace"))
    return "\n".join(found)

"""What a host's two processes take: agent and guard, while a CT sends ten images a second and while nobody sends.

The agent is a whole one, enrolled at a control plane beside it, so sealing, recording, delivery, policy and reports are
all in the figure. Its peers receive the same images at the same pace and write them down, which is all they do. Shown
is processor time by the kernel's count, in percent of a core, and memory that is not a file's.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks.delaying import head
from benchmarks.measure import PeerMissing, cpu
from benchmarks.receivers import AE_TITLE, Orthanc, Receiver, Setting, StoreScp, cpu_of, receiving
from benchmarks.system import system
from edge_agent.config import AgentFolder
from edge_agent.health.local import read_status
from shared.dicom.associate import Proposed
from shared.dicom.requestor import Requestor

A_SECOND, IMAGE_BYTES = 10, 512 << 10
_CT, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_SETTLE_S = 8.0
# As a hospital has it: reports and pulls every few minutes, what is urgent comes over the broker.
_POLICY = f"""\
layer: organisation
modalities:
  - ae_title: {AE_TITLE}
    description: benchmark
grading: {{default: restricted}}
timings: {{state_every_s: 60, pull_every_s: 300}}
"""


@dataclass(frozen=True)
class Taken:
    """By all processes of one contender together."""

    busy_percent: float  # of a core, while images come
    idle_percent: float
    anonymous_mib: float
    resident_mib: float  # with the files that are mapped, those of others' use included


class Budgets:
    def __init__(self, seconds: int, taken: dict[str, list[Taken]]) -> None:
        self._seconds, self._taken = seconds, taken

    def markdown(self) -> str:
        rounds = len(next(iter(self._taken.values())))
        what = f"{A_SECOND} CT images of 0.5 MiB a second for {self._seconds} s, then {self._seconds} s of nothing"
        rows = [
            f"{what}; {rounds} rounds, taking turns, medians. {cpu()}.",
            "",
            "| | % of a core, capturing | idle | anonymous MiB | resident MiB | CPU, ms an image | / ours |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        ours = self.json_figures()["agent and guard"]
        for name, figures in self.json_figures().items():
            rows.append(
                f"| **{name}** | {figures['busy']:.2f} | {figures['idle']:.3f} | {figures['anonymous']:.0f} "
                f"| {figures['resident']:.0f} | {figures['busy'] * 10 / A_SECOND:.2f} "
                f"| {figures['busy'] / ours['busy']:.2f} |"
            )
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {"seconds": self._seconds, "taken": self.json_figures()}

    def json_figures(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "busy": median(turn.busy_percent for turn in turns),
                "idle": median(turn.idle_percent for turn in turns),
                "anonymous": max(turn.anonymous_mib for turn in turns),
                "resident": max(turn.resident_mib for turn in turns),
            }
            for name, turns in self._taken.items()
        }


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Budgets]:
    for program, package in (("storescp", "dcmtk"), ("Orthanc", "orthanc")):
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian package {package})")
    seconds = max(images // A_SECOND, 1)
    taken: dict[str, list[Taken]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
            for name, turn in _ours(Path(work), seconds).items():
                taken.setdefault(name, []).append(turn)
        for receiver in (StoreScp(), Orthanc()):
            with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
                taken.setdefault(receiver.name, []).append(_peer(receiver, Path(work) / "out", seconds))
    yield Budgets(seconds, taken)


def _ours(work: Path, seconds: int) -> dict[str, Taken]:
    socket_file = work / "run" / "guard.sock"
    with system(work, policy=_POLICY) as running, _guard(work / "guard", socket_file) as guard_pid:
        child, port = running.start_agent("--guard-socket", str(socket_file))
        pids = {"agent": child.pid, "guard": guard_pid}
        meters = {name: Meter([pid]) for name, pid in pids.items()}
        together = Meter(list(pids.values()))
        folder = running.agent
        meters = {"agent and guard": together, **meters}
        measured = _measure(port, seconds, meters, lambda: _has_caught_up(folder))
        running.children.stop(child)
    return measured


def _peer(receiver: Receiver, out: Path, seconds: int) -> Taken:
    out.mkdir()
    port = _free_port()
    with receiving(receiver, port, out, Setting(1, no_delay=True, tls=None)) as process:
        return _measure(port, seconds, {receiver.name: Meter([process.pid])})[receiver.name]


def _measure(
    port: int, seconds: int, meters: "dict[str, Meter]", has_caught_up: Callable[[], bool] = lambda: True
) -> dict[str, Taken]:
    sleep(_SETTLE_S)
    for meter in meters.values():
        meter.begin()
    send(port, seconds)
    busy = {name: meter.percent() for name, meter in meters.items()}
    memory = {name: meter.memory_mib() for name, meter in meters.items()}
    while not has_caught_up():
        sleep(1)
    sleep(_SETTLE_S)
    for meter in meters.values():
        meter.begin()
    sleep(seconds)
    return {name: Taken(busy[name], meter.percent(), *memory[name]) for name, meter in meters.items()}


def _has_caught_up(folder: AgentFolder) -> bool:
    status = read_status(folder)
    return status.waiting + status.audit_waiting == 0


class Meter:
    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._began, self._before = 0.0, 0.0

    def begin(self) -> None:
        self._began, self._before = monotonic(), self._used()

    def percent(self) -> float:
        return 100 * (self._used() - self._before) / (monotonic() - self._began)

    def memory_mib(self) -> tuple[float, float]:
        """Return what is anonymous, and all that is resident."""
        status = [Path(f"/proc/{pid}/status").read_text() for pid in self._pids]
        return sum(_kib(text, "RssAnon") for text in status) / 1024, sum(_kib(text, "VmRSS") for text in status) / 1024

    def _used(self) -> float:
        return sum(cpu_of(pid) for pid in self._pids)


def _kib(status: str, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) if found else 0


def send(port: int, seconds: int) -> None:
    """Send at the pace of a CT, on one association."""
    dataset = os.urandom(IMAGE_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        contexts = [Proposed(_CT, (_EXPLICIT,))]
        requestor = Requestor(connection, calling_ae_title=AE_TITLE, called_ae_title="ANY", contexts=contexts)
        requestor.associate()
        began = monotonic()
        for number in range(seconds * A_SECOND):
            sleep(max(0.0, began + number / A_SECOND - monotonic()))
            uid = f"2.25.{number + 1}"
            requestor.store(_CT, uid, _EXPLICIT, (head(uid, IMAGE_BYTES), dataset))
        requestor.release()


@contextmanager
def _guard(state: Path, socket_file: Path) -> Iterator[int]:
    socket_file.parent.mkdir(mode=0o755)
    command = [
        sys.executable,
        "-m",
        "edge_agent.guard_main",
        "run",
        "--state",
        str(state),
        "--socket",
        str(socket_file),
    ]
    with (state.parent / "guard.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        _until(socket_file.exists, lambda: process.poll() is None)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _until(holds: Callable[[], bool], goes_on: Callable[[], bool]) -> None:
    while not holds():
        if not goes_on():
            raise PeerMissing("the guard does not start here: it needs root and a system with udev")
        sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

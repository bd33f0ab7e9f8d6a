"""The device guard beside USBGuard, each in a virtual machine of its own with the same rules and an emulated USB bus.

A stick that policy allows waits for its driver, by the kernel's own log; one that it does not allow for the verdict in
the guard's own audit trail. The machine is emulated in software and much slower than a real one: the ratio counts.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks.measure import PeerMissing, cpu
from edge_agent.usb_policy.exchange import Offer
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.lab.conftest import POLICY
from tests.lab.guard import STATE, LabGuard
from tests.lab.image import Image, NoLab, image
from tests.lab.lab import Lab
from tests.lab.media import media
from tests.lab.timing import PORT, Plugs, allowed_ms, decided_ms
from tests.lab.usbguard import UsbGuard

PLUGS = 20  # in a round
IDLE_S = 300.0
LOOP = """\
import time
began, held = time.process_time(), {}
for number in range(300_000):
    held[number % 977] = str(number)
print(time.process_time() - began)
"""
BOOT = "import time; print(time.time() - time.monotonic())"
PEAK = """\
import resource, subprocess, sys
command = ["python3", "-m", "edge_agent.usb_policy.verify_child", "--state", sys.argv[1]]
subprocess.run(command, stdin=open("/run/offer", "rb"), check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass(frozen=True)
class Guards:
    """What one contender showed."""

    name: str
    allowed_ms: tuple[float, ...]
    blocked_ms: tuple[float, ...]
    resident_kib: int  # the most it held
    idle_cpu_percent: float  # of one core of the guest


def percentile(times_ms: tuple[float, ...], number: int) -> float:
    return quantiles(times_ms, n=100, method="inclusive")[number - 1]


class Guarding:
    def __init__(self, lines: list[Guards], idle_s: float, verifying_kib: int, slower: float) -> None:
        self._lines, self._idle_s, self._verifying_kib, self._slower = lines, idle_s, verifying_kib, slower

    def markdown(self) -> str:
        rows = [
            f"{len(self._lines[0].allowed_ms)} plugs each, {PLUGS} in a turn; idle for {self._idle_s:.0f} s. {cpu()}.",
            "",
            "| | blocked: ms to verdict, p50 | p95 | allowed: ms to driver, p50 | p95 | memory | CPU when idle |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        rows += [
            f"| **{line.name}** | {percentile(line.blocked_ms, 50):.0f} | {percentile(line.blocked_ms, 95):.0f} | "
            f"{percentile(line.allowed_ms, 50):.0f} | {percentile(line.allowed_ms, 95):.0f} | "
            f"{line.resident_kib / 1024:.1f} MiB | {line.idle_cpu_percent:.3f} % |"
            for line in self._lines
        ]
        child = f"The child that verifies a policy held {self._verifying_kib / 1024:.0f} MiB for its moment."
        rows += ["", f"{child} The guest's Python takes {self._slower:.0f} times the processor time of the host's."]
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {
            "machine": cpu(),
            "idle_s": self._idle_s,
            "verifying_kib": self._verifying_kib,
            "guest_slower": round(self._slower, 1),
            "lines": [
                {
                    **line.__dict__,
                    "p50_ms": percentile(line.allowed_ms, 50),
                    "p95_ms": percentile(line.allowed_ms, 95),
                    "blocked_p50_ms": percentile(line.blocked_ms, 50),
                    "blocked_p95_ms": percentile(line.blocked_ms, 95),
                }
                for line in self._lines
            ],
        }


@dataclass(frozen=True)
class Running:
    """A machine on which a contender runs."""

    lab: Lab
    pid: Callable[[], int]
    verdicts_s: Callable[[str], list[float]]
    verifying_kib: Callable[[], int]


def run(*, rounds: int, images: int, folder: Path | None, idle_s: float = IDLE_S) -> Iterator[Guarding]:  # noqa: ARG001  no images here
    try:
        guest = image()
    except NoLab as exc:
        raise PeerMissing(str(exc)) from exc
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
        contenders: dict[str, Callable[[], Iterator[Running]]] = {
            "Leadglass": lambda: _guard(guest, Path(work) / "signed"),
            "USBGuard": lambda: _usbguard(guest),
        }
        allowed: dict[str, list[float]] = {name: [] for name in contenders}
        blocked: dict[str, list[float]] = {name: [] for name in contenders}
        resident = dict.fromkeys(contenders, 0)
        for number in range(1, rounds + 1):
            for name, start in contenders.items():
                with contextmanager(start)() as running:
                    allowed[name] += _allowed(running.lab)
                    blocked[name] += _blocked(running)
                    resident[name] = max(resident[name], _resident_kib(running))
                print(f"round {number}: {name}", file=sys.stderr)
        idle, verifying_kib, slower = {}, 0, 0.0
        for name, start in contenders.items():
            with contextmanager(start)() as running:
                idle[name] = _idle_percent(running, idle_s)
                verifying_kib = max(verifying_kib, running.verifying_kib())
                slower = float(running.lab.guest.run(["python3", "-c", LOOP]).out) / _loop_here_s()
    lines = [
        Guards(name, tuple(allowed[name]), tuple(blocked[name]), resident[name], idle[name]) for name in contenders
    ]
    yield Guarding(lines, idle_s, verifying_kib, slower)


def _guard(guest: Image, folder: Path) -> Iterator[Running]:
    with Lab(guest) as lab:
        signed = SignedPolicies(folder)
        guard = LabGuard(lab, signed)
        guard.install()
        guard.start()
        guard.follow(*POLICY)
        yield Running(lab, guard.main_pid, guard.verdicts_s, lambda: _verifying_kib(lab, guard.signed_anew()))


def _usbguard(guest: Image) -> Iterator[Running]:
    with Lab(guest) as lab:
        peer = UsbGuard(lab, POLICY)
        peer.start()
        yield Running(lab, peer.main_pid, peer.verdicts_s, lambda: 0)


def _allowed(lab: Lab) -> list[float]:
    plugs = Plugs(lab)
    for _ in range(PLUGS + 1):
        plugs.plug(media().empty, "GOOD", is_allowed=True)
    plugs.stop()
    return allowed_ms(lab.guest.run("dmesg").out)[1:]  # the first one loads the driver


def _blocked(running: Running) -> list[float]:
    plugs = Plugs(running.lab)
    for _ in range(PLUGS):
        plugs.plug(media().empty, "UNKNOWN", is_allowed=False)
    plugs.stop()
    boot_s = float(running.lab.guest.run(["python3", "-c", BOOT]).out)
    return decided_ms(plugs.there_s, [at - boot_s for at in running.verdicts_s(PORT)])


def _resident_kib(running: Running) -> int:
    status = running.lab.guest.read(f"/proc/{running.pid()}/status")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _idle_percent(running: Running, idle_s: float) -> float:
    """Return the processor time used, by the guest's own clock, while nothing happens."""
    stat = f"/proc/{running.pid()}/stat"

    def used_s() -> float:
        fields = running.lab.guest.read(stat).rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def now_s() -> float:
        return float(running.lab.guest.ask("ping")["monotonic_s"])

    before, began = used_s(), now_s()
    time.sleep(idle_s)
    return 100 * (used_s() - before) / (now_s() - began)


def _loop_here_s() -> float:
    return float(subprocess.run([sys.executable, "-c", LOOP], capture_output=True, check=True).stdout)


def _verifying_kib(lab: Lab, offer: Offer) -> int:
    lab.guest.put("/run/offer", offer.encode())
    return int(lab.guest.run(["python3", "-c", PEAK, STATE]).out)

"""Deciding about a device, by the number of rules: ours beside USBGuard's own library on the same rules and device.

USBGuard's C++ goes through its rules one after the other; ours, in Python, looks up the few that can apply. *Worst* is
a set that no lookup helps with: each rule is `none-of`, so that every one has to be held against the device. The device
matches no rule, so that nothing is decided early, and ours finds the nearest rule as well.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from benchmarks.measure import PeerMissing, cpu
from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.parse import parse_rules
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.surroundings import Surroundings
from tests.shared.devices.usbguard.peer import NotBuilt, build, device_text

_COUNTS = (10, 1_000, 10_000)
_DECISIONS = 200
_STICK = UsbDevice(
    "1-1", "usb1", 0x0781, 0x5583, "Ultra Fit", "4C530001", "aFuQ7BLj0Xrz1knYCPG+xvKofw+iufU0TiAEQzZJkMw=",
    "ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=", (Interface(8, 6, 0x50),), ConnectType.HOTPLUG,
)  # fmt: skip
_SETS = {
    "as generated, a device each": (
        'allow id 0781:{0:04x} serial "S{0}" name "Stick" hash "hash of {0}" parent-hash "p" with-interface 08:06:50'
    ),
    "one product, a serial each": 'allow id 0781:5583 serial "S{0}" with-interface 08:06:50',
    "worst, none-of each": 'block serial none-of {{ "4C530001" "S{0}" }}',
}


@dataclass(frozen=True)
class Decided:
    rules: str
    count: int
    ours_ms: tuple[float, ...]  # the median of a round
    slowest_ms: float  # in processor time: whatever else the machine does is not in it
    usbguard_ms: tuple[float, ...]
    loading_ms: float
    resident_mib: float


class Deciding:
    def __init__(self, lines: list[Decided]) -> None:
        self._lines = lines

    def markdown(self) -> str:
        rows = [
            f"{_DECISIONS} decisions a round, {len(self._lines[0].ours_ms)} rounds. {cpu()}.",
            "",
            "| rules | | ms a decision, median | slowest, CPU | USBGuard, ms | reading them, ms | memory |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        rows += [
            f"| {line.count:,} | {line.rules} | {median(line.ours_ms):.3f} | {line.slowest_ms:.2f} | "
            f"{median(line.usbguard_ms):.3f} | {line.loading_ms:.0f} | {line.resident_mib:.1f} MiB |"
            for line in self._lines
        ]
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {"machine": cpu(), "lines": [line.__dict__ for line in self._lines]}


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Deciding]:  # noqa: ARG001  no images here
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
        try:
            program = build(Path(work))
        except NotBuilt as exc:
            raise PeerMissing(str(exc)) from exc
        yield Deciding([_measure(program, name, count, rounds) for name in _SETS for count in _COUNTS])


def _measure(program: Path, name: str, count: int, rounds: int) -> Decided:
    rules = "".join(f"{_SETS[name].format(number)}\n" for number in range(count))
    ours, theirs = [], []
    for _ in range(rounds):
        command = [sys.executable, "-m", "benchmarks.deciding"]
        ours.append(json.loads(subprocess.run(command, input=rules, capture_output=True, check=True, text=True).stdout))
        asked: list[str | Path] = [program, "decides", str(_DECISIONS), device_text(_STICK)]
        answer = subprocess.run(asked, input=rules, capture_output=True, check=True, text=True).stdout.split()
        assert answer[1] == "0", "USBGuard finds a rule where there is none"
        theirs.append(1000 * float(answer[0]))
    return Decided(
        name,
        count,
        tuple(each["median_ms"] for each in ours),
        max(each["slowest_ms"] for each in ours),
        tuple(theirs),
        median(each["loading_ms"] for each in ours),
        median(each["resident_mib"] for each in ours),
    )


def _decide(text: str) -> dict[str, float]:
    """Decide about devices that come one after the other, in a process of its own."""
    around = Surroundings(datetime(2026, 3, 4, tzinfo=UTC))
    evaluate(DevicePolicy(), _STICK, around)
    before = _resident_mib()
    began = perf_counter()
    policy = DevicePolicy(tuple(map(DeviceRule, parse_rules(text))))
    policy.index  # noqa: B018  made before the first device comes
    loading = perf_counter() - began
    took, used = [], []
    for number in range(_DECISIONS):
        device = replace(_STICK, port=f"1-{number}")
        began, cpu_began = perf_counter(), process_time()
        verdict = evaluate(policy, device, around)
        took.append(1000 * (perf_counter() - began))
        used.append(1000 * (process_time() - cpu_began))
        assert verdict.target.value == "block"
    held = _resident_mib() - before
    return {"median_ms": median(took), "slowest_ms": max(used), "loading_ms": 1000 * loading, "resident_mib": held}


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(_decide(sys.stdin.read())))

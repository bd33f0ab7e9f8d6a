"""Rounds of measurements: contenders take turns, so that whatever else the machine does hits all of them alike."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median


class PeerMissing(Exception):
    """A benchmark without its peer would be a number without a meaning."""


@dataclass(frozen=True)
class Measured:
    """One turn of one contender: time that passed, processor time used, and the most memory held resident."""

    seconds: float
    cpu_seconds: float  # beside other work on the machine, the steadier of the two
    max_rss_kib: int | None  # None: not measured


@dataclass(frozen=True)
class Contender:
    name: str
    what: str
    turn: Callable[[], Measured]


@dataclass(frozen=True)
class Line:
    name: str
    what: str
    turns: tuple[Measured, ...]

    @property
    def best_s(self) -> float:
        return min(turn.seconds for turn in self.turns)

    @property
    def median_s(self) -> float:
        return median(turn.seconds for turn in self.turns)

    @property
    def cpu_s(self) -> float:
        return median(turn.cpu_seconds for turn in self.turns)

    @property
    def max_rss_kib(self) -> int | None:
        return max((turn.max_rss_kib for turn in self.turns if turn.max_rss_kib is not None), default=None)


@dataclass(frozen=True)
class Result:
    title: str
    machine: str
    items: int
    item_bytes: int
    yardstick: str
    lines: tuple[Line, ...]

    def markdown(self) -> str:
        unit = next(line for line in self.lines if line.name == self.yardstick)
        rows = [
            f"{self.title}; {len(unit.turns)} rounds, taking turns. {self.machine}.",
            "",
            f"| | MB/s, median (best) | ms each, median (best) | / {self.yardstick} | CPU, ms each | memory |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for line in self.lines:
            speeds = f"{self._mb_per_s(line.median_s):,.0f} ({self._mb_per_s(line.best_s):,.0f})"
            each = f"{1000 * line.median_s / self.items:.2f} ({1000 * line.best_s / self.items:.2f})"
            memory = "" if line.max_rss_kib is None else f"{line.max_rss_kib / 1024:.0f} MiB"
            ratio = f"{line.median_s / unit.median_s:.2f} ({line.best_s / unit.best_s:.2f})"
            cpu = f"{1000 * line.cpu_s / self.items:.2f}"
            rows.append(f"| **{line.name}**: {line.what} | {speeds} | {each} | {ratio} | {cpu} | {memory} |")
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {
            "title": self.title,
            "machine": self.machine,
            "items": self.items,
            "item_bytes": self.item_bytes,
            "yardstick": self.yardstick,
            "lines": [
                {
                    "name": line.name,
                    "what": line.what,
                    "seconds": [round(turn.seconds, 4) for turn in line.turns],
                    "best_s": round(line.best_s, 4),
                    "median_s": round(line.median_s, 4),
                    "median_cpu_s": round(line.cpu_s, 4),
                    "max_rss_kib": line.max_rss_kib,
                }
                for line in self.lines
            ],
        }

    def _mb_per_s(self, seconds: float) -> float:
        return self.items * self.item_bytes / seconds / 1e6


def take_turns(contenders: Sequence[Contender], rounds: int) -> tuple[Line, ...]:
    turns: dict[str, list[Measured]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            os.sync()  # nobody pays for what the one before left to be written
            turns[contender.name].append(contender.turn())
            print(f"round {number}: {contender.name} {turns[contender.name][-1].seconds:.2f} s", file=sys.stderr)
    return tuple(Line(c.name, c.what, tuple(turns[c.name])) for c in contenders)


def machine() -> str:
    return f"{cpu()}, age {peer_version('age')}"


def cpu() -> str:
    found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = found[0].partition(":")[2].strip() if found else platform.machine()
    ours = f"Python {platform.python_version()}, cryptography {version('cryptography')}"
    return f"{model}, {os.cpu_count()} CPUs, {ours}"


def peer_version(program: str) -> str:
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as exc:
        raise PeerMissing(f"{program} is not installed (Debian package {program})") from exc
